//! A configuration file as it is written, section by section, with comments. Layer: bin. Plain text.

use std::fmt::Write;

use toml_edit::Value;
use vega::Config;

use super::xml::Located;

/// Columns of a comment.
const WIDTH: usize = 100;

/// What has been written.
#[derive(Debug, Default)]
pub(super) struct Sheet(String);

/// A table of the file, or a piece of one that is put to [`Config`].
#[derive(Clone, Debug)]
pub(super) struct Section {
    header: String,
    keys: String,
    text: String,
}

impl Sheet {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn comment(&mut self, text: &str) {
        comment(&mut self.0, text);
    }

    pub(super) fn blank(&mut self) {
        self.0.push('\n');
    }

    pub(super) fn key(&mut self, key: &str, value: impl Into<Value>) {
        line(&mut self.0, key, value);
    }

    pub(super) fn section(&mut self, section: Section) {
        let Section { header, text, .. } = section;
        self.0.push_str(&format!("\n{header}\n{text}"));
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

impl Section {
    pub(super) fn table(name: &str) -> Self {
        Self::new(format!("[{name}]"))
    }

    pub(super) fn list(name: &str) -> Self {
        Self::new(format!("[[{name}]]"))
    }

    const fn new(header: String) -> Self {
        Self { header, keys: String::new(), text: String::new() }
    }

    pub(super) fn comment(&mut self, text: &str) {
        comment(&mut self.text, text);
    }

    pub(super) fn key(&mut self, key: &str, value: impl Into<Value>) {
        let value = value.into();
        line(&mut self.keys, key, value.clone());
        line(&mut self.text, key, value);
    }

    pub(super) fn number(&mut self, key: &str, number: impl Into<i64>) {
        self.key(key, number.into());
    }

    /// The section with one more key.
    pub(super) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.key(key, value);
        self
    }

    /// A key if its value is allowed with those that are there; else a comment that says why not.
    pub(super) fn offer(
        &mut self,
        key: &str,
        value: String,
        origin: &str,
        found: Located<impl std::fmt::Display>,
    ) {
        match accepted(&self.clone().with(key, value.as_str())) {
            Ok(()) => self.key(key, value),
            Err(why) => self.comment(&format!(
                "Not imported: {origin} {} (line {}): {why}. The default applies.",
                found.value, found.line
            )),
        }
    }
}

/// Whether our configuration takes the keys of a section.
pub(super) fn is_accepted(section: &Section) -> bool {
    accepted(section).is_ok()
}

/// Puts a section to our configuration. The poller that it refers to does not have to be there.
///
/// # Errors
///
/// What is wrong with the value of one of its keys.
pub(super) fn accepted(section: &Section) -> Result<(), String> {
    let text = format!("{}\n{}", section.header, section.keys);
    let keys = section.keys.lines().filter_map(|line| line.split(" = ").next());
    let keys: Vec<_> = keys.filter(|key| *key != "poller").collect();
    let Err(error) = Config::parse(&text) else { return Ok(()) };
    // A key comes with its table: `discovery.ttl`.
    let is_ours = |key: &str| key.rsplit('.').next().is_some_and(|key| keys.contains(&key));
    match error.problems().iter().find(|problem| is_ours(problem.key())) {
        Some(problem) if problem.allowed().is_empty() => Err(problem.message()),
        Some(problem) => Err(format!("{} (allowed: {})", problem.message(), problem.allowed())),
        None => Ok(()),
    }
}

fn line(text: &mut String, key: &str, value: impl Into<Value>) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{key} = {}", value.into());
}

/// Wrapped at words. Control characters, which an XML file may have in a value, are escaped.
fn comment(text: &mut String, comment: &str) {
    let mut width = usize::MAX;
    for word in comment.split_whitespace() {
        let word: String = word.chars().flat_map(shown).collect();
        if width.saturating_add(1 + word.chars().count()) > WIDTH {
            if width != usize::MAX {
                text.push('\n');
            }
            text.push('#');
            width = 1;
        }
        text.push(' ');
        text.push_str(&word);
        width += 1 + word.chars().count();
    }
    text.push('\n');
}

fn shown(c: char) -> Vec<char> {
    if c.is_control() { c.escape_default().collect() } else { vec![c] }
}
