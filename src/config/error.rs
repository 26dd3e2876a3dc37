//! What is wrong with a configuration: every problem of a file at once, each with its place.
//! Layer: config. Plain data; no thread owns it.

use std::fmt;

use thiserror::Error;

use super::family::Family;
use super::settings::Transport;

/// Everything that is wrong with one configuration, in the order of its lines.
///
/// Displays one problem per line:
/// `file:line: key = value: what is wrong (allowed: what would be right)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    origin: String,
    problems: Vec<Problem>,
}

impl ConfigError {
    /// `problems` must not be empty.
    pub(super) fn new(origin: &str, mut problems: Vec<Problem>) -> Self {
        debug_assert!(!problems.is_empty());
        problems.sort_by_key(|problem| problem.line);
        Self { origin: origin.to_owned(), problems }
    }

    /// The file that was read, or `<text>` for [`Config::parse`](super::Config::parse).
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The problems in the order of their lines; at least one.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            // `file:7: ...` is what editors and terminals turn into a link.
            let separator = if problem.line.is_some() { "" } else { " " };
            write!(f, "{}:{separator}{problem}", self.origin)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub(super) line: Option<usize>,
    pub(super) key: String,
    pub(super) value: String,
    pub(super) fault: Fault,
    pub(super) allowed: String,
}

impl Problem {
    /// A problem of no key: of a line, or of the whole file.
    pub(super) fn of(line: Option<usize>, fault: Fault) -> Self {
        Self { line, key: String::new(), value: String::new(), fault, allowed: String::new() }
    }

    /// The line, counted from 1; `None` when the file as a whole is the problem.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        self.line
    }

    /// The key with its table, such as `discovery.ttl`; empty when no key is concerned.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The value as the file writes it, shortened; empty when there is none.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// What is wrong.
    #[must_use]
    pub fn message(&self) -> String {
        self.fault.to_string()
    }

    /// What would be right, with range and unit; empty when the message says it all.
    #[must_use]
    pub fn allowed(&self) -> &str {
        &self.allowed
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "{line}: ")?;
        }
        match (self.key.is_empty(), self.value.is_empty()) {
            (true, _) => {}
            (false, true) => write!(f, "{}: ", self.key)?,
            (false, false) => write!(f, "{} = {}: ", self.key, self.value)?,
        }
        write!(f, "{}", self.fault)?;
        if !self.allowed.is_empty() {
            write!(f, " (allowed: {})", self.allowed)?;
        }
        Ok(())
    }
}

/// The kinds of problems. Messages do not repeat key, value and allowed range: [`Problem`] has
/// them.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum Fault {
    #[error("cannot be read: {0}")]
    Unreadable(String),
    #[error("is a directory, not a file")]
    Directory,
    #[error("is larger than {limit} bytes")]
    FileTooLarge { limit: u64 },
    #[error("is not UTF-8 text")]
    NotUtf8,
    #[error("is not TOML: {0}")]
    Syntax(String),
    #[error("unknown key{}", did_you_mean(suggestion.as_deref()))]
    UnknownKey { suggestion: Option<String> },
    #[error("is required")]
    Missing,
    #[error("is {found}")]
    WrongType { found: &'static str },
    #[error("is one table: write [{0}]")]
    NotATable(&'static str),
    #[error("is a list of tables: write [[{0}]]")]
    NotAList(&'static str),
    #[error("is an empty list")]
    EmptyList,
    #[error("has {found} entries")]
    TooMany { found: usize },
    #[error("is out of range")]
    OutOfRange,
    #[error("has a minimum above its maximum")]
    Reversed,
    #[error("is not a multiple of {0}")]
    NotAMultiple(usize),
    #[error("is not {} {_0}", article(_0))]
    NotA(&'static str),
    #[error("is not one of the choices")]
    UnknownChoice,
    #[error("is {}, and interface = \"{interface}\" is {}", family.as_str(), interface_family.as_str())]
    FamilyDiffers { family: Family, interface: String, interface_family: Family },
    #[error(
        "advertise = \"{advertise}\" is {}, and interface = \"{interface}\" is {}",
        family.as_str(),
        interface_family.as_str()
    )]
    AdvertiseDiffers {
        advertise: String,
        family: Family,
        interface: String,
        interface_family: Family,
    },
    #[error("has ends of different families")]
    FamiliesDiffer,
    #[error("has ends that differ in more than their last 32 bits")]
    TooWide,
    #[error(
        "is {}, and the [control] socket, from which {what} is reached, is {}",
        family.as_str(),
        control.as_str()
    )]
    ControlDiffers { what: &'static str, family: Family, control: Family },
    #[error("is not an address of one interface")]
    NotAnInterfaceAddress,
    #[error("is not an address of one host")]
    NotAHostAddress,
    #[error("maps {mapped} to another number of ports than {ports} has")]
    PortsDiffer { ports: String, mapped: String },
    #[error("needs daemons")]
    DaemonsNeeded,
    #[error("kind = \"multicast\" uses no daemons")]
    DaemonsUnused,
    #[error("is not a multicast address that applications may use")]
    NotMulticast,
    #[error("is not a name")]
    BadName,
    #[error("is used on line {first_line} already")]
    Duplicate { first_line: usize },
    #[error("names a {table} that does not exist")]
    UnknownReference { table: &'static str },
    #[error("the built-in topic patterns name templates that this file replaces: add [[topic]]")]
    TopicsNeeded,
    #[error("is empty, and no topic has an empty name")]
    EmptyPattern,
    #[error("is not a regular expression: {0}")]
    Regex(String),
    #[error("does not apply to transport {0}")]
    Inapplicable(Transport),
    #[error("applies to idle = \"sleep\" only")]
    InapplicableToIdle,
    #[error("the timeout {timeout} is less than two refresh intervals of {refresh}")]
    TimeoutTooShort { timeout: String, refresh: String },
    #[error("a window of {window_bytes} bytes is less than {minimum} packets of {packet_bytes}")]
    WindowTooSmall { window_bytes: usize, packet_bytes: usize, minimum: usize },
    #[error("template {template:?} may choose the address and port of discovery, {discovery}")]
    DiscoveryOverlap { template: String, discovery: String },
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |key| format!(", did you mean {key:?}?"))
}

/// The indefinite article of a noun.
fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(line: Option<usize>, key: &str, value: &str, allowed: &str) -> Problem {
        Problem {
            line,
            key: key.to_owned(),
            value: value.to_owned(),
            fault: Fault::OutOfRange,
            allowed: allowed.to_owned(),
        }
    }

    #[test]
    fn one_line_per_problem_in_the_order_of_the_file() {
        let error = ConfigError::new(
            "vega.toml",
            vec![
                problem(Some(9), "template.ttl", "300", "0 to 255"),
                problem(Some(2), "poller.name", "", ""),
                problem(None, "", "", ""),
            ],
        );
        assert_eq!(
            error.to_string(),
            "vega.toml: is out of range\n\
             vega.toml:2: poller.name: is out of range\n\
             vega.toml:9: template.ttl = 300: is out of range (allowed: 0 to 255)"
        );
        assert_eq!(error.problems().len(), 3);
        assert_eq!(error.problems()[2].message(), "is out of range");
    }

    #[test]
    fn unknown_keys_suggest_when_there_is_something_close() {
        let plain = Fault::UnknownKey { suggestion: None };
        assert_eq!(plain.to_string(), "unknown key");
        let close = Fault::UnknownKey { suggestion: Some("ports".to_owned()) };
        assert_eq!(close.to_string(), "unknown key, did you mean \"ports\"?");
    }
}
