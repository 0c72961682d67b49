{{- /* What both pods have in common: how little they may do, and how their health is asked for. */}}

{{- define "larder.podSecurity" -}}
runAsNonRoot: true
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "larder.confined" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
readOnlyRootFilesystem: true
{{- end }}

{{- define "larder.health" -}}
ports:
  - {name: http, containerPort: 8080, protocol: TCP}
livenessProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 20
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: http}
  periodSeconds: 10
{{- end }}

{{- define "larder.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* Takes a dict: value of a pod's field, and its name. */}}
{{- define "larder.field" -}}
{{- with .value }}
{{ $.name }}: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
