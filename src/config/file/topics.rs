//! `[[topic]]` of a configuration file. Layer: config. Runs once, on the thread that loads the file.

use std::collections::HashMap;

use super::check_unique;
use crate::config::document::{List, Names, Section};
use crate::config::error::Fault;
use crate::config::settings::{MAX_TOPIC_RULES, Transport};
use crate::config::topics::TopicRule;
use crate::config::value::text;

pub(in crate::config) const TOPIC_KEYS: &[&str] = &["pattern", "template"];

/// The patterns used when a file has no `[[topic]]`; the templates carry the transports' names.
const BUILT_IN_TOPICS: [(&str, Transport); 3] = [
    (r"ipc\..*", Transport::Ipc),
    (r"unicast\..*", Transport::Unicast),
    (".*", Transport::Multicast),
];

/// Without the patterns whose template is not among `templates`.
fn built_in_topics(templates: &Names) -> Vec<TopicRule> {
    let rules = BUILT_IN_TOPICS.iter().filter_map(|(pattern, transport)| {
        let template = templates.position(transport.as_str())?;
        // Constants, which every test that builds a default configuration compiles.
        Some(TopicRule::new(pattern, template).expect("built-in pattern"))
    });
    rules.collect()
}

pub(super) fn read_topics(root: &Section<'_>, templates: &Names) -> Vec<TopicRule> {
    let sections = match root.list("topic", TOPIC_KEYS, MAX_TOPIC_RULES) {
        List::Tables(sections) => sections,
        list => {
            let rules = built_in_topics(templates);
            let is_lacking = rules.len() < BUILT_IN_TOPICS.len();
            if is_lacking && templates.complete && matches!(list, List::Absent) {
                let names = BUILT_IN_TOPICS.map(|(_, transport)| transport.as_str()).join(", ");
                root.fault(
                    "template",
                    Fault::TopicsNeeded,
                    format!("templates {names}, or [[topic]]"),
                );
            }
            return rules;
        }
    };
    let mut first_lines: HashMap<String, usize> = HashMap::new();
    let mut rules = Vec::with_capacity(sections.len());
    for section in &sections {
        let Some(rule) = read_topic(section, templates) else { continue };
        let allowed = "each pattern once: the first match wins";
        check_unique(&mut first_lines, section, "pattern", rule.pattern(), allowed);
        rules.push(rule);
    }
    rules
}

fn read_topic(section: &Section<'_>, templates: &Names) -> Option<TopicRule> {
    let template = section.reference("template", templates);
    if !section.has("template") && section.is_whole() {
        section.fault("template", Fault::Missing, templates.allowed());
    }
    section.require("pattern", "a regular expression for whole topic names", |value| {
        TopicRule::new(text(value)?, template.unwrap_or_default())
    })
}
