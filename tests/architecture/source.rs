//! Rust source as the architecture test needs it: tokens with their lines, comments and literals
//! left out, and the modules of the crate that paths lead to. Tests.

use std::iter;

/// A word, `::`, or one character of punctuation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

/// The tokens of `text`. Enough of Rust's lexis to find paths: no token comes out of a comment, a
/// string or a character, whatever they contain.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let end = at + skipped(&chars[at..]);
        if end > at {
            line += chars[at..end].iter().filter(|char| **char == '\n').count();
            at = end;
            continue;
        }
        let length = match chars[at..] {
            [first, ..] if is_word(first) => {
                chars[at..].iter().take_while(|char| is_word(**char)).count()
            }
            [':', ':', ..] => 2,
            _ => 1,
        };
        tokens.push(Token { text: chars[at..at + length].iter().collect(), line });
        at += length;
    }
    tokens
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// How many characters at the front are space, a comment or a literal.
fn skipped(rest: &[char]) -> usize {
    match rest {
        [space, ..] if space.is_whitespace() => 1,
        ['/', '/', ..] => rest.iter().take_while(|char| **char != '\n').count(),
        ['/', '*', ..] => block_comment(rest),
        ['"', ..] => quoted(rest),
        ['b' | 'c', '"', ..] => 1 + quoted(&rest[1..]),
        ['r', '"' | '#', ..] => raw_string(rest, 1),
        ['b' | 'c', 'r', '"' | '#', ..] => raw_string(rest, 2),
        ['b', '\'', ..] => 1 + quoted(&rest[1..]),
        // What has no closing quote in its place is a lifetime.
        ['\'', '\\', ..] | ['\'', _, '\'', ..] => quoted(rest),
        _ => 0,
    }
}

fn block_comment(rest: &[char]) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => (at, depth) = (at + 2, depth + 1),
            ['*', '/', ..] => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// From one quote to the next of its kind that is not escaped.
fn quoted(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != rest[0] {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// `prefix` letters, then hashes and a quote; not a string at all for raw identifiers.
fn raw_string(rest: &[char], prefix: usize) -> usize {
    let hashes = rest[prefix..].iter().take_while(|char| **char == '#').count();
    let start = prefix + hashes + 1;
    if rest.get(start - 1) != Some(&'"') {
        return 0;
    }
    let closing: Vec<char> = iter::once('"').chain(iter::repeat_n('#', hashes)).collect();
    let end = rest[start..].windows(closing.len()).position(|window| window == closing);
    end.map_or(rest.len(), |end| start + end + closing.len())
}

/// What the paths of a file that begin with `crate` or `super` name first under the root of the
/// crate: usually a module. `depth` is how deep the file's own module lies: 1 for `src/ring.rs` and
/// `src/ring/mod.rs`, 2 for `src/ring/read.rs`.
pub(crate) fn crate_paths(tokens: &[Token], depth: usize) -> Vec<&Token> {
    let mut found = Vec::new();
    // Numbers of open braces at which inline modules began: inside, `super` is one level nearer.
    let mut inline = Vec::new();
    let mut braces = 0;
    for (at, token) in tokens.iter().enumerate() {
        let follows = at > 0 && tokens[at - 1].text == "::";
        match token.text.as_str() {
            "{" => braces += 1,
            "}" => {
                braces -= 1;
                inline.retain(|opened| *opened <= braces);
            }
            "mod" if tokens.get(at + 2).is_some_and(|token| token.text == "{") => {
                inline.push(braces + 1);
            }
            "crate" if !follows => collect(tokens, at + 1, 0, &mut found),
            "super" if !follows => collect(tokens, at, depth + inline.len(), &mut found),
            _ => {}
        }
    }
    found
}

/// Follows the path that goes on at `at`, `height` levels below the root, into its groups, and
/// keeps what it names under the root.
fn collect<'a>(tokens: &'a [Token], mut at: usize, height: usize, found: &mut Vec<&'a Token>) {
    if tokens.get(at).is_some_and(|token| token.text == "::") {
        at += 1;
    }
    match tokens.get(at).map(|token| token.text.as_str()) {
        // More `super` than modules does not compile; nothing is to be found there.
        Some("super") if height > 0 => collect(tokens, at + 1, height - 1, found),
        Some("{") => {
            for member in members(tokens, at) {
                collect(tokens, member, height, found);
            }
        }
        Some("*") if height == 0 => found.push(&tokens[at]),
        Some(word) if height == 0 && word.starts_with(is_word) => found.push(&tokens[at]),
        _ => {}
    }
}

/// Where the members of the group that opens at `open` begin.
fn members(tokens: &[Token], open: usize) -> Vec<usize> {
    let mut members = vec![open + 1];
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" if depth == 1 => break,
            "}" => depth -= 1,
            "," if depth == 1 => members.push(at + 1),
            _ => {}
        }
    }
    members
}

mod tests {
    use super::{crate_paths, tokens};

    fn words(text: &str) -> Vec<(String, usize)> {
        tokens(text).into_iter().map(|token| (token.text, token.line)).collect()
    }

    fn paths(depth: usize, text: &str) -> Vec<String> {
        crate_paths(&tokens(text), depth).into_iter().map(|token| token.text.clone()).collect()
    }

    #[test]
    fn comments_and_literals_are_no_tokens() {
        let text = "a // crate::b\n/* c /* d */ \" */ 'x' '\\'' b'\"' \"e \\\" f\\\\\" r#\"g\" h\"# 'life z\n";
        let expected = [("a", 1), ("'", 2), ("life", 2), ("z", 2)];
        assert_eq!(words(text), expected.map(|(text, line)| (text.to_owned(), line)));
        assert_eq!(words("r#type br\"\\\" c").len(), 4);
        assert_eq!(words("\"one\ntwo\" three"), [("three".to_owned(), 2)]);
    }

    #[test]
    fn paths_to_the_root_are_found_wherever_they_stand() {
        assert_eq!(paths(1, "use crate::wire::frame;"), ["wire"]);
        assert_eq!(paths(1, "use crate::{id::{A, B}, time::C, Config};"), ["id", "time", "Config"]);
        assert_eq!(
            paths(1, "fn f(x: &crate::engine::Engine) { $crate::ring::g() }"),
            ["engine", "ring"]
        );
        assert_eq!(paths(1, "pub(crate) use self::inner::X; use std::crate_like::Y;"), [""; 0]);
        assert_eq!(paths(1, "use crate::*;"), ["*"]);
    }

    #[test]
    fn super_counts_only_when_it_leaves_the_module() {
        assert_eq!(paths(2, "use super::sibling::X; use super::super::engine::Y;"), ["engine"]);
        assert_eq!(paths(1, "use super::engine::X;"), ["engine"]);
        assert_eq!(paths(2, "use super::{a::B, super::{ring, wire::C}};"), ["ring", "wire"]);
        let inline = "mod tests { use super::super::b; fn f() { super::super::super::c() } } use super::super::d;";
        assert_eq!(paths(2, inline), ["c", "d"]);
    }
}
