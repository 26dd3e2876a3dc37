//! Progress of long work, on a terminal only. Layer: bin.

use std::borrow::Cow;
use std::fmt::Write;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

/// Without a length, a bar would promise an end that nobody knows.
const BAR: &str = "{prefix} {wide_bar} {human_pos}/{human_len} {rate} {eta}";
const SPINNER: &str = "{prefix} {spinner} {human_pos} {rate} {elapsed}";

/// Shows how far `what` is on standard error, and nothing at all where that is no terminal. The
/// caller counts with `inc`, and ends with `finish_and_clear` before it prints.
pub(crate) fn progress(what: impl Into<Cow<'static, str>>, length: Option<u64>) -> ProgressBar {
    let (bar, template) = match length {
        Some(length) => (ProgressBar::new(length), BAR),
        None => (ProgressBar::new_spinner(), SPINNER),
    };
    // A template that does not parse is replaced by the default one; the test below parses both.
    let style = ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("rate", |state: &ProgressState, line: &mut dyn Write| {
            // Decimals would flicker. Writing to a terminal line does not fail.
            let _ = write!(line, "{:.0}/s", state.per_sec());
        });
    bar.with_style(style).with_prefix(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_parse() {
        for template in [BAR, SPINNER] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
