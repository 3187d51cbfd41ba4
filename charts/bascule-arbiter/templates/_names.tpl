{{/* The name of everything in the release. */}}
{{- define "arbiter.name" -}}
{{- if contains "arbiter" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-arbiter" (.Release.Name | trunc 32 | trimSuffix "-") -}}
{{- end -}}
{{- end -}}

{{- define "arbiter.selector" -}}
app.kubernetes.io/name: bascule-arbiter
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "arbiter.labels" -}}
{{ include "arbiter.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* An image: of the values `image`, with `tag` where they have none. */}}
{{- define "arbiter.image" -}}
{{- $name := printf "%s:%s" .image.repository (default .tag .image.tag) -}}
{{- with .image.digest }}{{ $name = printf "%s@%s" $name . }}{{ end -}}
{{- $name -}}
{{- end -}}

{{/* This release's member, of `members`, as JSON, once all values are as they must be. */}}
{{- define "arbiter.member" -}}
{{- include "arbiter.checks" . -}}
{{- include "arbiter.own" . -}}
{{- end -}}

{{/* The same of any values; nothing when it is none of them. */}}
{{- define "arbiter.own" -}}
{{- range .Values.members }}{{ if eq .name $.Values.member }}{{ toJson . }}{{ end }}{{ end -}}
{{- end -}}

{{/* The port of a URL. */}}
{{- define "arbiter.port" -}}
{{- regexFind "[0-9]+$" . -}}
{{- end -}}

{{/* What the pods of the chart may not do. */}}
{{- define "arbiter.podSecurity" -}}
runAsNonRoot: true
{{- with .Values.runAsUser }}
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
{{- end }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "arbiter.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}
