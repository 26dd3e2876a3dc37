//! The table on a terminal: instances, topics, what happened last. Layer: bin.

use std::collections::VecDeque;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ratatui::Frame;
use ratatui::crossterm::event::KeyCode;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Stylize;
use ratatui::text::{Line as TextLine, Span};
use ratatui::widgets::{Paragraph, Row, Table};
use vega::{Sniffer, SnifferEvent};

use super::filter::Filter;
use super::line::{
    INSTANCE_HEADER, SnapshotJson, TOPIC_HEADER, TOPIC_NAMES, instance_cells, text, topic_cells,
};
use crate::clock;
use crate::inbox::Outlet;
use crate::output::{cut, fit};
use crate::screen::{self, Show};
use crate::signals::StopFlag;

const KEYS: &str = "q quit  Tab instances or topics  ↑↓ scroll";
/// From this width on ids and times of instances are shown in full.
const WIDE: u16 = 113;
/// Characters of an id that tell instances apart, as `vega stat` shows them.
const SHORT_ID: u16 = 8;
/// Columns that a name has at least, where there is room for that.
const LEAST_NAME: usize = 12;
/// Events that are shown at the bottom.
const LAST_EVENTS: usize = 8;

/// Shows the table until the user has seen enough, time is up, or the terminal is gone.
///
/// # Errors
///
/// When the terminal cannot be used.
pub(super) fn show(
    sniffer: &Sniffer,
    filter: Filter,
    outlet: &Outlet<(Duration, SnifferEvent)>,
    (stop, duration): (&StopFlag, Option<Duration>),
) -> anyhow::Result<ExitCode> {
    let screen = Screen::new(sniffer, filter);
    // Without an end where it is too far away for the clock.
    let end = duration.and_then(|duration| clock::now().checked_add(duration));
    screen::show(&mut Live { screen, sniffer, outlet, end }, stop)
}

/// A screen, and what it shows.
struct Live<'a> {
    screen: Screen,
    sniffer: &'a Sniffer,
    outlet: &'a Outlet<(Duration, SnifferEvent)>,
    end: Option<Instant>,
}

impl Show for Live<'_> {
    fn update(&mut self) -> anyhow::Result<bool> {
        self.screen.look(self.sniffer, self.outlet);
        Ok(self.end.is_none_or(|end| clock::now() < end))
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        self.screen.draw(frame);
    }

    fn handle_key(&mut self, key: KeyCode) {
        self.screen.handle_key(key);
    }
}

struct Screen {
    place: String,
    filter: Filter,
    seen: SnapshotJson,
    /// The last of them.
    events: VecDeque<String>,
    shows_topics: bool,
    /// The first line of the table that is shown.
    first: usize,
}

impl Screen {
    fn new(sniffer: &Sniffer, filter: Filter) -> Self {
        let place = match sniffer.group() {
            Some(group) => format!("  {group}"),
            None => "  by discovery daemons".to_owned(),
        };
        Self {
            place,
            filter,
            seen: SnapshotJson::default(),
            events: VecDeque::with_capacity(LAST_EVENTS),
            shows_topics: false,
            first: 0,
        }
    }

    /// Takes what has happened, and what there is now.
    fn look(&mut self, sniffer: &Sniffer, outlet: &Outlet<(Duration, SnifferEvent)>) {
        for (at, event) in outlet.receiver.try_iter() {
            self.take(at, &event);
        }
        self.seen = self.filter.snapshot(&sniffer.snapshot());
    }

    fn take(&mut self, at: Duration, event: &SnifferEvent) {
        self.filter.learn(event);
        if self.filter.admits(event) {
            if self.events.len() == LAST_EVENTS {
                self.events.pop_front();
            }
            self.events.extend(text(at, event, &self.filter));
        }
        self.filter.forget(event);
    }

    fn handle_key(&mut self, key: KeyCode) {
        match key {
            KeyCode::Tab | KeyCode::BackTab => {
                self.shows_topics = !self.shows_topics;
                self.first = 0;
            }
            KeyCode::Down => self.scroll(1),
            KeyCode::Up => self.scroll(-1),
            KeyCode::PageDown => self.scroll(10),
            KeyCode::PageUp => self.scroll(-10),
            KeyCode::Home => self.first = 0,
            _ => {}
        }
    }

    fn scroll(&mut self, lines: isize) {
        let count =
            if self.shows_topics { self.seen.adverts.len() } else { self.seen.instances.len() };
        self.first = self.first.saturating_add_signed(lines).min(count.saturating_sub(1));
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let events = u16::try_from(LAST_EVENTS).unwrap_or_default();
        let areas = Layout::vertical([
            Constraint::Length(1),
            Constraint::Fill(1),
            Constraint::Length(1),
            Constraint::Length(events),
            Constraint::Length(1),
        ]);
        let [title, table, heading, log, keys] = areas.areas(frame.area());
        let summary = format!("  {}", self.seen.summary());
        let line = ["vega sniff".bold(), self.place.clone().into(), summary.into()];
        frame.render_widget(TextLine::from_iter(line), title);
        if self.shows_topics {
            let rows: Vec<_> = self.seen.adverts.iter().map(topic_cells).collect();
            let widths = topic_widths(&rows, table.width);
            self.draw_table(frame, table, (&TOPIC_HEADER, &widths), rows.into_iter());
        } else {
            // On a narrow terminal names and addresses are what people need.
            let is_wide = table.width >= WIDE;
            let id = Constraint::Length(if is_wide { 36 } else { SHORT_ID });
            let address = Constraint::Length(21);
            let widths = [Constraint::Min(16), id, address, address].into_iter();
            let times = if is_wide { &[Constraint::Length(7); 2][..] } else { &[] };
            let widths: Vec<_> = widths.chain(times.iter().copied()).collect();
            let rows = self.seen.instances.iter().map(|it| {
                let mut cells = instance_cells(it);
                if !is_wide {
                    cells[1].truncate(SHORT_ID.into());
                }
                cells
            });
            self.draw_table(frame, table, (&INSTANCE_HEADER, &widths), rows);
        }
        frame.render_widget("what happened last".dim(), heading);
        let lines: Vec<_> = self.events.iter().map(|event| TextLine::raw(event.as_str())).collect();
        frame.render_widget(Paragraph::new(lines), log);
        frame.render_widget(Paragraph::new(KEYS).dim(), keys);
    }

    fn draw_table<const N: usize>(
        &self,
        frame: &mut Frame<'_>,
        area: Rect,
        (header, widths): (&[&'static str; N], &[Constraint]),
        rows: impl Iterator<Item = [String; N]>,
    ) {
        let columns = Layout::horizontal(widths).spacing(1).split(area);
        let rows = rows.skip(self.first).take(area.height.into()).map(|cells| {
            Row::new(cells.into_iter().zip(&*columns).map(|(cell, column)| cut(cell, column.width)))
        });
        let header = Row::new(header.map(Stylize::bold));
        frame.render_widget(Table::new(rows, widths.iter().copied()).header(header), area);
    }
}

/// As wide as what is in them, the longest names cut; where that is not enough, names share what there is.
fn topic_widths(rows: &[[String; 5]], room: u16) -> Vec<Constraint> {
    let [side, transport] = [10, 9];
    let mut widths = [0, side, transport, 0, 0];
    for column in TOPIC_NAMES {
        let cells = rows.iter().map(|row| row[column].as_str()).chain([TOPIC_HEADER[column]]);
        widths[column] = cells.map(|cell| Span::raw(cell).width()).max().unwrap_or_default();
    }
    let room = usize::from(room).saturating_sub(widths.len() - 1);
    if fit(&mut widths, &TOPIC_NAMES.map(|column| (column, LEAST_NAME)), room) {
        let length = |width| Constraint::Length(u16::try_from(width).unwrap_or(u16::MAX));
        return widths.map(length).to_vec();
    }
    let fixed = [side, transport].map(|width| Constraint::Max(u16::try_from(width).unwrap_or(9)));
    vec![Constraint::Fill(2), fixed[0], fixed[1], Constraint::Fill(2), Constraint::Fill(1)]
}

#[cfg(test)]
mod tests;
