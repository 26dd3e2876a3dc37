//! The pages of the guide are complete: found from its index, and with something that runs. Tests.

use std::collections::BTreeSet;

use crate::markdown::{blocks, files, lines, read};

const INDEX: &str = "docs/guide/README.md";

/// What each page shows is run: Rust as documentation tests of the library, which lists the pages,
/// and command lines by `commands`.
#[test]
fn every_page_is_in_the_index_and_has_something_that_runs() {
    let (index, library) = (read(INDEX), read("src/lib.rs"));
    let mut titles = BTreeSet::new();
    for page in files("docs/guide", ".md") {
        let path = page.to_str().unwrap();
        if path == INDEX {
            continue;
        }
        let name = page.file_name().unwrap().to_str().unwrap();
        assert!(index.contains(&format!("]({name})")), "{INDEX} does not lead to {name}");
        let text = read(&page);
        let first = text.lines().next().unwrap_or_default();
        let title = first.strip_prefix("# ").unwrap_or_else(|| panic!("{path} has no title"));
        assert!(titles.insert(title.to_owned()), "{path}: another page has its title");
        let programs = blocks(&text, "rust").len();
        let commands = lines(&text).filter(|(fence, line)| {
            *fence == Some("sh") && line.trim_start_matches("$ ").starts_with("vega ")
        });
        assert!(programs + commands.count() > 0, "{path} shows nothing that can be tried");
        let is_run = library.contains(&format!("include_str!(\"../{path}\")"));
        assert_eq!(is_run, programs > 0, "{path}: `mod guide` of src/lib.rs runs the programs");
    }
    assert!(titles.len() >= 9, "{titles:?}");
}

/// A program that is not run proves nothing.
#[test]
fn no_program_of_the_guide_is_passed_over() {
    for page in files("docs/guide", ".md") {
        for line in read(&page).lines().filter(|line| line.starts_with("```rust")) {
            assert_eq!(line, "```rust", "{}", page.display());
        }
    }
}
