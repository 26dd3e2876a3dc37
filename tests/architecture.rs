//! Holds what `ARCHITECTURE.md` and `CONTRIBUTING.md` promise about the source: the arrows between
//! layers, where `unsafe` may stand, sizes, names, and a reason for each dependency. Tests.
//!
//! Every failure names file, line, the rule and what to do about it.

#![allow(clippy::unwrap_used, reason = "a test that cannot read the source fails")]

#[path = "architecture/source.rs"]
mod source;

use std::fs;
use std::path::{Path, PathBuf};

use source::{Token, crate_paths, tokens};
use toml::de::DeTable;

/// The layers of the library, the topmost first. A module sees itself and what stands on lower
/// lines; modules on one line do not see each other.
const LAYERS: &[&[&str]] = &[
    &["instance"],
    &["engine", "sim", "inspect"],
    &["listener"],
    &["protocol", "discovery", "request"],
    &["ring"],
    &["transport"],
    &["wire"],
    &["config"],
    &["counters"],
    &["time", "id", "random"],
];

/// Files and folders above all layers: the public API's re-exports, the benchmarks' handles, and
/// what fuzzers call.
const ABOVE_LAYERS: &[&str] = &["src/lib.rs", "src/internals.rs", "src/fuzz/"];

/// Arrows that point down and are forbidden all the same, and why.
const FORBIDDEN: &[(&str, &str, &str)] =
    &[("transport", "wire", "transport moves bytes and does not know what they mean")];

/// The only places where `unsafe` may stand.
const UNSAFE: &[&str] =
    &["src/ring", "src/transport/sys", "src/transport/shm", "src/counters/words"];

/// Most lines of a file, its tests apart. A file that grows beyond it has more than one job.
const MAX_LINES: usize = 800;

/// Names that say nothing about a file's job.
const EMPTY_NAMES: &[&str] =
    &["util", "utils", "helper", "helpers", "common", "misc", "manager", "managers"];

/// Macros for code that is not finished.
const UNFINISHED: &[&str] = &["todo", "unimplemented", "dbg"];

/// A file of the repository.
struct File {
    /// From the root of the repository, with slashes.
    path: String,
    text: String,
}

impl File {
    fn tokens(&self) -> Vec<Token> {
        tokens(&self.text)
    }

    /// Folders and name of a file of the library, as modules: `["ring", "read"]`.
    fn modules(&self) -> Vec<&str> {
        let inside = self.path.strip_prefix("src/").unwrap_or(&self.path);
        inside.trim_end_matches(".rs").split('/').filter(|part| *part != "mod").collect()
    }

    fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below `folders`, apart from what a build has made there.
fn files(folders: &[&str]) -> Vec<File> {
    let mut pending: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    let mut files = Vec::new();
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if !path.join("CACHEDIR.TAG").exists() {
                    pending.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path.strip_prefix(root()).unwrap().to_str().unwrap();
                let text = fs::read_to_string(&path).unwrap();
                files.push(File { path: relative.replace('\\', "/"), text });
            }
        }
    }
    assert!(!files.is_empty(), "no Rust files in {folders:?}");
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

const ALL: &[&str] = &["src", "tests", "examples", "benches"];

fn library() -> Vec<File> {
    let mut files = files(&["src"]);
    files.retain(|file| !file.path.starts_with("src/bin/"));
    files
}

/// Fails with all problems at once.
#[track_caller]
fn none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

fn rank(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// What is wrong with the arrows of one file of the library.
fn arrows(file: &File) -> Vec<String> {
    let modules = file.modules();
    let own = modules[0];
    let Some(from) = rank(own) else {
        return vec![format!("{}: `{own}` is in no layer: add it to LAYERS", file.path)];
    };
    let tokens = file.tokens();
    let mut problems = Vec::new();
    for target in crate_paths(&tokens, modules.len()) {
        let (module, line) = (target.text.as_str(), target.line);
        let place = format!("{}:{line}: `{own}` sees `{module}`", file.path);
        match rank(module) {
            _ if module == own => {}
            None => problems.push(format!(
                "{place}, which is no layer: name the module it comes from, not a re-export"
            )),
            Some(to) if to == from => problems.push(format!(
                "{place}, a layer beside it: let `{}` bring them together",
                LAYERS[from - 1][0]
            )),
            Some(to) if to < from => problems.push(format!(
                "{place}, a layer above it: arrows point down; move what is needed down, or have \
                 it passed in as a value or a trait"
            )),
            Some(_) => problems.extend(
                FORBIDDEN
                    .iter()
                    .filter(|(above, below, _)| (*above, *below) == (own, module))
                    .map(|(_, _, why)| format!("{place}: {why}; let a layer above translate")),
            ),
        }
    }
    problems
}

#[test]
fn arrows_point_down() {
    let problems: Vec<_> = library()
        .iter()
        .filter(|file| !ABOVE_LAYERS.iter().any(|above| file.path.starts_with(above)))
        .flat_map(arrows)
        .collect();
    none(&problems);
}

#[test]
fn arrows_that_do_not_point_down_are_found() {
    for (path, text, problem) in [
        ("src/ring/read.rs", "use crate::engine::Engine;", "a layer above it"),
        ("src/discovery/log.rs", "\nuse crate::{id, protocol::window};", "a layer beside it"),
        ("src/transport/udp.rs", "fn f() { crate::wire::packet::g() }", "moves bytes"),
        ("src/transport.rs", "use super::listener::Message;", "a layer above it"),
        ("src/engine/idle.rs", "use crate::Config;", "no layer"),
        ("src/shiny.rs", "", "add it to LAYERS"),
    ] {
        let file = File { path: path.to_owned(), text: text.to_owned() };
        let problems = arrows(&file);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains(problem), "{problems:?}");
        assert!(problems[0].starts_with(path), "{problems:?}");
    }
    for (path, text) in [
        ("src/ring/read.rs", "//! See crate::engine.\nuse crate::wire::frame; use super::Layout;"),
        ("src/engine/mod.rs", "use crate::{ring::Layout, protocol::sender, discovery};"),
    ] {
        let file = File { path: path.to_owned(), text: text.to_owned() };
        none(&arrows(&file));
    }
}

#[test]
fn the_command_line_sees_only_the_public_api() {
    let mut problems = Vec::new();
    for file in files(&["src/bin"]) {
        let tokens = file.tokens();
        for (at, token) in tokens.iter().enumerate() {
            let is_path = token.text == "path"
                && at >= 2
                && (tokens[at - 2].text == "#" && tokens[at - 1].text == "[");
            let is_include =
                token.text == "include" && tokens.get(at + 1).is_some_and(|next| next.text == "!");
            if is_path || is_include || token.text == "internals" {
                problems.push(format!(
                    "{}:{}: `{}` goes around the public API: use what `vega::` exports",
                    file.path, token.line, token.text
                ));
            }
        }
    }
    none(&problems);
}

#[test]
fn unsafe_stands_only_where_it_is_allowed() {
    let mut problems = Vec::new();
    let mut allowed = Vec::new();
    for file in files(&["src"]) {
        let home = UNSAFE.iter().find(|home| {
            let rest = file.path.strip_prefix(**home);
            rest.is_some_and(|rest| rest.starts_with('/') || rest == ".rs")
        });
        for token in file.tokens() {
            match (token.text.as_str(), home) {
                ("unsafe" | "unsafe_code", None) => problems.push(format!(
                    "{}:{}: `{}` outside {UNSAFE:?}: move it there, behind a safe function",
                    file.path, token.line, token.text
                )),
                ("unsafe", Some(home)) => allowed.push(*home),
                _ => {}
            }
        }
    }
    none(&problems);
    for home in UNSAFE {
        assert!(allowed.contains(home), "{home} has no unsafe code: take it off the list");
    }
}

#[test]
fn files_are_of_readable_size() {
    let mut problems = Vec::new();
    for file in files(&["src"]).iter().filter(|file| !file.is_test()) {
        let tests = file.text.find("#[cfg(test)]\nmod tests {").unwrap_or(file.text.len());
        let lines = file.text[..tests].lines().count();
        if lines > MAX_LINES {
            problems.push(format!(
                "{}: {lines} lines without tests (allowed: {MAX_LINES}): split it by its jobs",
                file.path
            ));
        }
    }
    none(&problems);
}

#[test]
fn every_file_says_what_it_is_for() {
    let problems: Vec<_> = files(ALL)
        .iter()
        .filter(|file| !file.text.starts_with("//! "))
        .map(|file| format!("{}:1: begin with `//!`: job, layer, owning thread", file.path))
        .collect();
    none(&problems);
}

#[test]
fn every_name_says_what_a_file_is_for() {
    let problems: Vec<_> = files(ALL)
        .iter()
        .filter(|file| {
            let mut parts = file.path.trim_end_matches(".rs").split('/');
            parts.any(|part| EMPTY_NAMES.contains(&part))
        })
        .map(|file| format!("{}: a name that fits any content: name it after its job", file.path))
        .collect();
    none(&problems);
}

#[test]
fn nothing_is_left_unfinished() {
    let mut problems = Vec::new();
    for file in files(ALL) {
        let tokens = file.tokens();
        for pair in tokens.windows(2) {
            if UNFINISHED.contains(&pair[0].text.as_str()) && pair[1].text == "!" {
                let (word, line) = (&pair[0].text, pair[0].line);
                problems.push(format!("{}:{line}: `{word}!`: finish it", file.path));
            }
        }
    }
    none(&problems);
}

/// Rows of the table of dependencies: name, and whether there is a reason.
fn reasons(contributing: &str) -> Vec<(&str, bool)> {
    let section = contributing.split("\n## ").find(|part| part.starts_with("Dependencies\n"));
    section
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .map(|(name, reason)| (name, reason.split_whitespace().count() > 3))
        .collect()
}

/// The names in every table of dependencies, also in those for one target only.
fn named_dependencies(table: &DeTable<'_>, names: &mut Vec<String>) {
    for (key, value) in table {
        let Some(below) = value.get_ref().as_table() else { continue };
        if key.get_ref().ends_with("dependencies") {
            names.extend(below.keys().map(|name| name.get_ref().to_string()));
        } else {
            named_dependencies(below, names);
        }
    }
}

#[test]
fn every_dependency_has_its_reason() {
    let mut dependencies = Vec::new();
    for path in ["Cargo.toml", "benches/peers/Cargo.toml", "fuzz/Cargo.toml"] {
        let manifest = fs::read_to_string(root().join(path)).unwrap();
        let manifest = DeTable::parse(&manifest).unwrap();
        named_dependencies(manifest.get_ref(), &mut dependencies);
    }
    dependencies.retain(|name| name != env!("CARGO_PKG_NAME"));
    dependencies.sort_unstable();
    dependencies.dedup();

    let contributing = fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let reasons = reasons(&contributing);
    let mut problems = Vec::new();
    for name in &dependencies {
        if !reasons.contains(&(name.as_str(), true)) {
            problems.push(format!(
                "Cargo.toml: `{name}` has no reason: add a row for it to \"Dependencies\" in \
                 CONTRIBUTING.md, or do without it"
            ));
        }
    }
    for (name, _) in &reasons {
        if !dependencies.iter().any(|dependency| dependency == name) {
            problems.push(format!(
                "CONTRIBUTING.md: `{name}` is not in Cargo.toml: remove it from \"Dependencies\""
            ));
        }
    }
    none(&problems);
}
