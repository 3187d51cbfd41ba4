{{/* Generated from operator/core/src/timing.rs by `make chart`; do not edit. The slowest election timeout of the
arbiter, in milliseconds, with which each profile holds. */}}
{{- define "bascule.election" -}}
{ "metro": 375, "region": 750, "wan": 1500, "conservative": 5000 }
{{- end -}}
