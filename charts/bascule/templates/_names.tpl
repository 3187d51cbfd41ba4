{{/* The name of everything in the release. */}}
{{- define "bascule.name" -}}
{{- if contains "bascule" .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-bascule" .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/*
One replica is a Deployment. Several are a StatefulSet: each writes a journal of its own, on a volume of its own, and its node
is lost with a pod that nobody replaces before the node is given up; the other ones are there already.
*/}}
{{- define "bascule.kind" -}}
{{- ternary "StatefulSet" "Deployment" (gt (int .Values.replicas) 1) -}}
{{- end -}}

{{- define "bascule.account" -}}
{{- default (include "bascule.name" .) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "bascule.selector" -}}
app.kubernetes.io/name: bascule
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "bascule.labels" -}}
{{ include "bascule.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "bascule.image" -}}
{{- $name := printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- with .Values.image.digest }}{{ $name = printf "%s@%s" $name . }}{{ end -}}
{{- $name -}}
{{- end -}}
