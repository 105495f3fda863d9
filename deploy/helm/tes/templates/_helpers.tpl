{{- /* The image, by its digest or its tag; without either it is that of the chart's version. */}}
{{- define "tes.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- /* A setting as text. Numbers of values are floating point, which would write 134217728 as 1.34217728e+08. */}}
{{- define "tes.text" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) }}{{ int64 . }}{{ else }}{{ . }}{{ end }}
{{- end }}

{{- /* The data of a ConfigMap: `settings` of the values, and those that are `fixed` by what the pod is. */}}
{{- define "tes.settings" -}}
{{- $data := dict }}
{{- range $name, $value := .settings }}
{{- $_ := set $data $name (include "tes.text" $value) }}
{{- end }}
{{- range $name, $value := .fixed }}
{{- $_ := set $data $name $value }}
{{- end }}
{{- toYaml $data }}
{{- end }}

{{- /* Settings as a container's variables. */}}
{{- define "tes.env" -}}
{{- $env := list }}
{{- range $name, $value := . }}
{{- $env = append $env (dict "name" $name "value" (include "tes.text" $value)) }}
{{- end }}
{{- toYaml $env }}
{{- end }}

{{- /* The resources of a worker: with a volume for the state it needs less disk of the node. */}}
{{- define "tes.worker.resources" -}}
{{- $resources := deepCopy .Values.worker.resources }}
{{- if .Values.pvc.enabled }}
{{- $resources = mergeOverwrite $resources (deepCopy .Values.pvc.resources) }}
{{- end }}
{{- toYaml $resources }}
{{- end }}

{{- /* A Job cannot be changed: another image or other settings are another Job. */}}
{{- define "tes.topics.name" -}}
{{- $of := list .Chart.Version (include "tes.image" .) (include "tes.worker.settings" .) .Values.image .Values.topics }}
{{- $of = concat $of (list .Values.worker.secrets .Values.worker.nodeSelector .Values.worker.tolerations) }}
{{- printf "tes-topics-%s" ($of | toJson | sha256sum | trunc 10) }}
{{- end }}
