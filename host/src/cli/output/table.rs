//! A text table with aligned columns.

use std::fmt;

/// Rows below a header. Each column is as wide as its widest cell.
pub(in crate::cli) struct TextTable {
    rows: Vec<Vec<String>>,
}

impl TextTable {
    /// A table with these column names.
    #[must_use]
    pub(in crate::cli) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|&name| name.to_owned()).collect()] }
    }

    /// Adds a row.
    pub(in crate::cli) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths = Vec::new();
        for row in &self.rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        widths
    }
}

impl fmt::Display for TextTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect::<Vec<_>>();
            writeln!(f, "{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_characters() {
        let mut table = TextTable::new(&["A", "B"]);
        table.row(vec!["é".to_owned(), "x".to_owned()]);
        table.row(vec!["long".to_owned(), String::new()]);
        assert_eq!(table.to_string(), "A     B\né     x\nlong\n");
    }
}
