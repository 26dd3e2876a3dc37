//! How `vega top` looks: a summary, the pages, one table, the keys. Layer: bin. Draws what the model
//! says, on any backend.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style, Stylize};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Paragraph, Row, Table};

use super::figures::Cell;
use super::model::Model;
use super::pages::{Column, Page};
use crate::output::{count, cut, fit};

const KEYS: &str = "q quit  Tab page  ←→ sort by  r turn order  ↑↓ scroll  space stop";

/// Columns that a name has at least, also where others do not fit.
const LEAST_NAME: u16 = 12;

pub(super) fn draw(frame: &mut Frame<'_>, model: &Model) {
    let areas = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(1),
    ]);
    let [summary, pages, table, keys] = areas.areas(frame.area());
    frame.render_widget(summary_line(model), summary);
    frame.render_widget(pages_line(model.page()), pages);
    draw_table(frame, table, model);
    frame.render_widget(Paragraph::new(KEYS).dim(), keys);
}

fn summary_line(model: &Model) -> Line<'static> {
    let (instances, topics) = model.summary();
    let counts =
        format!("  {}, {}", count(instances as u64, "instance"), count(topics as u64, "topic"));
    let state = if model.is_paused() { "  STOPPED" } else { "" };
    Line::from(vec!["vega top".bold(), counts.into(), state.bold()])
}

fn pages_line(current: Page) -> Line<'static> {
    let titles = Page::ALL.iter().enumerate().flat_map(|(at, page)| {
        let title = format!("{} {}", at + 1, page.title());
        let style = if *page == current { Modifier::REVERSED } else { Modifier::DIM };
        [Span::styled(title, Style::new().add_modifier(style)), Span::raw("  ")]
    });
    Line::from_iter(titles)
}

fn draw_table(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let columns = model.page().columns();
    let (sorted_by, largest_first) = model.order();
    let lines = model.lines();
    let first = model.first_line(lines.len());
    let is_text = |at: usize| matches!(lines.first().map(|line| &line[at]), Some(Cell::Text(_)));
    let header = columns.iter().enumerate().map(|(at, (title, _))| {
        let text = aligned(is_text(at), (*title).to_owned()).bold();
        match (at == sorted_by, largest_first) {
            (true, true) => text.underlined().reversed(),
            (true, false) => text.underlined(),
            _ => text,
        }
    });
    let widths = widths(columns, &lines, area.width);
    let places = Layout::horizontal(&widths).spacing(1).split(area);
    let rows = lines.iter().skip(first).take(area.height.into()).map(|line| {
        let cells = line.iter().zip(&*places).enumerate();
        Row::new(
            cells.map(|(at, (cell, place))| aligned(is_text(at), cut(cell.shown(), place.width))),
        )
    });
    frame.render_widget(Table::new(rows, widths).header(Row::new(header)), area);
    if lines.is_empty() {
        let below = Rect { y: area.y + 1, height: area.height.saturating_sub(1).min(1), ..area };
        frame.render_widget(Paragraph::new("nothing here yet").dim(), below);
    }
}

/// Instances have the room for their names that the names of the first column leave.
fn widths(columns: &[Column], lines: &[Vec<Cell>], room: u16) -> Vec<Constraint> {
    let mut widths: Vec<_> = columns.iter().map(|(_, width)| usize::from(*width)).collect();
    let (mut firsts, mut instances) = (Vec::new(), Vec::new());
    for (at, (title, width)) in columns.iter().enumerate() {
        let (names, least) = match (width, *title) {
            (0, _) => (&mut firsts, usize::from(LEAST_NAME)),
            (width, "instance") => (&mut instances, usize::from(*width)),
            _ => continue,
        };
        names.push((at, least));
        let shown = lines.iter().map(|line| Span::raw(line[at].shown()).width());
        widths[at] = shown.chain([least]).max().unwrap_or_default();
    }
    let room = usize::from(room).saturating_sub(columns.len() - 1);
    if !fit(&mut widths, &instances, room) {
        instances.iter().for_each(|(at, least)| widths[*at] = *least);
        // Where even that is not enough, all columns give way.
        let _ = fit(&mut widths, &firsts, room);
    }
    let wanted = columns.iter().zip(widths).map(|((_, width), wanted)| match width {
        0 => Constraint::Min(LEAST_NAME),
        _ => Constraint::Length(u16::try_from(wanted).unwrap_or(*width)),
    });
    wanted.collect()
}

/// Numbers to the right, names to the left.
fn aligned(is_text: bool, text: String) -> Text<'static> {
    Text::from(text).alignment(if is_text { Alignment::Left } else { Alignment::Right })
}
