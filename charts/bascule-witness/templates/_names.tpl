{{/* The name of what lives in no namespace: two releases in one cluster have two. */}}
{{- define "witness.name" -}}
{{- printf "%s.%s" .Release.Namespace .Release.Name | trunc 200 | trimSuffix "." | trimSuffix "-" -}}
{{- end -}}

{{- define "witness.labels" -}}
app.kubernetes.io/name: bascule-witness
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}
