//! `docs/scale.md`, made from the figures of a run.

use super::figures::Figures;

const HEAD: &str = include_str!("head.md");

/// The whole page.
pub fn page(figures: &Figures) -> String {
    let mut text = HEAD.to_owned();
    text += "\n## Measured\n\n";
    for (name, value) in &figures.about {
        text += &format!("- {name}: {value}\n");
    }
    text += "\n";
    text += &figures.table();
    text
}
