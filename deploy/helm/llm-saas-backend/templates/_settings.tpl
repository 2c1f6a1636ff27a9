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

{{/* The `env` of what works as the owner: of the service's settings what making a database needs; nothing of a provider. */}}
{{- define "llm-saas.ownerEnv" -}}
{{- $needed := list "ENVIRONMENT" "DEFAULT_REGISTRATION" "BCRYPT_ROUNDS" "LOG_LEVEL" "LOG_FORMAT" }}
{{- $settings := include "llm-saas.settings" (dict "root" . "settings" .Values.migration.settings "only" $needed) | fromYaml }}
{{- $secrets := deepCopy .Values.migration.secretSettings }}
{{- range $name, $from := .Values.secretSettings }}
{{- if and (or (eq $name "SECRET_KEY") (hasPrefix "DATABASE_" $name)) (not (hasKey $secrets $name)) }}
{{- $_ := set $secrets $name $from }}
{{- end }}
{{- end }}
{{- include "llm-saas.env" (dict "root" . "settings" $settings "secretSettings" $secrets) }}
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
