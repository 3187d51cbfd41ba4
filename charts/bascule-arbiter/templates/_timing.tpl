{{/* Generated from operator/adapters/src/arbiter/timing.rs by `make chart`; do not edit. Milliseconds. */}}
{{- define "arbiter.timing" -}}
{ "metro": { "heartbeat": 30, "election": 300 }, "region": { "heartbeat": 70, "election": 700 }, "wan": { "heartbeat": 100, "election": 1000 }, "conservative": { "heartbeat": 300, "election": 3000 } }
{{- end -}}
