//! `--report`: results as one HTML file that needs nothing else to be read. Layer: bin; runs on the
//! commanding thread.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};

use super::Table;

/// Light and dark as the reader's system is. The two colours of curves can be told apart on both
/// grounds, also by those who see no red or green.
const STYLE: &str = "
:root { color-scheme: light dark; --ground: #fff; --ink: #1c1c1c; --pale: #6b6b6b; --line: #dcdcdc;
  --c0: #0060b5; --c1: #c45a00; --yes: #0060b5; --no: #b00020; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #14161a; --ink: #e8e8e8; --pale: #9aa0a8; --line: #343a42;
    --c0: #5ab0ff; --c1: #ffa14a; --yes: #5ab0ff; --no: #ff7a8a; } }
body { margin: 2rem auto; padding: 0 1rem; max-width: 62rem; background: var(--ground);
  color: var(--ink); font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.pale, figcaption, svg text { color: var(--pale); fill: var(--pale); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap; }
th, td { padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line); text-align: left; }
.right { text-align: right; }
.yes { color: var(--yes); } .no { color: var(--no); font-weight: 600; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(22rem, 1fr)); gap: 1rem; }
figure { margin: 0; max-width: 34rem; } svg { width: 100%; height: auto; } svg text { font-size: 11px; }
.grid { stroke: var(--line); fill: none; }
.curve { fill: none; stroke-width: 2; stroke-linejoin: round; }
.bar { fill: var(--c0); }
.c0 { stroke: var(--c0); } .c1 { stroke: var(--c1); stroke-dasharray: 5 3; }
";

/// Rows under a header; columns from the second one on are numbers, up to the first of words.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) title: &'static str,
    pub(crate) header: Vec<&'static str>,
    /// Columns of numbers.
    pub(crate) numbers: std::ops::Range<usize>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// What is on the page. Figures are markup; everything else is text.
pub(crate) struct Page<F> {
    pub(crate) title: String,
    pub(crate) summary: String,
    /// What it was made from.
    pub(crate) origin: String,
    pub(crate) tables: Vec<Rows>,
    /// Heading of the figures.
    pub(crate) heading: &'static str,
    pub(crate) figures: Vec<F>,
}

impl<F: fmt::Display> Page<F> {
    /// # Errors
    ///
    /// When the file cannot be written.
    pub(crate) fn write(&self, file: File) -> io::Result<()> {
        let mut file = BufWriter::new(file);
        write!(file, "{self}")?;
        file.flush()
    }
}

impl<F: fmt::Display> fmt::Display for Page<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = Escaped(&self.title);
        writeln!(f, "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">")?;
        writeln!(f, r#"<meta name="viewport" content="width=device-width, initial-scale=1">"#)?;
        writeln!(f, "<title>{title}</title>\n<style>{STYLE}</style>\n<h1>{title}</h1>")?;
        writeln!(
            f,
            "<p>{}</p>\n<p class=\"pale\">{}</p>",
            Escaped(&self.summary),
            Escaped(&self.origin)
        )?;
        self.tables.iter().filter(|rows| !rows.rows.is_empty()).try_for_each(|rows| rows.fmt(f))?;
        if !self.figures.is_empty() {
            writeln!(f, "<h2>{}</h2>\n<div class=\"charts\">", Escaped(self.heading))?;
            self.figures.iter().try_for_each(|figure| figure.fmt(f))?;
            writeln!(f, "</div>")?;
        }
        writeln!(f, "</html>")
    }
}

impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "<h2>{}</h2>\n<div class=\"scroll\"><table>\n<tr>", Escaped(self.title))?;
        for (column, title) in self.header.iter().enumerate() {
            write!(f, "<th class=\"{}\">{}</th>", self.class(column, ""), Escaped(title))?;
        }
        writeln!(f, "</tr>")?;
        for row in &self.rows {
            write!(f, "<tr>")?;
            for (column, cell) in row.iter().enumerate() {
                write!(f, "<td class=\"{}\">{}</td>", self.class(column, cell), Escaped(cell))?;
            }
            writeln!(f, "</tr>")?;
        }
        writeln!(f, "</table></div>")
    }
}

impl Rows {
    /// As people read them in a terminal.
    pub(crate) fn table(&self) -> Table {
        let numbers: Vec<_> = self.numbers.clone().collect();
        let mut table = Table::new(&self.header).right(&numbers);
        self.rows.iter().for_each(|row| table.row(row));
        table
    }

    fn class(&self, column: usize, cell: &str) -> &'static str {
        match cell {
            _ if self.numbers.contains(&column) => "right",
            "yes" => "yes",
            _ if cell.split(", ").any(|part| part == "no") => "no",
            _ => "left",
        }
    }
}

/// Text that is no markup.
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            _ => write!(f, "{c}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_shows_text_as_it_is_and_loads_nothing() {
        let rows = vec![vec!["<a & \"b\">".to_owned(), "1".to_owned(), "yes, no".to_owned()]];
        let header = vec!["case", "p50", "holds"];
        let tables = vec![Rows { title: "t", header, numbers: 1..2, rows }];
        let (title, summary, origin) = ("1 < 2".to_owned(), String::new(), String::new());
        let figures: Vec<String> = Vec::new();
        let page = Page { title, summary, origin, tables, heading: "", figures }.to_string();
        assert!(page.contains("<title>1 &lt; 2</title>"), "{page}");
        assert!(page.contains("<td class=\"left\">&lt;a &amp; &quot;b&quot;&gt;</td>"), "{page}");
        assert!(page.contains("<td class=\"right\">1</td><td class=\"no\">yes, no</td>"), "{page}");
        for outside in ["http", "src=", "href=", "url(", "@import", "<script"] {
            assert!(!page.contains(outside), "{outside} in {page}");
        }
    }
}
