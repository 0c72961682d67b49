{{- /* The only place that knows the command lines of `larder controller` and `larder agent`. */}}

{{- define "larder.controllerArguments" -}}
{{- $controller := .Values.controller -}}
- controller
- --metrics-address=0.0.0.0:8080
- --lease-namespace={{ .Release.Namespace }}
- --image-cache-refresh-frequency={{ $controller.refreshFrequency }}
- --image-pull-deadline-duration={{ $controller.pullDeadline }}
- --image-pull-policy={{ $controller.pullPolicy }}
- --purge-deadline={{ $controller.purgeDeadline }}
{{- with $controller.namespaces }}
- --namespaces={{ join "," . }}
{{- end }}
{{- with $controller.allowedRegistries }}
- --allowed-registries={{ join "," . }}
{{- end }}
{{- range $controller.extraArguments }}
- {{ . | quote }}
{{- end }}
{{- end }}

{{- define "larder.agentArguments" -}}
- agent
- --metrics-address=0.0.0.0:8080
- --cri-socket={{ include "larder.criSocket" . }}
{{- with .Values.agent.credentialProviderConfig }}
- --image-credential-provider-config={{ . }}
{{- end }}
{{- with .Values.agent.credentialProviderDirectory }}
- --image-credential-provider-bin-dir={{ . }}
{{- end }}
{{- range .Values.agent.extraArguments }}
- {{ . | quote }}
{{- end }}
{{- end }}
