//! What the documents and the code say of each other is there. Tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use vega::{Config, Counter};

use crate::markdown::{anchor, blocks, code_spans, documents, files, lines, read, root, titles};

/// Every `docs/wire-protocol.md`, "Title" in the sources.
#[test]
fn cited_sections_of_the_wire_protocol_exist() {
    let document = read("docs/wire-protocol.md");
    let titles = titles(&document);
    let mut cited = BTreeSet::new();
    for file in files("src", ".rs") {
        for line in read(&file).lines() {
            let Some((_, after)) = line.split_once("docs/wire-protocol.md`") else { continue };
            for title in after.split('"').skip(1).step_by(2) {
                assert!(
                    titles.contains(&title),
                    "{} cites the section {title:?}, which docs/wire-protocol.md does not have",
                    file.display()
                );
                cited.insert(title.to_owned());
            }
        }
    }
    for title in ["Data packet", "Frame", "Request", "Response", "Status", "Locator", "CHANGES"] {
        assert!(cited.contains(title), "no golden-byte test cites {title:?}: {cited:?}");
    }
}

#[test]
fn every_counter_is_explained() {
    let document = read("docs/operations.md");
    let explained: BTreeSet<_> = lines(&document)
        .filter_map(|(_, line)| line.strip_prefix("| `")?.split_once("` |"))
        .map(|(label, _)| label)
        .collect();
    for counter in Counter::ALL {
        let label = counter.label();
        assert!(explained.contains(label), "docs/operations.md lacks the counter {label}");
    }
    assert_eq!(explained.len(), Counter::ALL.len(), "counters that do not exist: {explained:?}");
}

/// Where a relative link leads: the file, and the section of it.
fn links(text: &str) -> Vec<(&str, Option<&str>)> {
    let prose = lines(text).filter(|(fence, _)| fence.is_none());
    let targets = prose.flat_map(|(_, line)| line.split("](").skip(1));
    let targets = targets.filter_map(|rest| rest.split(')').next());
    let relative = targets.filter(|target| !target.contains("://"));
    relative
        .map(|target| match target.split_once('#') {
            Some((path, section)) => (path, Some(section)),
            None => (target, None),
        })
        .collect()
}

#[test]
fn every_relative_link_leads_somewhere() {
    let mut count = 0;
    for document in documents() {
        let text = read(&document);
        for (path, section) in links(&text) {
            let folder = document.parent().unwrap_or_else(|| Path::new(""));
            let target = if path.is_empty() { document.clone() } else { folder.join(path) };
            let place = root().join(&target);
            assert!(place.exists(), "{}: {path} does not exist", document.display());
            if let Some(section) = section {
                let found = fs::read_to_string(&place).unwrap();
                assert!(
                    titles(&found).iter().any(|title| anchor(title) == section),
                    "{}: {path} has no section #{section}",
                    document.display()
                );
            }
            count += 1;
        }
    }
    assert!(count > 20, "only {count} links were found: has their form changed?");
}

#[test]
fn every_configuration_shown_is_valid() {
    let mut count = 0;
    for document in documents() {
        for snippet in blocks(&read(&document), "toml") {
            if let Err(error) = Config::parse(&snippet) {
                panic!("{}: {error}", document.display());
            }
            count += 1;
        }
    }
    assert!(count >= 3, "only {count} snippets were found");
}

#[test]
fn the_readme_names_the_rust_version_of_the_manifest() {
    let version = env!("CARGO_PKG_RUST_VERSION");
    let readme = read("README.md");
    assert!(readme.contains(&format!("a Rust toolchain, {version} or newer")));
    assert!(readme.contains(&format!("minimum supported Rust version is {version}")));
}

#[test]
fn the_code_map_is_the_code() {
    let document = read("ARCHITECTURE.md");
    let named: BTreeSet<_> =
        code_spans(&document).into_iter().filter(|span| span.starts_with("src/")).collect();
    for path in &named {
        assert!(root().join(path).exists(), "ARCHITECTURE.md names {path}, which is not there");
    }
    for file in files("src", ".rs") {
        let path = file.to_str().unwrap();
        let is_mapped = named.contains(path);
        let needs_no_line =
            path.starts_with("src/bin/") || path.ends_with("tests.rs") || path.contains("/tests/");
        assert!(is_mapped || needs_no_line, "ARCHITECTURE.md: the code map lacks {path}");
    }
}

/// Tests that a document names by their functions: long names in backticks.
fn tests_named_by(text: &str) -> BTreeSet<&str> {
    let is_test = |span: &&str| {
        span.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            && span.matches('_').count() >= 3
    };
    code_spans(text).into_iter().filter(is_test).collect()
}

fn assert_they_exist(document: &str, named: &BTreeSet<&str>) {
    let sources = [files("src", ".rs"), files("tests", ".rs")].concat();
    let sources: String = sources.into_iter().map(read).collect();
    for name in named {
        let function = format!("fn {name}(");
        assert!(sources.contains(&function), "{document} names the test {name}: it is gone");
    }
}

#[test]
fn tests_named_by_the_architecture_exist() {
    let document = read("ARCHITECTURE.md");
    let named = tests_named_by(&document);
    assert!(named.len() > 10, "{named:?}");
    assert_they_exist("ARCHITECTURE.md", &named);
}

/// Each defect of the predecessor has a row, and each row a test, or a reason why there is none.
#[test]
fn every_defect_names_its_tests() {
    let document = read("docs/migration.md");
    let rows = lines(&document).filter_map(|(_, line)| {
        let mut cells = line.strip_prefix("| ")?.splitn(3, " | ");
        Some((cells.next()?.parse::<u32>().ok()?, cells.next()?, cells.next()?))
    });
    let (mut numbers, mut all) = (BTreeSet::new(), BTreeSet::new());
    for (number, defect, held_by) in rows {
        assert!(numbers.insert(number), "{number} twice");
        let named = tests_named_by(held_by);
        let is_held = !named.is_empty() || held_by.contains("By design");
        assert!(is_held, "{number}, {defect}: nothing holds it");
        all.extend(named);
    }
    assert_they_exist("docs/migration.md", &all);
    assert!(numbers.iter().copied().eq(1..=38), "{numbers:?}");
}

/// The table of test vectors for topics.
#[test]
fn the_test_vectors_for_topics_hold() {
    let document = read("docs/wire-protocol.md");
    let everything_by = |template: &str| {
        Config::parse(&format!("[[topic]]\npattern = '.*'\ntemplate = '{template}'")).unwrap()
    };
    let (multicast, unicast) = (everything_by("multicast"), everything_by("unicast"));
    let mut count = 0;
    for (_, line) in lines(&document) {
        let cells: Vec<_> = line.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let &[_, topic, hash, group, port, stream, unicast_port, _] = cells.as_slice() else {
            continue;
        };
        let Ok(hash) = u64::from_str_radix(hash, 16) else { continue };
        let route = multicast.route(topic).unwrap();
        assert_eq!(route.hash(), hash, "{topic}");
        assert_eq!(route.address().map(|address| address.to_string()).as_deref(), Some(group));
        assert_eq!((route.port(), route.stream()), (port.parse().ok(), stream.parse().ok()));
        let route = unicast.route(topic).unwrap();
        assert_eq!(
            (route.port(), route.stream()),
            (unicast_port.parse().ok(), stream.parse().ok())
        );
        count += 1;
    }
    assert_eq!(count, 4);
}
