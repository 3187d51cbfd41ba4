//! The definitions of Bascule's kinds as templates: Helm never upgrades what lies in a chart's `crds/`.

use anyhow::{Context, Result};

use crate::Generated;

pub(crate) fn templates() -> Result<Vec<Generated>> {
    let definitions = bascule_crds::definitions().context("the definitions")?;
    definitions
        .iter()
        .map(|definition| {
            let text = definition.yaml().context("a definition as YAML")?;
            Ok(Generated {
                path: format!("charts/bascule/templates/crds/{}", definition.file),
                text: template(&text, "bascule.labels"),
            })
        })
        .collect()
}

/// The same text, but for what the values turn on and off; with the labels of the template `labels`.
pub(crate) fn template(definition: &str, labels: &str) -> String {
    // What looks like a template in a description is text.
    let escaped = definition.replace("{{", "{{ \"{{\" }}");
    let keep = format!(
        "\nmetadata:\n  {{{{- if .Values.crds.keep }}}}\n  annotations:\n    helm.sh/resource-policy: keep\n  {{{{- end }}}}\n  labels:\n    {{{{- include \"{labels}\" . | nindent 4 }}}}\n"
    );
    let marked = escaped.replacen("\nmetadata:\n", &keep, 1);
    format!("{{{{- if .Values.crds.enabled }}}}\n{marked}{{{{- end }}}}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_is_left_as_it_is_but_for_its_switch_and_its_mark() {
        let text = template(
            "# Generated\nkind: X\nmetadata:\n  name: x\nspec:\n  description: '{{ x }}'\n  metadata:\n    a: 1\n",
            "x.labels",
        );
        assert!(text.starts_with("{{- if .Values.crds.enabled }}\n# Generated\nkind: X\n"), "{text}");
        assert!(text.ends_with("    a: 1\n{{- end }}\n"), "{text}");
        assert_eq!(text.matches("resource-policy").count(), 1, "{text}");
        assert!(text.contains("description: '{{ \"{{\" }} x }}'"), "{text}");
    }
}
