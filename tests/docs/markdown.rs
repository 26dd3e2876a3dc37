//! Reads the Markdown documents of the package. Tests.

use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the package.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The content of a file of the package.
pub(crate) fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Files below a folder whose names end with `suffix`, relative to the package, in order.
pub(crate) fn files(folder: &str, suffix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(suffix) {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// Every document: those beside the manifest and those in `docs`.
pub(crate) fn documents() -> Vec<PathBuf> {
    let beside = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().file_name());
    let beside =
        beside.map(PathBuf::from).filter(|name| name.extension().is_some_and(|it| it == "md"));
    let mut all: Vec<_> = beside.chain(files("docs", ".md")).collect();
    all.sort();
    all
}

/// A line, and whether it lies in a fenced block: of which language then.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = (Option<&str>, &str)> {
    let mut fence = None;
    text.lines().filter_map(move |line| match (fence, line.strip_prefix("```")) {
        (None, Some(language)) => {
            fence = Some(language);
            None
        }
        (Some(_), Some(_)) => {
            fence = None;
            None
        }
        _ => Some((fence, line)),
    })
}

/// The titles of a document's sections.
pub(crate) fn titles(text: &str) -> Vec<&str> {
    let headings = lines(text).filter(|(fence, line)| fence.is_none() && line.starts_with('#'));
    headings.map(|(_, line)| line.trim_start_matches('#').trim()).collect()
}

/// The fenced blocks of one language.
pub(crate) fn blocks(text: &str, language: &str) -> Vec<String> {
    let opening = format!("```{language}\n");
    let blocks = text.split(&opening).skip(1);
    blocks.map(|rest| rest.split("\n```").next().unwrap_or_default().to_owned()).collect()
}

/// Pieces in backticks outside of fenced blocks.
pub(crate) fn code_spans(text: &str) -> Vec<&str> {
    let prose = lines(text).filter(|(fence, _)| fence.is_none());
    prose.flat_map(|(_, line)| line.split('`').skip(1).step_by(2)).collect()
}

/// The fragment by which a title is linked to.
pub(crate) fn anchor(title: &str) -> String {
    let kept = title.to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
}
