{{/* A value as the environment holds it. Numbers of values files are floats here: "1048576" and not "1.048576e+06". */}}
{{- define "llm-saas.value" -}}
{{- if kindIs "string" . }}{{ . }}
{{- else if kindIs "slice" . }}{{ join "," . }}
{{- else }}{{ toJson . }}
{{- end }}
{{- end }}

{{/* A container's `env`. With "root", "settings" and "secretSettings"; what is null is not wanted. */}}
{{- define "llm-saas.env" -}}
{{- $root := .root -}}
{{- $settings := .settings -}}
{{- range $name, $value := $settings }}
- name: {{ $name }}
  value: {{ include "llm-saas.value" $value | quote }}
{{- end }}
{{- range $name, $from := .secretSettings }}
{{- if kindIs "map" $from }}
{{- if hasKey $settings $name }}
{{- fail (printf "%s stands in settings and in secretSettings; make one of them null" $name) }}
{{- end }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef:
      name: {{ $from.existingSecret | default $root.Values.existingSecret | required (printf "existingSecret is required: the name of a Secret with the key %s" $name) }}
      key: {{ $from.key | default $name }}
{{- end }}
{{- end }}
{{- end }}

{{/*
The `env` of what works as the owner: of the service's settings what making a database needs; nothing of a provider. With "root" and "component".
With the keys of texts go those that wrap them.
*/}}
{{- define "llm-saas.ownerEnv" -}}
{{- $needed := list "ENVIRONMENT" "DEFAULT_REGISTRATION" "BCRYPT_ROUNDS" "LOG_LEVEL" "LOG_FORMAT" }}
{{- $secret := list "SECRET_KEY" }}
{{- if include "llm-saas.hasTextKeys" . }}
{{- $needed = concat $needed (list "ENCRYPT_TEXT" "TEXT_KEYS_DIR") }}
{{- $secret = concat $secret (list "MASTER_KEY" "PREVIOUS_MASTER_KEYS") }}
{{- end }}
{{- $migration := .root.Values.migration }}
{{- $settings := include "llm-saas.settings" (dict "root" .root "settings" $migration.settings "only" $needed) | fromYaml }}
{{- $secrets := deepCopy $migration.secretSettings }}
{{- range $name, $from := .root.Values.secretSettings }}
{{- if and (or (has $name $secret) (hasPrefix "DATABASE_" $name)) (not (hasKey $secrets $name)) }}
{{- $_ := set $secrets $name $from }}
{{- end }}
{{- end }}
{{- include "llm-saas.env" (dict "root" .root "settings" $settings "secretSettings" $secrets) }}
{{- end }}

{{/* Whether this component's pods have the keys of texts. The indexing reads none; the migration's pod is where the operator's commands run. */}}
{{- define "llm-saas.hasTextKeys" -}}
{{- if and .root.Values.textKeys.enabled (ne .component "indexing") }}true{{ end }}
{{- end }}

{{/* Refuses what the service would refuse at its start, by the names of the values. */}}
{{- define "llm-saas.checkTextKeys" -}}
{{- $settings := .Values.settings }}
{{- if and .Values.textKeys.enabled (not (kindIs "map" .Values.secretSettings.MASTER_KEY)) }}
{{- fail "textKeys.enabled needs secretSettings.MASTER_KEY: it wraps the keys of texts" }}
{{- end }}
{{- if and (eq (toString $settings.ENCRYPT_TEXT) "true") (not .Values.textKeys.enabled) (not $settings.TEXT_KEYS_DIR) }}
{{- fail "settings.ENCRYPT_TEXT needs textKeys.enabled, or settings.TEXT_KEYS_DIR and a volume of yours" }}
{{- end }}
{{- end }}

{{/* Where the pod listens is not the release's to say: ports and probes are here. */}}
{{- define "llm-saas.fixedSettings" -}}
ENVIRONMENT: production
HOST: 0.0.0.0
PORT: "8000"
{{- if .Values.metrics.enabled }}
METRICS_HOST: 0.0.0.0
METRICS_PORT: {{ .Values.metrics.port | toJson | quote }}
{{- end }}
{{- if .Values.textKeys.enabled }}
TEXT_KEYS_DIR: /var/lib/llm-saas/text-keys
{{- end }}
{{- end }}

{{/*
As YAML, what a component is given. With "root" and the component's own "settings", which win, null and false included:
mergeOverwrite would leave those out. With "defaults", which everything else wins over. With "only": of the release's settings these alone, and those of the database.
*/}}
{{- define "llm-saas.settings" -}}
{{- $fixed := include "llm-saas.fixedSettings" .root | fromYaml }}
{{- $all := merge (deepCopy $fixed) (.defaults | default dict) }}
{{- range $given := list .root.Values.settings .settings }}
{{- range $name, $value := $given }}
{{- if hasKey $fixed $name }}
{{- fail (printf "%s is the chart's to set" $name) }}
{{- end }}
{{- if kindIs "invalid" $value }}
{{- $_ := unset $all $name }}
{{- else }}
{{- $_ := set $all $name $value }}
{{- end }}
{{- end }}
{{- end }}
{{- if .only }}
{{- $own := .settings }}
{{- $only := .only }}
{{- range $name, $value := deepCopy $all }}
{{- if not (or (has $name $only) (hasPrefix "DATABASE_" $name) (hasKey $own $name)) }}
{{- $_ := unset $all $name }}
{{- end }}
{{- end }}
{{- end }}
{{- toYaml $all }}
{{- end }}
