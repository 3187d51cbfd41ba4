{{/*
What a schema cannot say: what is missing, and what does not go together. Everything that is wrong is told at once, with
what was found and the way out. Nothing is rendered: every template that
needs a member asks for this first.
*/}}
{{- define "arbiter.checks" -}}
{{- $wrong := list -}}
{{- $make := "`bascule arbiter init` writes all of it" -}}
{{- $url := "^https://([A-Za-z0-9.-]+|\\[[0-9a-fA-F:]+\\]):[0-9]{1,5}$" -}}
{{- $names := list -}}
{{- range .Values.members }}{{ $names = append $names .name }}{{ end -}}

{{- if not .Values.members -}}
{{- $wrong = append $wrong (printf "members is empty: list every member with name, clientUrl and peerUrl, three or five of them; %s in members/NAME/values.yaml" $make) -}}
{{- else -}}
{{- if or (lt (len $names) 3) (eq (mod (len $names) 2) 0) -}}
{{- $wrong = append $wrong (printf "members has %d of them (%s): an arbiter has three or five, each in a place of its own; with %d the loss of one place %s" (len $names) (join ", " $names) (len $names) (ternary "stops every decision" "is borne no better than with one less" (lt (len $names) 3))) -}}
{{- end -}}
{{- if ne (len $names) (len (uniq $names)) -}}
{{- $wrong = append $wrong (printf "members names one twice (%s): list each once" (join ", " $names)) -}}
{{- end -}}
{{- $urls := list -}}
{{- range $index, $member := .Values.members -}}
{{- if not (regexMatch "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$" $member.name) -}}
{{- $wrong = append $wrong (printf "members[%d].name is %q: use 1 to 63 characters of a-z, 0-9 and '-', starting and ending with a letter or digit" $index $member.name) -}}
{{- end -}}
{{- range $field := list "clientUrl" "peerUrl" -}}
{{- $value := get $member $field -}}
{{- if not (regexMatch $url $value) -}}
{{- $wrong = append $wrong (printf "members[%d].%s is %q: write it as https://host:port, with the port and without a path" $index $field $value) -}}
{{- else if has $value $urls -}}
{{- $wrong = append $wrong (printf "members[%d].%s is %s, which another URL is already: each leads to one port of one place" $index $field $value) -}}
{{- end -}}
{{- $urls = append $urls $value -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- $own := include "arbiter.own" . -}}
{{- if not .Values.member -}}
{{- $wrong = append $wrong (printf "member is not set: say which of the members this release is (--set member=paris); %s in members/NAME/values.yaml" $make) -}}
{{- else if and .Values.members (not $own) -}}
{{- $wrong = append $wrong (printf "member is %q, and members has %s: take one of them, or add it there (in every place)" .Values.member (join ", " $names)) -}}
{{- end -}}

{{- if not .Values.cluster.token -}}
{{- $wrong = append $wrong (printf "cluster.token is not set: give the one name of this arbiter, the same in every place (--set cluster.token=bascule-arbiter-1); %s" $make) -}}
{{- end -}}
{{- if not .Values.tls.secretName -}}
{{- $wrong = append $wrong (printf "tls.secretName is not set: name a Secret of namespace %s with client-ca.crt, server.crt, server.key, peer-ca.crt, peer.crt and peer.key (kubectl -n %s apply -f members/NAME/secret.yaml); %s" .Release.Namespace .Release.Namespace $make) -}}
{{- end -}}

{{- if and $own (not $wrong) -}}
{{- $own = fromJson $own -}}
{{- $client := include "arbiter.port" $own.clientUrl | int -}}
{{- $peer := include "arbiter.port" $own.peerUrl | int -}}
{{- range $field, $port := dict "clientUrl" $client "peerUrl" $peer -}}
{{- if or (lt $port 1024) (gt $port 65535) -}}
{{- $wrong = append $wrong (printf "members: %s of %s has the port %d: the pod listens there itself and is not root; use one from 1024 to 65535" $field $.Values.member $port) -}}
{{- end -}}
{{- if and (eq $.Values.service.type "NodePort") (or (lt $port 30000) (gt $port 32767)) -}}
{{- $wrong = append $wrong (printf "service.type is NodePort and %s of %s has the port %d: node ports are 30000 to 32767; give the member such ports (bascule arbiter init --member %s=HOST:32379:32380), or take another service.type" $field $.Values.member $port $.Values.member) -}}
{{- end -}}
{{- end -}}
{{- if eq $client $peer -}}
{{- $wrong = append $wrong (printf "members: clientUrl and peerUrl of %s have the same port %d: give them two" .Values.member $client) -}}
{{- end -}}
{{- if or (eq $client (int .Values.metrics.port)) (eq $peer (int .Values.metrics.port)) -}}
{{- $wrong = append $wrong (printf "metrics.port is %d, which is a port of the member's URLs already: take another" (int .Values.metrics.port)) -}}
{{- end -}}
{{- end -}}

{{- if and (eq .Values.service.type "HostPort") (not .Values.nodeSelector) (not .Values.affinity) -}}
{{- $wrong = append $wrong "service.type is HostPort, and neither nodeSelector nor affinity is set: the URLs lead to one node, so say which (--set 'nodeSelector.kubernetes\\.io/hostname=NODE')" -}}
{{- end -}}
{{- range $field := list "loadBalancerClass" "loadBalancerSourceRanges" -}}
{{- if and (get $.Values.service $field) (ne $.Values.service.type "LoadBalancer") -}}
{{- $wrong = append $wrong (printf "service.%s is set and service.type is %s: it is of use to a LoadBalancer only; leave it out" $field $.Values.service.type) -}}
{{- end -}}
{{- end -}}
{{- range $field, $digest := dict "image.digest" .Values.image.digest "maintenance.image.digest" .Values.maintenance.image.digest -}}
{{- if and $digest (not (regexMatch "^sha256:[0-9a-f]{64}$" $digest)) -}}
{{- $wrong = append $wrong (printf "%s is %q: write sha256: and 64 hexadecimal digits" $field $digest) -}}
{{- end -}}
{{- end -}}
{{- if not .Values.image.digest -}}
{{- $old := false -}}
{{- if regexMatch "^v?3\\.6\\.[0-8]($|[^0-9])" .Values.image.tag }}{{ $old = true }}{{ end -}}
{{- if regexMatch "^v?([0-2]\\.|3\\.[0-5]($|[^0-9]))" .Values.image.tag }}{{ $old = true }}{{ end -}}
{{- if $old -}}
{{- $wrong = append $wrong (printf "image.tag is %q: use etcd 3.6.9 or a later 3.6, or 3.7; an older member may answer with what was true before it was paused, and 3.5 has not all settings of this chart" .Values.image.tag) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.maintenance.enabled (not .Values.maintenance.secretName) -}}
{{- $wrong = append $wrong (printf "maintenance.enabled is true and maintenance.secretName is not set: name a Secret of namespace %s with ca.crt, tls.crt and tls.key of the user maintenance-%s (kubectl -n %s apply -f members/NAME/maintenance/secret.yaml)" .Release.Namespace .Values.member .Release.Namespace) -}}
{{- end -}}

{{- /* A server that was built without a version says 0 or nothing. */ -}}
{{- $major := regexFind "^[0-9]+" .Capabilities.KubeVersion.Major | int -}}
{{- $minor := regexFind "^[0-9]+" .Capabilities.KubeVersion.Minor | int -}}
{{- if and (eq $major 1) (lt $minor 30) -}}
{{- $wrong = append $wrong (printf "the cluster runs Kubernetes %s: expected 1.30 or newer; upgrade it first" .Capabilities.KubeVersion.Version) -}}
{{- end -}}

{{- if $wrong -}}
{{- fail (printf "\n\nThe values cannot be used:\n- %s\n" (join "\n- " $wrong)) -}}
{{- end -}}
{{- end -}}
