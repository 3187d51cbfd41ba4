//! Columns that are as wide as what is in them.

/// The rows as lines: two spaces between columns, none at the end, and a line is a line whatever a cell quotes.
pub fn lines<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let flat = |cell: &String| cell.split_whitespace().collect::<Vec<_>>().join(" ");
    let rows: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(flat)).collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: [String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.into_iter().map(line).collect()
}

/// A row from words.
pub fn row<const N: usize>(cells: [&str; N]) -> [String; N] {
    cells.map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_a_cell_is_one_line() {
        let rows = [row(["SITE", "ROLE"]), row(["Orléans", "Standby\n and more"]), row(["x", ""])];
        assert_eq!(lines(&rows), ["SITE     ROLE", "Orléans  Standby and more", "x"]);
    }
}
