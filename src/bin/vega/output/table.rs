//! Tables for people: a header, columns aligned, numbers to the right. Layer: bin. On a terminal they are no
//! wider than it is, as far as that goes; elsewhere everything is there.

use std::fmt;
use std::io::{self, IsTerminal};

use comfy_table::{
    Attribute, Cell, CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, TableStyle,
};
use ratatui::crossterm::terminal;
use ratatui::text::Span;

use super::{cut, fit};

/// One line below the header: rows of one line each need no more.
const STYLE: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));
/// Blanks between two columns where there is room, and where there is less and less.
const WIDE: usize = 3;
const NARROW: usize = 2;
const NARROWEST: usize = 1;
/// Names are not made shorter than this.
const MIN_NAME: usize = 12;

/// A table that grows row by row, and is printed through `Display`, to standard output.
#[derive(Debug)]
pub(crate) struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
    right: Vec<usize>,
    names: Vec<usize>,
    spare: Vec<usize>,
    prose: Option<usize>,
}

impl Table {
    /// The first column has names, which are cut where a terminal has no room.
    pub(crate) fn new(header: &[&str]) -> Self {
        let header = header.iter().map(|title| (*title).to_owned()).collect();
        let (right, names, spare) = (Vec::new(), vec![0], Vec::new());
        Self { header, rows: Vec::new(), right, names, spare, prose: None }
    }

    /// Aligns columns to the right, as numbers are read.
    pub(crate) fn right(mut self, columns: &[usize]) -> Self {
        self.right.extend_from_slice(columns);
        self
    }

    /// More columns of names.
    pub(crate) fn names(mut self, columns: &[usize]) -> Self {
        self.names.extend_from_slice(columns);
        self
    }

    /// Columns that a narrow terminal does without, the first one first.
    pub(crate) fn spare(mut self, columns: &[usize]) -> Self {
        self.spare.extend_from_slice(columns);
        self
    }

    /// A column of sentences, which take several lines on a narrow terminal: nothing is cut then.
    pub(crate) const fn prose(mut self, column: usize) -> Self {
        self.prose = Some(column);
        self
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = impl fmt::Display>) {
        // Names come from the network and from files: none of them may move the cursor.
        let harmless =
            |cell: &dyn fmt::Display| cell.to_string().replace(char::is_control, "\u{fffd}");
        self.rows.push(cells.into_iter().map(|cell| harmless(&cell)).collect());
    }

    fn lines(&self, width: Option<usize>) -> Vec<String> {
        let Layout { columns, widths, gap, wrapped } = self.layout(width);
        let mut table = comfy_table::Table::new();
        table.load_style(STYLE).set_content_arrangement(ContentArrangement::Disabled);
        if let Some(width) = wrapped {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(short(width));
        }
        let title =
            |column: &usize| Cell::new(&self.header[*column]).add_attribute(Attribute::Bold);
        table.set_header(columns.iter().map(title));
        for (column, origin) in table.column_iter_mut().zip(&columns) {
            // One of the blanks between two columns is that of the line which is not drawn.
            let is_last = columns.last() == Some(origin);
            column.set_padding((0, if is_last { 0 } else { short(gap - 1) }));
            if self.right.contains(origin) {
                column.set_cell_alignment(CellAlignment::Right);
            }
            if wrapped.is_some() && self.prose != Some(*origin) {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        for row in &self.rows {
            table.add_row(columns.iter().map(|column| {
                let cell = row.get(*column).cloned().unwrap_or_default();
                Cell::new(cut(cell, short(widths[*column])))
            }));
        }
        // Blanks at the end of a line are of no use to anybody.
        table.lines().map(|line| line.trim_end().to_owned()).collect()
    }

    /// What has room.
    fn layout(&self, width: Option<usize>) -> Layout {
        let mut widths: Vec<_> = (0..self.header.len()).map(|column| self.width(column)).collect();
        let mut columns: Vec<_> = (0..self.header.len()).collect();
        let room = width.unwrap_or(usize::MAX);
        let gaps = |columns: &[usize], gap| columns.len().saturating_sub(1) * gap;
        let has_room = |columns: &[usize], gap| {
            columns.iter().map(|column| widths[*column]).sum::<usize>() + gaps(columns, gap) <= room
        };
        let mut spare = self.spare.iter();
        let mut gap = WIDE;
        while !has_room(&columns, gap) {
            if gap == WIDE {
                gap = NARROW;
            } else if let Some(column) = spare.next() {
                columns.retain(|it| it != column);
            } else if self.prose.is_some() {
                return Layout { columns, widths, gap, wrapped: width };
            } else if gap == NARROW {
                gap = NARROWEST;
            } else {
                // What does not help is not done: then lines are longer than the terminal is wide.
                for column in self.spare.iter().filter(|column| !columns.contains(column)) {
                    widths[*column] = 0;
                }
                let names: Vec<_> = self.names.iter().map(|column| (*column, MIN_NAME)).collect();
                let is_enough = fit(&mut widths, &names, room.saturating_sub(gaps(&columns, gap)));
                let gap = if is_enough { NARROWEST } else { NARROW };
                return Layout { columns, widths, gap, wrapped: None };
            }
        }
        Layout { columns, widths, gap, wrapped: None }
    }

    /// What a column takes on a terminal.
    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        let widths = cells.chain(self.header.get(column)).map(|cell| Span::raw(cell).width());
        widths.max().unwrap_or_default()
    }
}

/// What of a table is shown, and how.
struct Layout {
    columns: Vec<usize>,
    /// Of all columns, shown or not. Longer names are cut.
    widths: Vec<usize>,
    gap: usize,
    /// The width of all, where sentences take several lines.
    wrapped: Option<usize>,
}

/// As tables and cuts count columns of a terminal.
fn short(width: usize) -> u16 {
    u16::try_from(width).unwrap_or(u16::MAX)
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines(terminal_width()).join("\n"))
    }
}

/// Of the terminal that standard output is, if it is one.
fn terminal_width() -> Option<usize> {
    let size = io::stdout().is_terminal().then(terminal::size)?.ok()?;
    // One that does not know its size says 0.
    (size.0 > 0).then_some(usize::from(size.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["topic", "family", "port"]).right(&[2]).spare(&[1]);
        table.row(["prices.EUR.USD.and.more", "ipv4", "7"]);
        table.row(["漢\u{1b}字", "-", "35006"]);
        table
    }

    #[test]
    fn without_a_terminal_everything_is_there() {
        let lines = table().lines(None);
        assert!(lines[0].contains("family"), "{lines:#?}");
        assert_eq!(lines[2], "prices.EUR.USD.and.more   ipv4         7");
        assert_eq!(lines[3], "漢\u{fffd}字                     -        35006");
        assert_eq!(lines[1].chars().count(), 40);
    }

    #[test]
    fn a_narrow_terminal_has_smaller_gaps_then_fewer_columns_then_shorter_names() {
        for (width, row, has_family) in [
            (40, "prices.EUR.USD.and.more   ipv4         7", true),
            (39, "prices.EUR.USD.and.more  ipv4        7", true),
            (37, "prices.EUR.USD.and.more      7", false),
            (29, "prices.EUR.USD.and.more     7", false),
            (28, "prices.EUR.…D.and.more     7", false),
            (18, "prices….more     7", false),
            (17, "prices.EUR.USD.and.more      7", false),
        ] {
            let lines = table().lines(Some(width));
            assert_eq!(lines[2], row, "{width}");
            assert_eq!(lines[0].contains("family"), has_family, "{width}");
        }
    }

    #[test]
    fn sentences_take_several_lines() {
        let mut table = Table::new(&["counter", "value", ""]).right(&[1]).prose(2);
        table.row(["malformed", "17", "datagrams that are no packets of this protocol"]);
        let lines = table.lines(Some(40));
        assert!(lines.iter().all(|line| line.chars().count() <= 40), "{lines:#?}");
        assert!(lines[2].starts_with("malformed     17  datagrams that are"), "{lines:#?}");
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            words(&lines[2..].join(" ")),
            words("malformed 17 datagrams that are no packets of this protocol")
        );
    }
}
