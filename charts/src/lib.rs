//! The generated parts of the charts `bascule`, `bascule-arbiter` and `bascule-witness`, each from the one place that knows: the
//! definitions from the types, the roles from the operator's list of rights, the timing from the profiles, the README from the
//! values' comments.

#![allow(
    clippy::format_push_string,
    reason = "text is put together in the way that reads best; its speed does not matter"
)]

mod arbiter_timing;
mod definitions;
mod readme;
mod rights_page;
mod roles;
mod timing;
pub mod values;
mod witness;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A file of the repository that is written by `make chart`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// Where it lies, from the repository's root.
    pub path: String,
    /// What is in it.
    pub text: String,
}

/// The repository's root, and in it the chart.
pub fn root() -> Result<PathBuf> {
    Ok(Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("charts/ has no parent folder")?.to_owned())
}

/// Every generated file.
pub fn generated() -> Result<Vec<Generated>> {
    let file = |path: &str, text: String| Generated { path: path.to_owned(), text };
    let mut files = definitions::templates()?;
    files.push(file("charts/bascule/templates/_timing.tpl", timing::template()));
    files.push(file("charts/bascule/templates/rbac.yaml", roles::template()));
    files.push(file("charts/bascule-arbiter/templates/_timing.tpl", arbiter_timing::template()));
    files.extend(witness::templates()?);
    for (chart, prose) in [
        ("bascule", readme::BASCULE),
        ("bascule-arbiter", readme::ARBITER),
        ("bascule-witness", readme::WITNESS),
    ] {
        let values = root()?.join(format!("charts/{chart}/values.yaml"));
        let values =
            std::fs::read_to_string(&values).with_context(|| format!("cannot read {}", values.display()))?;
        let text = readme::text(&prose, &values::documented(&values)?);
        files.push(file(&format!("charts/{chart}/README.md"), text));
    }
    files.push(file("docs/rbac.md", rights_page::text()));
    Ok(files)
}
