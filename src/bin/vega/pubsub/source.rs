//! Where `vega pub` takes its messages from: arguments, lines of standard input, or a generator.
//! Layer: bin.

use std::io::{self, BufRead, Read};
use std::thread;

use anyhow::Context;
use crossbeam_channel::{Receiver, Sender, select};

use crate::signals::StopFlag;

/// Lines read ahead.
const LINES_AHEAD: usize = 1024;
/// Digits of the message number at the start of a generated payload.
const NUMBER_DIGITS: usize = 12;

/// Messages, one after the other.
#[derive(Debug)]
pub(crate) enum Source {
    /// The same messages again and again.
    Given { messages: Vec<String>, next: usize },
    /// Payloads of one size, numbered.
    Generated { payload: Vec<u8>, number: u64 },
    /// What a thread reads from standard input, so that a signal is seen while it waits.
    Lines { lines: Receiver<io::Result<Vec<u8>>>, line: Vec<u8> },
}

impl Source {
    /// `messages` must not be empty.
    pub(crate) const fn given(messages: Vec<String>) -> Self {
        Self::Given { messages, next: 0 }
    }

    pub(crate) fn generated(bytes: usize) -> Self {
        let payload = (b'a'..=b'z').cycle().take(bytes).collect();
        Self::Generated { payload, number: 0 }
    }

    /// # Errors
    ///
    /// When the operating system gives no thread.
    pub(crate) fn standard_input(limit_bytes: usize) -> anyhow::Result<Self> {
        let (sender, lines) = crossbeam_channel::bounded(LINES_AHEAD);
        // Never joined: it may wait for input for ever.
        thread::Builder::new()
            .name("vega-stdin".to_owned())
            .spawn(move || read_lines(io::stdin().lock(), limit_bytes, &sender))
            .context("no thread for standard input")?;
        Ok(Self::Lines { lines, line: Vec::new() })
    }

    /// The next message. `None` at the end of the input, or when the user wants to end.
    ///
    /// # Errors
    ///
    /// When standard input cannot be read, or a line is longer than a message may be.
    pub(crate) fn next(&mut self, stop: &StopFlag) -> anyhow::Result<Option<&[u8]>> {
        if stop.is_raised() {
            return Ok(None);
        }
        match self {
            Self::Given { messages, next } => {
                let message = &messages[*next % messages.len()];
                *next += 1;
                Ok(Some(message.as_bytes()))
            }
            Self::Generated { payload, number } => {
                *number += 1;
                let digits = format!("{number:0NUMBER_DIGITS$}");
                let shown = payload.len().min(digits.len());
                payload[..shown].copy_from_slice(&digits.as_bytes()[..shown]);
                Ok(Some(payload))
            }
            Self::Lines { lines, line } => {
                let received = select! {
                    recv(lines) -> received => received,
                    recv(stop.raised()) -> _ => return Ok(None),
                };
                // Disconnected: the input has ended.
                let Ok(read) = received else { return Ok(None) };
                *line = read.context("standard input")?;
                Ok(Some(line))
            }
        }
    }
}

/// Sends every line without its line feed; ends with the input, with an error, or when nobody
/// listens any more.
fn read_lines(mut input: impl BufRead, limit_bytes: usize, lines: &Sender<io::Result<Vec<u8>>>) {
    loop {
        match read_line(&mut input, limit_bytes) {
            Ok(None) => return,
            Ok(Some(line)) => {
                if lines.send(Ok(line)).is_err() {
                    return;
                }
            }
            Err(error) => {
                // Nobody listens: nobody is to be told.
                let _ = lines.send(Err(error));
                return;
            }
        }
    }
}

fn read_line(input: &mut impl BufRead, limit_bytes: usize) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    // Room for the line feed.
    let allowed = limit_bytes.saturating_add(1);
    if input.take(allowed as u64).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() == allowed {
        let reason = format!("a line is longer than a message may be ({limit_bytes} bytes)");
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8], limit_bytes: usize) -> Vec<Option<Vec<u8>>> {
        let (sender, lines) = crossbeam_channel::unbounded();
        read_lines(input, limit_bytes, &sender);
        drop(sender);
        lines.iter().map(Result::ok).collect()
    }

    #[test]
    fn lines_are_bytes_without_their_line_feed() {
        let some = |bytes: &[u8]| Some(bytes.to_vec());
        assert_eq!(lines(b"", 3), []);
        assert_eq!(
            lines(b"abc\n\n\xff\r\nd", 3),
            [some(b"abc"), some(b""), some(b"\xff\r"), some(b"d")]
        );
    }

    #[test]
    fn a_line_above_the_limit_is_an_error_and_the_last() {
        assert_eq!(lines(b"abc\nabcd\nabc\n", 3), [Some(b"abc".to_vec()), None]);
        assert_eq!(lines(b"abcd", 3), [None]);
    }
}
