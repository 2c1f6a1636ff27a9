{{/* The pod around a container: what holds for api, worker and migration alike. With "root", "component" and "values" (scheduling). */}}
{{- define "llm-saas.pod" -}}
{{- $root := .root -}}
automountServiceAccountToken: false
# Or each Service of the namespace would be a variable of this process: one named "metrics" would be a METRICS_PORT.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile:
    type: RuntimeDefault
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $root.Values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  - name: tmp
    emptyDir:
      sizeLimit: 64Mi
  {{- if include "llm-saas.hasTextKeys" . }}
  - name: text-keys
    persistentVolumeClaim:
      claimName: {{ required "textKeys.existingClaim is required: the name of a PersistentVolumeClaim that pods of all nodes write to" $root.Values.textKeys.existingClaim }}
  {{- end }}
  {{- with $root.Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* Pods of a component apart from each other; each version for itself, or the old pods would push the new ones together. */}}
{{- define "llm-saas.spread" -}}
topologySpreadConstraints:
{{- if .root.Values.topologySpreadConstraints }}
  {{- toYaml .root.Values.topologySpreadConstraints | nindent 2 }}
{{- else }}
{{- $selector := include "llm-saas.selector" . }}
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- $selector | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end }}
{{- end }}

{{/* The container but for its command, environment, ports and probes. */}}
{{- define "llm-saas.container" -}}
image: {{ include "llm-saas.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities:
    drop: [ALL]
{{- $resources := deepCopy .values.resources }}
{{- if and .root.Values.documents.enabled (eq .component (ternary "worker" "api" .root.Values.worker.enabled)) }}
{{- $_ := set $resources "limits" (merge (dict "memory" .root.Values.documents.memoryLimit) ($resources.limits | default dict)) }}
{{- end }}
resources:
  {{- toYaml $resources | nindent 2 }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
  {{- if include "llm-saas.hasTextKeys" . }}
  - name: text-keys
    mountPath: /var/lib/llm-saas/text-keys
  {{- end }}
  {{- with .root.Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/*
Alive is who answers; ready is who can open a transaction. A database that is away must not have pods restarted:
only /health decides that. Start-up has a minute.
*/}}
{{- define "llm-saas.probes" -}}
startupProbe:
  httpGet: {path: /health, port: http}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 30
readinessProbe:
  httpGet: {path: /health/ready, port: http}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
livenessProbe:
  httpGet: {path: /health, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end }}
