//! The witness's accounts, roles and admission policies, from the adapter's own list of what each may do.

use anyhow::{Context, Result};
use bascule_adapters::arbiter::kubernetes::admission::{ADMISSIONS, GUARD, OPERATOR, Right};
use serde_json::Value;

use crate::{Generated, definitions};

const HEAD: &str = "{{- /* Generated from operator/adapters/src/arbiter/kubernetes/admission.rs by `make chart`; do not edit. */}}\n";

const LABELS: &str = "  labels:\n    {{- include \"witness.labels\" $ | nindent 4 }}\n";

/// Every generated template of the chart.
pub(crate) fn templates() -> Result<Vec<Generated>> {
    let file =
        |name: &str, text| Generated { path: format!("charts/bascule-witness/templates/{name}"), text };
    let mut files = vec![file("accounts.yaml", accounts()), file("admission.yaml", admissions()?)];
    for definition in bascule_crds::witness_definitions().context("the witness's definitions")? {
        let text = definition.yaml().context("a definition as YAML")?;
        let text = definitions::template(&text, "witness.labels");
        files.push(file(&format!("crds/{}", definition.file), text));
    }
    Ok(files)
}

fn accounts() -> String {
    let mut text = format!("{HEAD}{{{{- range $site := .Values.sites }}}}\n");
    for (who, rights) in [("operator", OPERATOR), ("guard", GUARD)] {
        let name = format!("{who}-{{{{ $site }}}}");
        text += &account(&name);
        text += &role(&name, rights);
    }
    text + "{{- end }}\n"
}

fn metadata(name: &str, annotations: &str) -> String {
    format!("metadata:\n  name: {name}\n  namespace: {{{{ $.Release.Namespace }}}}\n{annotations}{LABELS}")
}

fn account(name: &str) -> String {
    let token = format!("  annotations:\n    kubernetes.io/service-account.name: {name}\n");
    format!(
        "---\napiVersion: v1\nkind: ServiceAccount\n{}automountServiceAccountToken: false\n---\napiVersion: v1\nkind: Secret\n{}type: kubernetes.io/service-account-token\n",
        metadata(name, ""),
        metadata(name, &token)
    )
}

fn role(name: &str, rights: &[Right]) -> String {
    let rules: String = rights.iter().map(rule).collect();
    format!(
        "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: Role\n{head}rules:\n{rules}---\napiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\n{head}roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: Role\n  name: {name}\nsubjects:\n  - kind: ServiceAccount\n    name: {name}\n    namespace: {{{{ $.Release.Namespace }}}}\n",
        head = metadata(name, "")
    )
}

fn rule(right: &Right) -> String {
    // A site may be named like a number.
    let names = if right.own { "    resourceNames: [{{ $site | quote }}]\n" } else { "" };
    format!(
        "  - apiGroups: [{}]\n    resources: [{}]\n{names}    verbs: [{}]\n",
        bascule_crds::witness::GROUP,
        right.resource,
        right.verbs.join(", ")
    )
}

fn admissions() -> Result<String> {
    let mut text = HEAD.to_owned();
    for admission in ADMISSIONS {
        for object in [admission.policy(NAME), admission.binding(NAME, NAMESPACE)] {
            text += "---\n";
            text += &object_text(&object)?;
        }
    }
    Ok(text)
}

/// What stands for the release's own in the objects, and cannot be in a rule.
const NAME: &str = "RELEASE-NAME";
const NAMESPACE: &str = "RELEASE-NAMESPACE";

fn object_text(object: &Value) -> Result<String> {
    let yaml = serde_yaml::to_string(object).context("an admission policy as YAML")?;
    let marked = yaml.replacen("metadata:\n", &format!("metadata:\n{LABELS}"), 1);
    Ok(marked
        .replace(NAMESPACE, "{{ .Release.Namespace | quote }}")
        .replace(NAME, "{{ include \"witness.name\" . }}"))
}
