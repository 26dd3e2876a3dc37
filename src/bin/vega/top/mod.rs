//! `vega top`: the instances of this host as they are now, on a terminal. Layer: bin. Reads their
//! counter files and starts no instance.

mod draw;
mod figures;
mod model;
mod pages;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use vega::{Config, HostCounters};

use self::model::Model;
use self::pages::Page;
use crate::args::Common;
use crate::clock;
use crate::signals::{self, StopFlag};

const EXAMPLES: &str = "\
Examples:
  vega top
  vega top --interval 250ms -c vega.toml

Keys: q quits; Tab or 1 to 5 turns the page; left and right choose the column to sort by, r turns
the order; up and down scroll; the space bar stops the time. Shows instances as `vega stat` does.";

/// How soon a signal ends the program, and a terminal that changed its size is drawn again.
const LONGEST_WAIT: Duration = Duration::from_millis(100);

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
    let mut model = Model::new(HostCounters::read(&config)?, clock::now());
    let mut terminal = ratatui::try_init().context("the terminal cannot be used")?;
    let result = watch(&mut terminal, &mut model, &config, (args.interval, &stop));
    ratatui::restore();
    result?;
    Ok(ExitCode::SUCCESS)
}

fn watch(
    terminal: &mut DefaultTerminal,
    model: &mut Model,
    config: &Config,
    (interval, stop): (Duration, &StopFlag),
) -> anyhow::Result<()> {
    let mut due: Instant = clock::now() + interval;
    while !stop.is_raised() {
        terminal.draw(|frame| draw::draw(frame, model))?;
        let left = due.saturating_duration_since(clock::now());
        if event::poll(left.min(LONGEST_WAIT))?
            && let Event::Key(key) = event::read()?
            && key.kind != KeyEventKind::Release
            && !handle_key(model, key)
        {
            return Ok(());
        }
        let now = clock::now();
        if due <= now {
            due = now + interval;
            if !model.is_paused() {
                model.update(HostCounters::read(config)?, now);
            }
        }
    }
    Ok(())
}

/// False when the user wants to end.
fn handle_key(model: &mut Model, key: KeyEvent) -> bool {
    match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return false,
        KeyCode::Char('q') | KeyCode::Esc => return false,
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
    true
}

#[cfg(test)]
mod tests;
