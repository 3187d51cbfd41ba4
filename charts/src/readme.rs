//! A chart's README: prose, and the table of values from their comments.

use crate::values::Documented;

/// The prose of one chart.
pub(crate) struct Prose {
    /// Where it comes from.
    pub(crate) file: &'static str,
    /// What it says.
    pub(crate) text: &'static str,
}

pub(crate) const BASCULE: Prose = Prose { file: "charts/src/readme.md", text: include_str!("readme.md") };
pub(crate) const ARBITER: Prose =
    Prose { file: "charts/src/arbiter_readme.md", text: include_str!("arbiter_readme.md") };

pub(crate) const WITNESS: Prose =
    Prose { file: "charts/src/witness_readme.md", text: include_str!("witness_readme.md") };

/// Where the table goes.
const TABLE: &str = "<!-- values -->\n";

pub(crate) fn text(prose: &Prose, values: &[Documented]) -> String {
    let mut table = "| Value | Default | What it is |\n|---|---|---|\n".to_owned();
    for value in values {
        table +=
            &format!("| `{}` | `{}` | {} |\n", value.path, value.default, value.text.replace('|', "\\|"));
    }
    let head =
        format!("<!-- Generated from {} and values.yaml by `make chart`; do not edit. -->\n", prose.file);
    format!("{head}{}", prose.text.replace(TABLE, &table))
}
