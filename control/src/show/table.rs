//! Aligned columns.

use std::fmt::Write;

/// A header and rows as wide as their widest cell: words to the left, numbers to the right.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    header: [&'static str; N],
    /// How many of the columns, from the first, are words.
    words: usize,
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// An empty table whose first `words` columns are words.
    pub fn new(words: usize, header: [&'static str; N]) -> Self {
        Table { header, words, rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }

    /// The table as text, lines without blanks at their ends.
    pub fn render(&self) -> String {
        let mut widths = self.header.map(str::len);
        for row in &self.rows {
            widths.iter_mut().zip(row).for_each(|(width, cell)| *width = (*width).max(cell.chars().count()));
        }
        let mut out = String::new();
        self.line(&mut out, &widths, self.header.iter().copied());
        for row in &self.rows {
            self.line(&mut out, &widths, row.iter().map(String::as_str));
        }
        out
    }

    fn line<'a>(&self, out: &mut String, widths: &[usize], cells: impl Iterator<Item = &'a str>) {
        let mut line = String::new();
        for (i, (cell, &width)) in cells.zip(widths).enumerate() {
            let gap = if i == 0 { "" } else { "  " };
            // Writing to a string cannot fail.
            let _ = if i < self.words {
                write!(line, "{gap}{cell:<width$}")
            } else {
                write!(line, "{gap}{cell:>width$}")
            };
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
}
