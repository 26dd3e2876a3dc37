//! What came back on many requests. Tests. Counted by a child process, read by the test.

use std::fmt;
use std::str::FromStr;

/// Answers in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Requests with an answer of each instance that was waited for.
    pub(crate) answered: u64,
    /// Answers of an instance that had answered that request before.
    pub(crate) repeated: u64,
    /// Answers that are not what was sent.
    pub(crate) damaged: u64,
}

impl Tally {
    /// All requests answered, and nothing wrong.
    pub(crate) fn complete(answered: u64) -> Self {
        Self { answered, ..Self::default() }
    }
}

/// The three numbers, separated by blanks: this is how they travel between processes.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { answered, repeated, damaged } = self;
        write!(f, "{answered} {repeated} {damaged}")
    }
}

impl FromStr for Tally {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Result<Vec<u64>, _> = text.split_whitespace().map(str::parse).collect();
        match numbers.as_deref() {
            Ok(&[answered, repeated, damaged]) => Ok(Self { answered, repeated, damaged }),
            _ => Err(format!("not a tally: {text:?}")),
        }
    }
}
