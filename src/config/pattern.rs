//! Patterns of topic names: regular expressions, and filters token by token. Layer: config.
//! Immutable once made; any thread may ask, on the slow path.

use std::fmt;

use regex::{Regex, RegexBuilder};
use thiserror::Error;

use super::topics::MAX_TOPIC_BYTES;

/// Memory of one compiled pattern; the largest that people write by hand need a tenth of it.
const MAX_PATTERN_MEMORY: usize = 1 << 20;

/// What separates the tokens of a name, for filters.
const SEPARATOR: char = '.';
/// A token of a filter that stands for any one token.
const ANY_TOKEN: &str = "*";
/// The last token of a filter that stands for one token or more.
const ANY_REST: &str = ">";

/// A set of topic names, described by what they look like: see
/// [`Instance::subscribe_pattern`](crate::Instance::subscribe_pattern).
///
/// Two patterns are the same when they are of one kind and have one text.
#[derive(Clone)]
pub struct TopicPattern {
    kind: Kind,
    text: Box<str>,
    full_match: Regex,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Regex,
    Filter,
}

impl TopicPattern {
    /// The topics whose whole name matches a regular expression, in the syntax of the crate
    /// [`regex`](https://docs.rs/regex/latest/regex/#syntax): `prices\.EUR...|fx\..*`.
    ///
    /// ```
    /// # fn main() -> Result<(), vega::PatternError> {
    /// let euros = vega::TopicPattern::regex(r"prices\.EUR\w+")?;
    /// assert!(euros.matches("prices.EURUSD"));
    /// assert!(!euros.matches("old.prices.EURUSD"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`PatternError::Empty`] when there is none, which no name could match, [`PatternError::Regex`] when
    /// it is no regular expression, or would take more than a mebibyte of memory.
    pub fn regex(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        let regex = |reason| PatternError::Regex { pattern: text.to_owned(), reason };
        let full_match = full_match(text).map_err(regex)?;
        Ok(Self { kind: Kind::Regex, text: text.into(), full_match })
    }

    /// The topics whose names, token by token between dots, are those of the filter. The token `*`
    /// stands for any one token, `>` at the end for one or more.
    ///
    /// ```
    /// # fn main() -> Result<(), vega::PatternError> {
    /// let orders = vega::TopicPattern::filter("orders.*.new")?;
    /// assert!(orders.matches("orders.eu.new") && !orders.matches("orders.new"));
    /// let all = vega::TopicPattern::filter("orders.>")?;
    /// assert!(all.matches("orders.eu.new") && !all.matches("orders"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`PatternError::Filter`] when it has an empty token, a wildcard that is not a token of its
    /// own, a `>` before the end, or more bytes than a topic can have.
    pub fn filter(text: &str) -> Result<Self, PatternError> {
        let filter = |reason| PatternError::Filter { pattern: text.to_owned(), reason };
        let regex = filter_regex(text).map_err(filter)?;
        // A sequence of escaped names and classes: it compiles, whatever the names.
        let full_match =
            full_match(&regex).map_err(|_| filter("cannot be turned into a regular expression"))?;
        Ok(Self { kind: Kind::Filter, text: text.into(), full_match })
    }

    /// Whether the topic is one of them.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        self.full_match.is_match(topic)
    }

    /// The pattern as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl PartialEq for TopicPattern {
    fn eq(&self, other: &Self) -> bool {
        (self.kind, &self.text) == (other.kind, &other.text)
    }
}

impl Eq for TopicPattern {}

impl fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicPattern({:?} {:?})", self.kind, self.text)
    }
}

/// Why a text is no pattern of topics.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PatternError {
    /// It is an empty regular expression, which matches no name.
    #[error("the pattern is empty, and no name is (all names match '.*')")]
    Empty,
    /// It is no regular expression, or too large a one.
    #[error("topic pattern {pattern:?} is no regular expression: {reason}")]
    Regex {
        /// The text.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It is no filter.
    #[error("topic filter {pattern:?} {reason}")]
    Filter {
        /// The text.
        pattern: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// The expression that matches a whole name where `pattern` does.
///
/// # Errors
///
/// What is wrong with the pattern.
pub(super) fn full_match(pattern: &str) -> Result<Regex, String> {
    // On its own first: `a)(b` is no pattern although it would be one inside the group.
    compile(pattern)?;
    compile(&format!(r"\A(?:{pattern})\z"))
}

fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern).size_limit(MAX_PATTERN_MEMORY).build().map_err(|error| {
        // A syntax error draws the pattern over several lines; its last line says what is wrong.
        let text = error.to_string();
        let last = text.lines().last().unwrap_or_default();
        last.strip_prefix("error: ").unwrap_or(last).to_owned()
    })
}

/// The regular expression that says what a filter says.
fn filter_regex(text: &str) -> Result<String, &'static str> {
    if text.len() > MAX_TOPIC_BYTES {
        return Err("is longer than a topic can be (allowed: 1 to 255 bytes)");
    }
    let mut regex = String::new();
    let mut tokens = text.split(SEPARATOR).peekable();
    while let Some(token) = tokens.next() {
        match token {
            "" => return Err("has an empty token"),
            ANY_TOKEN => regex.push_str("[^.]+"),
            ANY_REST if tokens.peek().is_none() => regex.push_str(r"[^.]+(?:\.[^.]+)*"),
            ANY_REST => return Err("has a '>' that is not its last token"),
            _ if token.contains(ANY_TOKEN) || token.contains(ANY_REST) => {
                return Err("has a wildcard that is not a token of its own");
            }
            _ => regex.push_str(&regex::escape(token)),
        }
        if tokens.peek().is_some() {
            regex.push_str(r"\.");
        }
    }
    Ok(regex)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filter(text: &str) -> TopicPattern {
        TopicPattern::filter(text).unwrap()
    }

    #[test]
    fn a_regular_expression_matches_whole_names() {
        let pattern = TopicPattern::regex("a|ab").unwrap();
        assert!(pattern.matches("a") && pattern.matches("ab"));
        assert!(!pattern.matches("aab") && !pattern.matches("ab\n") && !pattern.matches(""));
        assert!(!TopicPattern::regex("(?m)^x$").unwrap().matches("x\ny"));
    }

    #[test]
    fn what_is_no_regular_expression_is_refused_with_its_reason() {
        for (text, reason) in [("(a", "unclosed group"), ("a)(b", "unopened group")] {
            let error = TopicPattern::regex(text).unwrap_err();
            let expected = format!("topic pattern {text:?} is no regular expression: {reason}");
            assert_eq!(error.to_string(), expected);
        }
        assert!(TopicPattern::regex(r"(\w{900}){900}").is_err(), "a gigabyte");
        let error = TopicPattern::regex("").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the pattern is empty, and no name is (all names match '.*')"
        );
    }

    #[test]
    fn tokens_of_a_filter_stand_for_tokens() {
        for (text, yes, no) in [
            (
                "greet.*",
                &["greet.joe", "greet.ü\n"][..],
                &["greet", "greet.", "greet.a.b", "x.greet.a"][..],
            ),
            (
                "orders.>",
                &["orders.a", "orders.a.b.c"],
                &["orders", "orders.", "orders.a.", "orders..a"],
            ),
            (">", &["a", "a.b"], &["", ".", ".a", "a."]),
            ("*.b.>", &["a.b.c", "a.b.c.d"], &["a.b", "b.c", "a.x.b.c"]),
            ("a+b.c", &["a+b.c"], &["aab.c", "a+bxc", "A+b.c"]),
        ] {
            let filter = filter(text);
            for topic in yes {
                assert!(filter.matches(topic), "{text} and {topic:?}");
            }
            for topic in no {
                assert!(!filter.matches(topic), "{text} and {topic:?}");
            }
        }
    }

    #[test]
    fn what_is_no_filter_is_refused_with_its_reason() {
        let long = "x".repeat(MAX_TOPIC_BYTES + 1);
        for (text, reason) in [
            ("", "has an empty token"),
            ("a..b", "has an empty token"),
            ("a.", "has an empty token"),
            (">.a", "has a '>' that is not its last token"),
            ("a.b*", "has a wildcard that is not a token of its own"),
            ("a.>>", "has a wildcard that is not a token of its own"),
            (&long, "is longer than a topic can be (allowed: 1 to 255 bytes)"),
        ] {
            let expected = PatternError::Filter { pattern: text.to_owned(), reason };
            assert_eq!(TopicPattern::filter(text).unwrap_err(), expected);
        }
    }

    #[test]
    fn kind_and_text_make_a_pattern() {
        assert_eq!(filter("a.b"), filter("a.b"));
        assert_ne!(filter("a.b"), TopicPattern::regex("a.b").unwrap());
        assert_ne!(filter("a.*"), filter("a.>"));
    }

    /// The definition, token by token.
    fn meets(filter: &[&str], name: &[&str]) -> bool {
        match (filter, name) {
            ([], []) => true,
            ([">"], [_, ..]) => name.iter().all(|token| !token.is_empty()),
            ([first, rest @ ..], [token, others @ ..]) => {
                (first == token || *first == "*" && !token.is_empty()) && meets(rest, others)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn filters_agree_with_their_definition(
            filter in proptest::collection::vec("a|b|ab|\\*", 1..5),
            open_end in any::<bool>(),
            name in proptest::collection::vec("a|b|ab|c?", 1..6),
        ) {
            let mut tokens: Vec<_> = filter.iter().map(String::as_str).collect();
            if open_end {
                tokens.push(">");
            }
            let names: Vec<_> = name.iter().map(String::as_str).collect();
            let pattern = TopicPattern::filter(&tokens.join(".")).unwrap();
            prop_assert_eq!(pattern.matches(&names.join(".")), meets(&tokens, &names));
        }

        #[test]
        fn arbitrary_text_is_a_filter_or_an_error(text in "\\PC{0,40}") {
            let _ = TopicPattern::filter(&text);
        }
    }
}
