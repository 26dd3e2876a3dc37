//! The table on a terminal: instances, topics, what happened last. Layer: bin.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::Context;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Stylize;
use ratatui::text::Line as TextLine;
use ratatui::widgets::{Paragraph, Row, Table};
use ratatui::{DefaultTerminal, Frame};
use vega::{Sniffer, SnifferEvent};

use super::filter::Filter;
use super::line::{INSTANCE_HEADER, SnapshotJson, TOPIC_HEADER, instance_cells, text, topic_cells};
use crate::clock;
use crate::inbox::Outlet;
use crate::output::cut;
use crate::signals::StopFlag;

const KEYS: &str = "q quit  Tab instances or topics  ↑↓ scroll";
/// Between two looks, unless a key is pressed.
const LOOK: Duration = Duration::from_millis(200);
/// From this width on ids and times of instances are shown in full.
const WIDE: u16 = 113;
/// Characters of an id that tell instances apart, as `vega stat` shows them.
const SHORT_ID: u16 = 8;
/// Events that are shown at the bottom.
const LAST_EVENTS: usize = 8;

/// Shows the table until the user has seen enough, or time is up.
///
/// # Errors
///
/// When the terminal cannot be used.
pub(super) fn show(
    sniffer: &Sniffer,
    filter: Filter,
    outlet: &Outlet<(Duration, SnifferEvent)>,
    (stop, duration): (&StopFlag, Option<Duration>),
) -> anyhow::Result<()> {
    let mut terminal = ratatui::try_init().context("the terminal cannot be used")?;
    let mut screen = Screen::new(sniffer, filter);
    let result = screen.run(&mut terminal, sniffer, outlet, (stop, duration));
    ratatui::restore();
    result
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

    fn run(
        &mut self,
        terminal: &mut DefaultTerminal,
        sniffer: &Sniffer,
        outlet: &Outlet<(Duration, SnifferEvent)>,
        (stop, duration): (&StopFlag, Option<Duration>),
    ) -> anyhow::Result<()> {
        let start = clock::now();
        let is_over = || duration.is_some_and(|all| clock::now().duration_since(start) >= all);
        while !stop.is_raised() && !is_over() {
            self.look(sniffer, outlet);
            terminal.draw(|frame| self.draw(frame))?;
            if event::poll(LOOK)?
                && let Event::Key(key) = event::read()?
                && key.kind != KeyEventKind::Release
                && !self.handle_key(key)
            {
                break;
            }
        }
        Ok(())
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

    /// False when the user wants to end.
    fn handle_key(&mut self, key: KeyEvent) -> bool {
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return false,
            KeyCode::Char('q') | KeyCode::Esc => return false,
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
        true
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
            let widths = [Constraint::Fill(2), Constraint::Length(10), Constraint::Length(9)];
            let widths = [&widths[..], &[Constraint::Fill(2), Constraint::Fill(1)]].concat();
            let rows = self.seen.adverts.iter().map(topic_cells);
            self.draw_table(frame, table, (&TOPIC_HEADER, &widths), rows);
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

#[cfg(test)]
mod tests;
