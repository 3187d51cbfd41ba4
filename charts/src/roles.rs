//! The chart's roles and bindings, from the operator's own list of rights.

use bascule_adapters::kube::rights::{Names, RIGHTS, Right, Scope};

const HEAD: &str = "{{- /* Generated from operator/adapters/src/kube/rights.rs by `make chart`; do not edit. docs/rbac.md has the reasons. */}}
{{- if .Values.rbac.create }}
{{- $name := include \"bascule.name\" . }}
";

pub(crate) fn template() -> String {
    let (own, applications, watched) = ("{{ $name }}", "{{ $name }}-applications", "{{ $name }}-watched");
    let mut text = HEAD.to_owned();
    text += "{{- if .Values.watchNamespaces }}\n# What has no namespace.\n{{- else }}\n";
    text += "# What has no namespace, and Bascule's own kinds.\n{{- end }}\n";
    text += &head("ClusterRole", "", own);
    text += &format!("{{{{- if not .Values.watchNamespaces }}}}\n{}{{{{- end }}}}\n", rules(Scope::Kinds));
    text += &rules(Scope::Cluster);
    text += "---\n";
    text += &binding("ClusterRoleBinding", "", own, "ClusterRole", own);
    text += "---\n# The operator's own namespace.\n";
    text += &head("Role", "{{ .Release.Namespace }}", own);
    text += &rules(Scope::Own);
    text += "---\n";
    text += &binding("RoleBinding", "{{ .Release.Namespace }}", own, "Role", own);
    text += "{{- if .Values.watchNamespaces }}\n{{- range .Values.watchNamespaces }}\n";
    text += "---\n# Bascule's own kinds and the applications of a namespace that is watched.\n";
    text += &head("Role", "{{ . }}", watched);
    text += &rules(Scope::Kinds);
    text += &rules(Scope::Applications);
    text += "---\n";
    text += &binding("RoleBinding", "{{ . }}", watched, "Role", watched);
    text += "{{- end }}\n{{- else }}\n";
    text += "---\n# The namespaces of the applications: all, or those of rbac.namespaces.\n";
    text += &head("ClusterRole", "", applications);
    text += &rules(Scope::Applications);
    text += "{{- if .Values.rbac.namespaces }}\n{{- range .Values.rbac.namespaces }}\n---\n";
    text += &binding("RoleBinding", "{{ . }}", own, "ClusterRole", applications);
    text += "{{- end }}\n{{- else }}\n---\n";
    text += &binding("ClusterRoleBinding", "", applications, "ClusterRole", applications);
    text += "{{- end }}\n{{- end }}\n{{- end }}\n";
    text
}

fn metadata(kind: &str, namespace: &str, name: &str) -> String {
    let namespace = if namespace.is_empty() { String::new() } else { format!("  namespace: {namespace}\n") };
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata:\n  name: {name}\n{namespace}  labels:\n    {{{{- include \"bascule.labels\" $ | nindent 4 }}}}\n"
    )
}

/// The beginning of a role, up to its rules.
fn head(kind: &str, namespace: &str, name: &str) -> String {
    format!("{}rules:\n", metadata(kind, namespace, name))
}

fn rules(scope: Scope) -> String {
    RIGHTS.iter().filter(|r| r.scope == scope).map(rule).collect()
}

fn rule(right: &Right) -> String {
    let verbs: Vec<&str> = right.verbs.iter().map(|(verb, _)| *verb).collect();
    let names = match right.names {
        Names::Any => String::new(),
        Names::Only(names) => format!("    resourceNames: [{}]\n", names.join(", ")),
        Names::Listed => {
            // The dot is a namespace where there is a role for each.
            "    {{- with $.Values.rbac.secretNames }}\n    resourceNames: {{ toJson . }}\n    {{- end }}\n"
                .to_owned()
        }
    };
    let rule = format!(
        "  - apiGroups: [\"{}\"]\n    resources: [{}]\n{names}    verbs: [{}]\n",
        right.group,
        right.resource,
        verbs.join(", ")
    );
    match right.only_for {
        None => rule,
        Some(only) => format!("  {{{{- if $.Values.{} }}}}\n{rule}  {{{{- end }}}}\n", only.setting),
    }
}

fn binding(kind: &str, namespace: &str, name: &str, role_kind: &str, role: &str) -> String {
    format!(
        "{}roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: {role_kind}\n  name: {role}\nsubjects:\n  - kind: ServiceAccount\n    name: {{{{ include \"bascule.account\" $ }}}}\n    namespace: {{{{ $.Release.Namespace }}}}\n",
        metadata(kind, namespace, name)
    )
}
