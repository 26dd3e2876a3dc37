//! Elements of an XML document, read strictly: whatever the schema does not know is a fault, with its
//! line. Layer: bin. Runs once, on the commanding thread.

use std::cell::RefCell;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use roxmltree::{Document, Node};
use serde::Serialize;

/// What is wrong with a file, or has no counterpart, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Remark {
    /// Nothing for what concerns the file as a whole.
    pub(super) line: Option<u32>,
    pub(super) message: String,
}

/// Everything that is wrong with one document.
#[derive(Debug, Default)]
pub(super) struct Faults(RefCell<Vec<Remark>>);

impl Faults {
    pub(super) fn note(&self, line: Option<u32>, message: impl Into<String>) {
        self.0.borrow_mut().push(Remark { line, message: message.into() });
    }

    /// In the order of their lines.
    pub(super) fn into_sorted(self) -> Vec<Remark> {
        let mut all = self.0.into_inner();
        all.sort_by_key(|fault| fault.line);
        all
    }
}

/// An element, whose faults are collected with those of the document.
#[derive(Clone, Copy)]
pub(super) struct Element<'a> {
    node: Node<'a, 'a>,
    document: &'a Document<'a>,
    faults: &'a Faults,
}

/// Something that was read, and its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) line: u32,
}

impl<'a> Element<'a> {
    pub(super) fn root(document: &'a Document<'a>, faults: &'a Faults) -> Self {
        Self { node: document.root_element(), document, faults }
    }

    pub(super) fn name(&self) -> &'a str {
        self.node.tag_name().name()
    }

    pub(super) fn namespace(&self) -> Option<&'a str> {
        self.node.tag_name().namespace()
    }

    pub(super) fn line(&self) -> u32 {
        self.document.text_pos_at(self.node.range().start).row
    }

    pub(super) fn fault(&self, message: impl Into<String>) {
        self.faults.note(Some(self.line()), message);
    }

    /// A fault of something inside, which is at another line.
    pub(super) fn fault_at(&self, line: u32, message: impl Into<String>) {
        self.faults.note(Some(line), message);
    }

    /// Notes whatever is in the element besides these attributes and elements.
    pub(super) fn only(&self, attributes: &[&str], children: &[&str]) {
        let name = self.name();
        for attribute in self.node.attributes() {
            if attribute.namespace().is_none() && !attributes.contains(&attribute.name()) {
                let (found, allowed) = (attribute.name(), list(attributes));
                self.fault(format!("<{name}> has no attribute {found:?} (allowed: {allowed})"));
            }
        }
        for child in self.children() {
            if !children.contains(&child.name()) {
                let (found, allowed) = (child.name(), list(children));
                child.fault(format!("<{name}> has no element <{found}> (allowed: {allowed})"));
            } else if child.namespace() != self.namespace() {
                let found = child.namespace().unwrap_or_default();
                child.fault(format!("<{}> is of another namespace, {found:?}", child.name()));
            }
        }
        let stray = self.node.children().filter_map(|node| node.is_text().then(|| node.text())?);
        if let Some(text) = stray.map(str::trim).find(|text| !text.is_empty()) {
            self.fault(format!("<{name}> has no text of its own (found: {:?})", excerpt(text)));
        }
    }

    fn children(self) -> impl Iterator<Item = Self> {
        let elements = self.node.children().filter(Node::is_element);
        elements.map(move |node| Self { node, ..self })
    }

    /// All elements of this name.
    pub(super) fn all(self, name: &str) -> impl Iterator<Item = Self> {
        self.children().filter(move |child| child.name() == name)
    }

    /// The element of this name; a second one is a fault.
    pub(super) fn one(self, name: &str) -> Option<Self> {
        let mut found = self.all(name);
        let first = found.next()?;
        for other in found {
            other.fault(format!(
                "<{name}> is here a second time (the first: line {})",
                first.line()
            ));
        }
        Some(first)
    }

    /// As [`Element::one`]; none is a fault, too.
    pub(super) fn required(self, name: &str) -> Option<Self> {
        let found = self.one(name);
        if found.is_none() {
            self.fault(format!("<{}> needs an element <{name}>", self.name()));
        }
        found
    }

    /// All elements of this name, at least one.
    pub(super) fn some(self, name: &str) -> Vec<Self> {
        let found: Vec<_> = self.all(name).collect();
        if found.is_empty() {
            self.fault(format!("<{}> needs an element <{name}>", self.name()));
        }
        found
    }

    /// The text of an element that has nothing else.
    pub(super) fn text(self) -> Option<Located<&'a str>> {
        let name = self.name();
        if let Some(child) = self.children().next() {
            child.fault(format!("<{name}> has text and no elements (found: <{}>)", child.name()));
            return None;
        }
        let value = self.node.text().unwrap_or_default().trim();
        if value.is_empty() {
            self.fault(format!("<{name}> is empty"));
            return None;
        }
        Some(Located { value, line: self.line() })
    }

    /// The text of the element of this name, if it is there.
    pub(super) fn text_of(self, name: &str) -> Option<Located<&'a str>> {
        self.one(name)?.text()
    }

    /// An attribute that has to be there.
    pub(super) fn attribute(self, name: &str) -> Option<Located<&'a str>> {
        let found = self.attribute_if_any(name);
        if found.is_none() {
            self.fault(format!("<{}> needs an attribute {name:?}", self.name()));
        }
        found
    }

    /// An attribute, if it is there.
    pub(super) fn attribute_if_any(self, name: &str) -> Option<Located<&'a str>> {
        let value = self.node.attribute(name)?;
        Some(Located { value, line: self.line() })
    }

    /// The number in the element of this name, if it is there and within `range`.
    pub(super) fn number<T>(self, name: &str, range: &RangeInclusive<T>) -> Option<Located<T>>
    where
        T: FromStr + PartialOrd + fmt::Display + Copy,
    {
        let child = self.one(name)?;
        let text = child.text()?;
        let found = text.value.parse().ok().filter(|number| range.contains(number));
        if found.is_none() {
            let (low, high) = (range.start(), range.end());
            let text = excerpt(text.value);
            child.fault(format!(
                "<{name}> is no number of its range: {text:?} (allowed: {low} to {high})"
            ));
        }
        found.map(|value| Located { value, line: text.line })
    }

    /// The one of `choices` that the element of this name says.
    pub(super) fn choice<T: Copy>(self, name: &str, choices: &[(&str, T)]) -> Option<Located<T>> {
        let child = self.required(name)?;
        let text = child.text()?;
        let found = choices.iter().find(|(choice, _)| *choice == text.value);
        if found.is_none() {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            let text = excerpt(text.value);
            child.fault(format!(
                "<{name}> is none of its values: {text:?} (allowed: {})",
                names.join(", ")
            ));
        }
        found.map(|(_, value)| Located { value: *value, line: text.line })
    }
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// As much of a text as a message shows.
fn excerpt(text: &str) -> String {
    const SHOWN: usize = 60;
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    text.chars().take(SHOWN).chain(['…']).collect()
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{line}: {}", self.message),
            None => write!(f, " {}", self.message),
        }
    }
}
