//! What a screen shows, line by line. Tests.

use ratatui::backend::TestBackend;
use ratatui::{Frame, Terminal};

/// Draws to a terminal of so many columns and lines.
pub(crate) fn drawn((width, height): (u16, u16), draw: impl FnOnce(&mut Frame<'_>)) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(draw).unwrap();
    let buffer = terminal.backend().buffer();
    let cells: Vec<_> = buffer.content.iter().map(|cell| cell.symbol()).collect();
    cells.chunks(width.into()).map(|line| line.concat().trim_end().to_owned()).collect()
}
