//! The command lines that the documents show are understood by the program. Tests.

use std::process::Command;

use crate::markdown::{code_spans, documents, lines, read};

/// The words of a shell command: quotes keep words together, `#` begins a comment.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quote) = (None::<String>, None);
    for c in line.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None if c == '#' && word.is_none() => break,
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// The arguments of `vega` in a line, run directly or through Cargo.
fn arguments(line: &str) -> Option<Vec<String>> {
    let words = words(line.trim_start_matches("$ "));
    let skipped = match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["vega", ..] => 1,
        ["cargo", "run", ..] => words.iter().position(|word| word == "--")? + 1,
        _ => return None,
    };
    Some(words[skipped..].to_vec())
}

/// With `--help` at its end a command only explains itself, but everything before it has to be
/// understood: an unknown option or a value out of range is an error.
#[test]
fn every_command_line_shown_is_understood() {
    let mut count = 0;
    for document in documents() {
        let text = read(&document);
        let shown = lines(&text).filter(|(fence, _)| *fence == Some("sh")).map(|(_, line)| line);
        let inline = code_spans(&text).into_iter().filter(|span| span.contains(' '));
        for line in shown.chain(inline) {
            let Some(arguments) = arguments(line) else { continue };
            let output = Command::new(env!("CARGO_BIN_EXE_vega"))
                .args(&arguments)
                .arg("--help")
                .output()
                .unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: {line}\n{error}", document.display());
            count += 1;
        }
    }
    assert!(count >= 10, "only {count} command lines were found");
}

#[test]
fn words_are_split_as_a_shell_does() {
    assert_eq!(words("vega pub a 'b c' \"d\" # e"), ["vega", "pub", "a", "b c", "d"]);
    assert_eq!(words("x '' #"), ["x", ""]);
    assert_eq!(arguments("cargo run --release -- demo --json").unwrap(), ["demo", "--json"]);
    assert_eq!(arguments("cargo test"), None);
}
