{{- define "router.name" -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "router.selector" -}}
app.kubernetes.io/name: opencode-router
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "router.labels" -}}
{{ include "router.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: router
{{- end -}}

{{- define "operator.selector" -}}
app.kubernetes.io/name: opencode-cloudflare-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "operator.labels" -}}
{{ include "operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "prepull.selector" -}}
app.kubernetes.io/name: opencode-router-prepull
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "prepull.labels" -}}
{{ include "prepull.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: prepull
{{- end -}}

{{- define "router.gracePeriod" -}}
{{- add (.Values.config.SHUTDOWN_DELAY_SECONDS | default 5) (.Values.config.DRAIN_TIMEOUT_SECONDS | default 10) 15 -}}
{{- end -}}
