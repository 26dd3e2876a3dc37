//! The terminal that `vega top` and `vega sniff` draw on, until it goes away. Layer: bin. The main
//! thread draws; a thread of its own reads keys, because a read of a terminal that is gone never
//! comes back.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;
use std::{mem, thread};

use anyhow::Context;
use crossbeam_channel::{Receiver, select};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::{DefaultTerminal, Frame};

use crate::signals::{HUNG_UP, StopFlag};

/// How soon the end of a terminal ends the program, and one that changed its size is drawn again.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_millis(100);
/// Keys that wait for the screen; more stay with the terminal.
const MAX_KEYS: usize = 64;

/// What a program shows, and what it does with keys.
pub(crate) trait Show {
    /// Takes in what has happened, before it is drawn. False when there is no more to see.
    ///
    /// # Errors
    ///
    /// When it cannot be found out.
    fn update(&mut self) -> anyhow::Result<bool>;

    fn draw(&self, frame: &mut Frame<'_>);

    /// One that does not end the program.
    fn handle_key(&mut self, key: KeyCode);
}

/// Shows until the user has seen enough, or the terminal is gone.
///
/// # Errors
///
/// When the terminal cannot be used.
pub(crate) fn show(shown: &mut impl Show, stop: &StopFlag) -> anyhow::Result<ExitCode> {
    let mut terminal = ratatui::try_init().context("the terminal cannot be used")?;
    let result = keys().and_then(|keys| run(&mut terminal, shown, (&keys, stop)));
    let is_restored = ratatui::try_restore().is_ok();
    if is_gone() || stop.is_hang_up() {
        // It would show the cursor again, and complain on a standard error that is gone, too.
        mem::forget(terminal);
        return Ok(ExitCode::from(HUNG_UP));
    }
    if !is_restored {
        let _ = writeln!(io::stderr(), "vega: the terminal may need a reset");
    }
    result?;
    Ok(ExitCode::SUCCESS)
}

type Keys = Receiver<io::Result<KeyEvent>>;

/// What is typed.
fn keys() -> anyhow::Result<Keys> {
    let (sender, keys) = crossbeam_channel::bounded(MAX_KEYS);
    let read = move || {
        loop {
            let key = match event::read() {
                Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => Ok(key),
                Ok(_) => continue,
                Err(error) => Err(error),
            };
            let is_last = key.is_err();
            if sender.send(key).is_err() || is_last {
                break;
            }
        }
    };
    let thread = thread::Builder::new().name("vega-keys".to_owned());
    thread.spawn(read).context("cannot start a thread that reads keys")?;
    Ok(keys)
}

fn run(
    terminal: &mut DefaultTerminal,
    shown: &mut impl Show,
    (keys, stop): (&Keys, &StopFlag),
) -> anyhow::Result<()> {
    while !stop.is_raised() && !is_gone() && shown.update()? {
        terminal.draw(|frame| shown.draw(frame))?;
        select! {
            recv(keys) -> key => {
                let key = key.context("keys are no longer read")??;
                if ends(key) {
                    break;
                }
                shown.handle_key(key.code);
            }
            recv(stop.raised()) -> _ => break,
            default(LONGEST_WAIT) => {}
        }
    }
    Ok(())
}

/// Whether the user wants to end.
fn ends(key: KeyEvent) -> bool {
    match key.code {
        KeyCode::Char('c') => key.modifiers.contains(KeyModifiers::CONTROL),
        KeyCode::Char('q') | KeyCode::Esc => true,
        _ => false,
    }
}

/// Whether the other side of the terminal is closed.
fn is_gone() -> bool {
    let stdin = io::stdin();
    let mut looked_at = [PollFd::new(stdin.as_fd(), PollFlags::empty())];
    let gone = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
    poll(&mut looked_at, PollTimeout::ZERO).is_ok()
        && looked_at[0].revents().is_some_and(|seen| seen.intersects(gone))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_keys_end_a_screen() {
        let press = |code| ends(KeyEvent::new(code, KeyModifiers::NONE));
        assert!(press(KeyCode::Char('q')) && press(KeyCode::Esc));
        assert!(ends(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
        assert!(!press(KeyCode::Char('c')) && !press(KeyCode::Tab));
    }
}
