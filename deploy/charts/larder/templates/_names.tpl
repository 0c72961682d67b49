{{- /* Names, labels and the image: what several templates say. */}}

{{- define "larder.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-{{ .Chart.Name }}{{ end }}
{{- end }}

{{- /* Takes a dict: root and component. */}}
{{- define "larder.labels" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "larder.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default (printf "v%s" $.Chart.AppVersion) }}{{ end }}
{{- end }}
{{- end }}

{{- define "larder.criSocket" -}}
{{ ternary "/run/crio/crio.sock" .Values.agent.criSocket .Values.openshift }}
{{- end }}

{{- define "larder.imageDirectory" -}}
{{ ternary "/var/lib/containers" .Values.agent.imageDirectory .Values.openshift }}
{{- end }}
