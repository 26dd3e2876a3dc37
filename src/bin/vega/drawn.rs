//! What screens show, line by line, and a place of its own for the system that they show. Tests.

use std::net::UdpSocket;

use ratatui::backend::TestBackend;
use ratatui::{Frame, Terminal};
use tempfile::TempDir;
use vega::Config;

/// Draws to a terminal of so many columns and lines.
pub(crate) fn drawn((width, height): (u16, u16), draw: impl FnOnce(&mut Frame<'_>)) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(draw).unwrap();
    let buffer = terminal.backend().buffer();
    let cells: Vec<_> = buffer.content.iter().map(|cell| cell.symbol()).collect();
    cells.chunks(width.into()).map(|line| line.concat().trim_end().to_owned()).collect()
}

/// Instances with this configuration find each other, and nobody else.
pub(crate) struct Place {
    pub(crate) config: Config,
    _port: UdpSocket,
    _folder: TempDir,
}

impl Place {
    #[expect(clippy::disallowed_methods, reason = "reserves a port, receives nothing")]
    pub(crate) fn new() -> Self {
        let port = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let config = Config::parse(&format!(
            "[discovery]\nport = {}\n[control]\nports = '20000-29999'\n[responses]\n\
             ports = '20000-29999'\n[ipc]\ndirectory = {:?}\n",
            port.local_addr().unwrap().port(),
            folder.path().join("rings"),
        ))
        .unwrap();
        Self { config, _port: port, _folder: folder }
    }
}
