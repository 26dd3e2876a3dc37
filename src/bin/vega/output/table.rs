//! Tables for people: a header, columns aligned, numbers to the right. Layer: bin.

use std::fmt;

use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, LineStyle, TableStyle};

/// One line below the header: rows of one line each need no more.
const STYLE: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));
/// Spaces to the left and to the right of a cell.
const PADDING: (u16, u16) = (0, 2);

/// A table that grows row by row, and is printed through `Display`.
#[derive(Debug)]
pub(crate) struct Table {
    table: comfy_table::Table,
}

impl Table {
    pub(crate) fn new(header: &[&str]) -> Self {
        let mut table = comfy_table::Table::new();
        table
            .load_style(STYLE)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(header.iter().map(|title| Cell::new(title).add_attribute(Attribute::Bold)));
        for column in table.column_iter_mut() {
            column.set_padding(PADDING);
        }
        Self { table }
    }

    /// Aligns columns to the right, as numbers are read.
    pub(crate) fn right(mut self, columns: &[usize]) -> Self {
        for &column in columns {
            if let Some(column) = self.table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        self
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = impl fmt::Display>) {
        // Names come from the network and from files: none of them may move the cursor.
        let harmless = |cell: String| cell.replace(char::is_control, "\u{fffd}");
        self.table.add_row(cells.into_iter().map(|cell| Cell::new(harmless(cell.to_string()))));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Padding to the right of the last column is of no use to anybody.
        for (index, line) in self.table.lines().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            f.write_str(line.trim_end())?;
        }
        Ok(())
    }
}
