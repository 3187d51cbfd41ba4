//! The chart's roles and bindings, from the operator's own list of rights.

use bascule_adapters::kube::rights::{Names, RIGHTS, Right, Scope};

const HEAD: &str = "{{- /* Generated from operator/adapters/src/kube/rights.rs by `make chart`; do not edit. docs/rbac.md has the reasons. */}}
{{- if .Values.rbac.create }}
{{- $name := include \"bascule.name\" . }}
";

pub(crate) fn template() -> String {
    let mut text = HEAD.to_owned();
    text += "# What has no namespace, and Bascule's own kinds.\n";
    text += &role("ClusterRole", "{{ $name }}", Scope::Cluster);
    text += "---\n";
    text += &binding("ClusterRoleBinding", "", "{{ $name }}", "ClusterRole", "{{ $name }}");
    text += "---\n# The operator's own namespace.\n";
    text += &role("Role", "{{ $name }}", Scope::Own);
    text += "---\n";
    text += &binding("RoleBinding", "{{ .Release.Namespace }}", "{{ $name }}", "Role", "{{ $name }}");
    text += "---\n# The namespaces of the applications: all, or those of rbac.namespaces.\n";
    text += &role("ClusterRole", "{{ $name }}-applications", Scope::Applications);
    text += "{{- if .Values.rbac.namespaces }}\n{{- range .Values.rbac.namespaces }}\n---\n";
    text += &binding("RoleBinding", "{{ . }}", "{{ $name }}", "ClusterRole", "{{ $name }}-applications");
    text += "{{- end }}\n{{- else }}\n---\n";
    let applications = "{{ $name }}-applications";
    text += &binding("ClusterRoleBinding", "", applications, "ClusterRole", applications);
    text += "{{- end }}\n{{- end }}\n";
    text
}

fn metadata(kind: &str, namespace: &str, name: &str) -> String {
    let namespace = if namespace.is_empty() { String::new() } else { format!("  namespace: {namespace}\n") };
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata:\n  name: {name}\n{namespace}  labels:\n    {{{{- include \"bascule.labels\" $ | nindent 4 }}}}\n"
    )
}

fn role(kind: &str, name: &str, scope: Scope) -> String {
    let namespace = if kind == "Role" { "{{ .Release.Namespace }}" } else { "" };
    let rules: String = RIGHTS.iter().filter(|r| r.scope == scope).map(rule).collect();
    format!("{}rules:\n{rules}", metadata(kind, namespace, name))
}

fn rule(right: &Right) -> String {
    let verbs: Vec<&str> = right.verbs.iter().map(|(verb, _)| *verb).collect();
    let names = match right.names {
        Names::Any => String::new(),
        Names::Only(names) => format!("    resourceNames: [{}]\n", names.join(", ")),
        Names::Listed => {
            "    {{- with .Values.rbac.secretNames }}\n    resourceNames: {{ toJson . }}\n    {{- end }}\n"
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
        Some(only) => format!("  {{{{- if .Values.{} }}}}\n{rule}  {{{{- end }}}}\n", only.setting),
    }
}

fn binding(kind: &str, namespace: &str, name: &str, role_kind: &str, role: &str) -> String {
    format!(
        "{}roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: {role_kind}\n  name: {role}\nsubjects:\n  - kind: ServiceAccount\n    name: {{{{ include \"bascule.account\" $ }}}}\n    namespace: {{{{ $.Release.Namespace }}}}\n",
        metadata(kind, namespace, name)
    )
}
