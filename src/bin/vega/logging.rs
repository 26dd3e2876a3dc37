//! Log lines of the library and of the tool, on standard error. Layer: bin.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Which log lines are shown, as in `VEGA_LOG=debug` or `VEGA_LOG=vega::engine=trace`.
const FILTER_VARIABLE: &str = "VEGA_LOG";

/// Shows warnings and errors, or what the environment asks for. To be called once.
pub(crate) fn start() {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::WARN.into())
        .with_env_var(FILTER_VARIABLE)
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_env_filter(filter)
        .init();
}
