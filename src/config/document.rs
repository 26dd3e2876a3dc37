//! A TOML document as tables whose values are read one by one, each fault noted with its place.
//! Layer: config. Used while a file is read; nothing of it stays.
//!
//! Reading never stops at a fault: a bad value is noted and its default used, so that one pass
//! finds everything. What would only follow from another fault is not noted: on a line that is no
//! TOML the rest is not judged, and where a line is lost nothing is said to be missing.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue, Error as SyntaxError};

use super::error::{ConfigError, Fault, Problem};
use super::interface::InterfaceSpec;
use super::quantity::{Probability, format_duration, parse_duration};
use super::suggest::closest;
use super::value::{number, probability, size, size_range, text, within, wrong_type};

/// The characters of a key or value that a problem shows.
const SHOWN_CHARS: usize = 60;
/// Names that a problem lists as allowed.
const SHOWN_NAMES: usize = 16;

/// The problems found so far, and the text to find their lines in.
#[derive(Debug)]
pub(super) struct Report<'t> {
    text: &'t str,
    /// Offset of the first byte of each line.
    line_starts: Vec<usize>,
    /// Lines that are no TOML, ascending.
    broken_lines: Vec<usize>,
    problems: RefCell<Vec<Problem>>,
}

impl<'t> Report<'t> {
    pub(super) fn new(text: &'t str, errors: &[SyntaxError]) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let mut report = Self {
            text,
            line_starts: std::iter::once(0).chain(newlines.map(|(at, _)| at + 1)).collect(),
            broken_lines: Vec::new(),
            problems: RefCell::default(),
        };
        for error in errors {
            let line = report.line(error.span().map_or(text.len(), |span| span.start));
            let fault = Fault::Syntax(error.message().to_owned());
            report.problems.get_mut().push(Problem::of(Some(line), fault));
            report.broken_lines.push(line);
        }
        report.broken_lines.sort_unstable();
        report
    }

    /// # Errors
    ///
    /// The problems, when there are any.
    pub(super) fn finish(self, origin: &str) -> Result<(), ConfigError> {
        match self.problems.into_inner() {
            problems if problems.is_empty() => Ok(()),
            problems => Err(ConfigError::new(origin, problems)),
        }
    }

    fn push(&self, problem: Problem) {
        let broken = |line| self.broken_lines.binary_search(&line).is_ok();
        if !problem.line.is_some_and(broken) {
            self.problems.borrow_mut().push(problem);
        }
    }

    /// The line of a byte, counted from 1.
    fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    /// The text of a value on one line, shortened, without control characters.
    fn excerpt(&self, span: Range<usize>) -> String {
        let text = self.text.get(span).unwrap_or_default();
        let line = text.lines().next().unwrap_or_default();
        let shown = line.chars().take(SHOWN_CHARS);
        let mut excerpt: String = shown.map(|c| if c.is_control() { ' ' } else { c }).collect();
        if excerpt.len() < text.len() {
            excerpt.push_str("...");
        }
        excerpt
    }
}

/// What a list of tables was found to be.
#[derive(Debug)]
pub(super) enum List<'d> {
    /// Not in the file.
    Absent,
    /// In the file, but not a list of tables: the fault is noted.
    Unusable,
    /// At least one table.
    Tables(Vec<Section<'d>>),
}

/// One table of the document, or the empty table where the document has none.
#[derive(Debug)]
pub(super) struct Section<'d> {
    report: &'d Report<'d>,
    /// Prefix of the keys in problems; empty for the top level.
    name: &'static str,
    keys: &'static [&'static str],
    /// The table and the offset of its first byte.
    table: Option<(&'d DeTable<'d>, usize)>,
    faulty: Cell<bool>,
}

impl<'d> Section<'d> {
    /// The top level of a document. Unknown keys are noted, here as in every other section.
    pub(super) fn root(
        report: &'d Report<'d>,
        table: &'d DeTable<'d>,
        keys: &'static [&'static str],
    ) -> Self {
        Self::open(report, "", keys, Some((table, 0)))
    }

    fn open(
        report: &'d Report<'d>,
        name: &'static str,
        keys: &'static [&'static str],
        table: Option<(&'d DeTable<'d>, usize)>,
    ) -> Self {
        let section = Self { report, name, keys, table, faulty: Cell::new(false) };
        for (key, value) in table.into_iter().flat_map(|(table, _)| table.iter()) {
            let name: &str = key.get_ref();
            if !keys.contains(&name) {
                let fault = Fault::UnknownKey { suggestion: closest(name, keys) };
                section.note(name, key.span().start, Some(value), fault, keys.join(", "));
            }
        }
        section
    }

    /// The table `[key]` of this section.
    pub(super) fn table(&self, key: &'static str, keys: &'static [&'static str]) -> Self {
        let table = self.get(key).and_then(|value| match value.get_ref() {
            DeValue::Table(table) => Some((table, value.span().start)),
            other => {
                let is_list = other.as_array().is_some_and(|list| list.iter().all(is_table));
                let found = if is_list { Fault::NotATable(key) } else { wrong_type(other) };
                self.fault(key, found, format!("a table [{key}]"));
                None
            }
        });
        Self::open(self.report, key, keys, table)
    }

    /// The tables `[[key]]` of this section, at most `max` of them.
    pub(super) fn list(
        &self,
        key: &'static str,
        keys: &'static [&'static str],
        max: usize,
    ) -> List<'d> {
        let Some(value) = self.get(key) else { return List::Absent };
        let allowed = format!("1 to {max} tables [[{key}]]");
        let DeValue::Array(items) = value.get_ref() else {
            let is_table = value.get_ref().is_table();
            let fault = if is_table { Fault::NotAList(key) } else { wrong_type(value.get_ref()) };
            self.fault(key, fault, allowed);
            return List::Unusable;
        };
        if !(1..=max).contains(&items.len()) {
            let found = items.len();
            let fault = if found == 0 { Fault::EmptyList } else { Fault::TooMany { found } };
            self.fault(key, fault, allowed);
            return List::Unusable;
        }
        let mut sections = Vec::with_capacity(items.len());
        for item in items.iter() {
            match item.get_ref() {
                DeValue::Table(table) => {
                    let table = Some((table, item.span().start));
                    sections.push(Self::open(self.report, key, keys, table));
                }
                other => {
                    self.note(key, item.span().start, Some(item), wrong_type(other), &allowed);
                    return List::Unusable;
                }
            }
        }
        List::Tables(sections)
    }

    /// Whether the document is TOML throughout, so that what it lacks is really missing.
    pub(super) fn is_whole(&self) -> bool {
        self.report.broken_lines.is_empty()
    }

    pub(super) fn has(&self, key: &'static str) -> bool {
        self.get(key).is_some()
    }

    /// Whether any fault of this section was noted: then what its values are together says little.
    pub(super) fn is_faulty(&self) -> bool {
        self.faulty.get()
    }

    /// Notes a fault of `key`, at its value, or at the head of the table that lacks it.
    pub(super) fn fault(&self, key: &'static str, fault: Fault, allowed: impl Into<String>) {
        let value = self.get(key);
        let start = match (value, self.table) {
            (Some(value), _) => value.span().start,
            (None, Some((_, start))) => start,
            (None, None) => 0,
        };
        self.note(key, start, value, fault, allowed);
    }

    /// The line of `key`'s value.
    pub(super) fn line(&self, key: &'static str) -> Option<usize> {
        self.get(key).map(|value| self.report.line(value.span().start))
    }

    /// The value of `key` as `read` understands it; `default` when there is none or it is faulty.
    pub(super) fn read<T>(
        &self,
        key: &'static str,
        default: T,
        allowed: impl Into<String>,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, Fault>,
    ) -> T {
        match self.get(key).map(|value| read(value.get_ref())) {
            None => default,
            Some(Ok(value)) => value,
            Some(Err(fault)) => {
                self.fault(key, fault, allowed);
                default
            }
        }
    }

    /// As [`Section::read`] for a key that has no default: `None` when absent, which is noted, or
    /// faulty.
    pub(super) fn require<T>(
        &self,
        key: &'static str,
        allowed: impl Into<String>,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, Fault>,
    ) -> Option<T> {
        let allowed = allowed.into();
        if !self.has(key) && self.is_whole() {
            self.fault(key, Fault::Missing, allowed);
            return None;
        }
        self.read(key, None, allowed, |value| read(value).map(Some))
    }

    pub(super) fn integer<T>(&self, key: &'static str, default: T, range: &RangeInclusive<T>) -> T
    where
        T: TryFrom<i128> + PartialOrd + Display,
    {
        let allowed = format!("{} to {}", range.start(), range.end());
        self.read(key, default, allowed, |value| within(T::try_from(number(value)?), range))
    }

    /// A number of bytes, or text with a unit.
    pub(super) fn size(
        &self,
        key: &'static str,
        default: usize,
        range: &RangeInclusive<usize>,
    ) -> usize {
        let allowed = size_range(range);
        self.read(key, default, allowed, |value| size(value, range))
    }

    pub(super) fn duration(
        &self,
        key: &'static str,
        default: Duration,
        range: &RangeInclusive<Duration>,
    ) -> Duration {
        let (min, max) = (format_duration(*range.start()), format_duration(*range.end()));
        self.read(key, default, format!("{min} to {max}"), |value| {
            within(Ok::<_, Fault>(parse_duration(text(value)?)?), range)
        })
    }

    /// A fraction, or text with `%`.
    pub(super) fn probability(&self, key: &'static str, default: Probability) -> Probability {
        self.read(key, default, "0 to 1, or \"0%\" to \"100%\"", probability)
    }

    pub(super) fn interface(&self, default: &InterfaceSpec) -> InterfaceSpec {
        self.read("interface", default.clone(), InterfaceSpec::ALLOWED, |value| {
            InterfaceSpec::parse(text(value)?)
        })
    }

    /// One of the names, which `Names` has collected from another list of the file.
    pub(super) fn reference(&self, key: &'static str, names: &Names) -> Option<usize> {
        let found = self.get(key)?.get_ref();
        match text(found) {
            Err(fault) => self.fault(key, fault, names.allowed()),
            Ok(name) => match names.position(name) {
                Some(index) => return Some(index),
                None if !names.complete => self.faulty.set(true),
                None => {
                    let fault = Fault::UnknownReference { table: names.table };
                    self.fault(key, fault, names.allowed());
                }
            },
        }
        None
    }

    fn get(&self, key: &str) -> Option<&'d Spanned<DeValue<'d>>> {
        debug_assert!(self.keys.contains(&key), "{key} is not among the keys of {}", self.name);
        self.table.and_then(|(table, _)| table.get(key))
    }

    fn note(
        &self,
        key: &str,
        start: usize,
        value: Option<&Spanned<DeValue<'_>>>,
        fault: Fault,
        allowed: impl Into<String>,
    ) {
        self.faulty.set(true);
        if self.name.is_empty() && !self.is_whole() {
            // What follows a header that is no TOML turns up at the top level.
            return;
        }
        // An unknown key may be any quoted text; it must not break up the line of its problem.
        let key: String = key.chars().take(SHOWN_CHARS).flat_map(char::escape_debug).collect();
        let shown = value.filter(|value| !is_table(value) && !holds_tables(value.get_ref()));
        self.report.push(Problem {
            line: Some(self.report.line(start)),
            key: if self.name.is_empty() { key } else { format!("{}.{key}", self.name) },
            value: shown.map(|value| self.report.excerpt(value.span())).unwrap_or_default(),
            fault,
            allowed: allowed.into(),
        });
    }
}

/// The names that the tables of a list define, for references from elsewhere in the file.
#[derive(Debug)]
pub(super) struct Names {
    /// The list that defines them.
    pub(super) table: &'static str,
    /// By position in the list; `None` where a name is faulty.
    pub(super) names: Vec<Option<String>>,
    /// Whether every name could be read. If not, an unknown one may be among the others.
    pub(super) complete: bool,
}

impl Names {
    /// The names of a built-in list, which stand in for those of the file where it has no such
    /// list, or none that can be read.
    pub(super) fn built_in(
        table: &'static str,
        names: impl IntoIterator<Item = String>,
        root: &Section<'_>,
        list: &List<'_>,
    ) -> Self {
        let complete = matches!(list, List::Absent) && root.is_whole();
        Self { table, names: names.into_iter().map(Some).collect(), complete }
    }

    pub(super) fn position(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known.as_deref() == Some(name))
    }

    /// The names, as a problem lists them.
    pub(super) fn allowed(&self) -> String {
        let shown = self.names.iter().flatten().take(SHOWN_NAMES);
        let mut names: Vec<String> = shown.map(|name| format!("{name:?}")).collect();
        if self.names.len() > names.len() {
            names.push("...".to_owned());
        }
        format!("a [[{}]] name: {}", self.table, names.join(", "))
    }
}

fn is_table(value: &Spanned<DeValue<'_>>) -> bool {
    value.get_ref().is_table()
}

fn holds_tables(value: &DeValue<'_>) -> bool {
    value.as_array().is_some_and(|items| items.iter().any(is_table))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_one() {
        let report = Report::new("a\nb\n\nc", &[]);
        assert_eq!([0, 1, 2, 4, 5, 99].map(|offset| report.line(offset)), [1, 1, 2, 3, 4, 4]);
    }

    #[test]
    fn excerpts_stay_short_and_on_one_line() {
        let long = "x".repeat(500);
        let report = Report::new(&long, &[]);
        assert_eq!(report.excerpt(0..500).len(), SHOWN_CHARS + 3);
        let report = Report::new("a\tb\nc", &[]);
        assert_eq!(report.excerpt(0..5), "a b...");
        assert_eq!(report.excerpt(3..900), "");
    }
}
