//! The file with the defaults against the defaults. Tests.

use super::*;

#[test]
fn the_default_file_is_the_default() {
    assert_eq!(parse(Config::default_toml()), Config::default());
}

/// Keys with a default of their own are written out, so that the test above compares them.
#[test]
fn the_default_file_shows_every_key() {
    const WITHOUT_VALUE: [&str; 6] =
        ["#interface", "#advertise", "#advertise_ports", "#sleep", "#core", "#daemons"];
    for (header, keys) in TABLES {
        let shown = keys_shown_in(&table_of_default_file(header));
        for key in keys {
            let commented = format!("#{key}");
            let is_shown = shown.iter().any(|shown| {
                shown == key || *shown == commented && WITHOUT_VALUE.contains(&shown.as_str())
            });
            assert!(is_shown, "{header} {key}");
        }
    }
    for key in ROOT_KEYS {
        assert!(TABLES.iter().any(|(header, keys)| header.trim_matches(['[', ']']) == *key
            || header.is_empty() && keys.contains(key)));
    }
}

/// What the default file says about a key contains what a problem with it would say.
#[test]
fn the_default_file_states_every_range() {
    for (header, keys) in TABLES {
        let table = table_of_default_file(header);
        for key in keys.iter().filter(|key| !key.contains("interface") || header.is_empty()) {
            let problems = problems(&format!("{header}\n{key} = 3.5\n"));
            let problem = problems.iter().find(|problem| problem.key().ends_with(key));
            let problem = problem.unwrap_or_else(|| panic!("{header} {key} accepts a float"));
            assert_eq!(problem.line(), Some(2));
            let (allowed, _) =
                problem.allowed().split_once(": ").unwrap_or_else(|| (problem.allowed(), ""));
            let comment = comment_of(key, &table);
            assert!(comment.contains(allowed), "{header} {key}: {allowed:?} not in {comment:?}");
        }
    }
}

/// The lines from the first `header` to the next table.
fn table_of_default_file(header: &str) -> Vec<&'static str> {
    let mut lines = Config::default_toml().lines();
    if !header.is_empty() {
        lines.find(|line| *line == header).unwrap_or_else(|| panic!("no {header}"));
    }
    lines.take_while(|line| !line.starts_with('[')).collect()
}

fn keys_shown_in(table: &[&str]) -> Vec<String> {
    let lines = table.iter().filter(|line| !line.starts_with("# "));
    lines.filter_map(|line| Some(line.split_once(" = ")?.0.to_owned())).collect()
}

/// The comment above `key` on one line.
fn comment_of(key: &str, table: &[&str]) -> String {
    let is_key = |line: &str| line.trim_start_matches('#').starts_with(&format!("{key} ="));
    let at = table.iter().position(|line| is_key(line)).unwrap_or_else(|| panic!("no {key}"));
    let above: Vec<&str> =
        table[..at].iter().rev().take_while(|line| line.starts_with("# ")).copied().collect();
    above.iter().rev().map(|line| &line[2..]).collect::<Vec<_>>().join(" ")
}
