//! `vega top`: the instances of this host as they are now, on a terminal. Layer: bin. Reads their
//! counter files and starts no instance.

mod draw;
mod figures;
mod model;
mod pages;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::ensure;
use ratatui::Frame;
use ratatui::crossterm::event::KeyCode;
use vega::{Config, HostCounters};

use self::model::Model;
use self::pages::Page;
use crate::args::Common;
use crate::screen::{self, LONGEST_WAIT, Show};
use crate::{clock, signals};

const EXAMPLES: &str = "\
Examples:
  vega top
  vega top --interval 250ms -c vega.toml

Keys: q quits; Tab or 1 to 5 turns the page; left and right choose the column to sort by, r turns
the order; up and down scroll; the space bar stops the time. Shows instances as `vega stat` does.";

/// The arguments of `vega top`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Time between two looks, over which rates are measured
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,
}

fn interval(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time >= LONGEST_WAIT => Ok(time),
        _ => Err(format!("an interval is at least {LONGEST_WAIT:?}, such as 1s")),
    }
}

/// Runs `vega top`.
///
/// # Errors
///
/// When the configuration has problems, the directory of the files cannot be used, or there is no
/// terminal.
pub(crate) fn run(common: &Common, args: &Args) -> anyhow::Result<ExitCode> {
    ensure!(
        !common.json,
        "vega top is a screen, and has no JSON; vega stat --json has the same counters"
    );
    ensure!(
        io::stdout().is_terminal() && io::stdin().is_terminal(),
        "vega top needs a terminal; vega stat prints the same for files and programs"
    );
    let config = common.load()?;
    let stop = signals::stop_flag()?;
    let now = clock::now();
    let model = Model::new(HostCounters::read(&config)?, now);
    let interval = args.interval;
    screen::show(&mut Top { model, config, interval, due: now + interval }, &stop)
}

struct Top {
    model: Model,
    config: Config,
    interval: Duration,
    /// The next look at the counters.
    due: Instant,
}

impl Show for Top {
    fn update(&mut self) -> anyhow::Result<bool> {
        let now = clock::now();
        if self.due <= now {
            self.due = now + self.interval;
            if !self.model.is_paused() {
                self.model.update(HostCounters::read(&self.config)?, now);
            }
        }
        Ok(true)
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        draw::draw(frame, &self.model);
    }

    fn handle_key(&mut self, key: KeyCode) {
        handle_key(&mut self.model, key);
    }
}

fn handle_key(model: &mut Model, key: KeyCode) {
    match key {
        KeyCode::Char(' ') => model.pause(),
        KeyCode::Char('r') => model.turn_order(),
        KeyCode::Char(digit) => {
            let page = digit.to_digit(10).and_then(|digit| digit.checked_sub(1));
            if let Some(page) = page.and_then(|at| Page::ALL.get(at as usize)) {
                model.turn_to(*page);
            }
        }
        KeyCode::Tab => model.turn_page(1),
        KeyCode::BackTab => model.turn_page(Page::ALL.len() - 1),
        KeyCode::Right => model.choose_column(1),
        KeyCode::Left => model.choose_column(model.page().columns().len() - 1),
        KeyCode::Down => model.scroll(1),
        KeyCode::Up => model.scroll(-1),
        KeyCode::PageDown => model.scroll(10),
        KeyCode::PageUp => model.scroll(-10),
        KeyCode::Home => model.scroll(isize::MIN),
        KeyCode::End => model.scroll(isize::MAX),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
