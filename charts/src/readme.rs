//! The chart's README: prose, and the table of values from their comments.

use crate::values::Documented;

const HEAD: &str = include_str!("readme.md");
/// Where the table goes.
const TABLE: &str = "<!-- values -->\n";

pub(crate) fn text(values: &[Documented]) -> String {
    let mut table = "| Value | Default | What it is |\n|---|---|---|\n".to_owned();
    for value in values {
        table +=
            &format!("| `{}` | `{}` | {} |\n", value.path, value.default, value.text.replace('|', "\\|"));
    }
    let head = "<!-- Generated from charts/src/readme.md and values.yaml by `make chart`; do not edit. -->\n";
    format!("{head}{}", HEAD.replace(TABLE, &table))
}
