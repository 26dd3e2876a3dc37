//! From a configuration of BBVA Vega to ours, with a comment wherever the two differ. Layer: bin.
//!
//! What our configuration allows is not repeated here: each value is put to [`vega::Config`] by
//! itself, and one that is refused becomes a comment that says why.

use std::collections::HashMap;

use super::schema::{
    Discovery, DiscoveryKind, Idle, Pattern, Poller, Ports, Secured, Sockets, Template, Transport,
    Vega,
};
use super::sheet::{Section, Sheet, accepted, is_accepted};
use super::xml::{Faults, Located, Remark};

/// Where each instance has a port of its own, a narrower range is widened to so many: two, which are
/// plenty where sockets are shared, would be two instances per host.
const EXCLUSIVE_PORTS: u16 = 64;
/// The interface that Vega takes when there is no `<subnet>`: the first that is up and not loopback.
const ANY_NETWORK: &str = "0.0.0.0/0";
/// The first and last group of a Vega template, and group and port of its discovery.
const GROUPS: (&str, &str) = ("225.0.0.9", "225.0.0.20");
const DISCOVERY: (&str, u16) = ("225.0.0.1", 35_000);
/// Refresh and timeout of Vega's discovery, in milliseconds.
const TIMES: (u64, u64) = (1_000, 10_000);
const STREAMS: u32 = 10;

/// A configuration of ours, and what its user must know.
#[derive(Debug)]
pub(super) struct Translation {
    pub(super) toml: String,
    /// What is lost in translation, and matters.
    pub(super) warnings: Vec<Remark>,
}

/// Writes a configuration that does what `vega` does. What cannot be expressed at all is a fault.
pub(super) fn translate(vega: &Vega<'_>, faults: &Faults) -> Translation {
    let mut sheet = Sheet::new();
    let mut warnings = Vec::new();
    sheet.comment(
        "Imported from an XML configuration of BBVA Vega. \"Not imported\" marks what has no \
         counterpart here, and says why; the numbers of lines are those of the XML.",
    );
    let interface = vega.discovery.as_ref().and_then(|discovery| discovery.subnet);
    driver(&mut sheet, vega);
    let general = interface_of(interface).to_owned();
    sheet.blank();
    if interface.is_none() {
        sheet.comment(
            "Without a <subnet>, Vega takes the first interface that is up and not loopback: so does \
             this.",
        );
    }
    sheet.key("interface", general.as_str());
    let pollers = pollers(&mut sheet, &vega.pollers);
    let context = Context { general: &general, pollers: &pollers };
    if let Some(responses) = &vega.responses {
        let mut section = Section::table("responses");
        context.poller(&mut section, responses.poller);
        context.exclusive(&mut section, &responses.sockets, responses.sockets.ports.is_given);
        context.streams(&mut section, responses.sockets.streams);
        sheet.section(section);
    }
    if let Some(control) = &vega.control {
        let mut section = Section::table("control");
        section.comment(
            "Vega exchanges keys on these ports; here, instances ask each other for what they missed.",
        );
        context.exclusive(&mut section, control, control.ports.is_given);
        if let Some(streams) = control.streams {
            not_imported(&mut section, "num_streams", streams, "control packets have no streams");
        }
        sheet.section(section);
    }
    if let Some(found) = &vega.discovery {
        discovery(&mut sheet, found, &mut warnings);
    }
    let mut names = Names::default();
    for template in &vega.templates {
        context.template(&mut sheet, template, &mut names);
    }
    for pattern in &vega.patterns {
        topic(&mut sheet, pattern, &names, faults);
    }
    for secured in &vega.secured {
        security(&mut sheet, secured, &mut warnings);
    }
    Translation { toml: sheet.finish(), warnings }
}

/// Names of the file, as ours may be written.
#[derive(Debug, Default)]
struct Names(HashMap<String, String>);

impl Names {
    /// The name to use for a new one, which is the old one wherever that is allowed.
    fn take(&mut self, table: &str, name: &str) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
        let mut wanted: String = name.chars().map(plain).collect();
        while wanted.is_empty() || !is_accepted(&Section::list(table).with("name", wanted.as_str()))
        {
            // Only the length can be wrong.
            wanted = if wanted.is_empty() {
                "_".to_owned()
            } else {
                wanted[..wanted.len() - 1].to_owned()
            };
        }
        let mut taken = wanted.clone();
        for number in 2.. {
            if !self.0.values().any(|other| *other == taken) {
                break;
            }
            let suffix = format!("-{number}");
            let kept = wanted.len().min(64 - suffix.len());
            taken = format!("{}{suffix}", &wanted[..kept]);
        }
        self.0.insert(name.to_owned(), taken.clone());
        taken
    }

    fn get<'a>(&'a self, name: &'a str) -> &'a str {
        self.0.get(name).map_or(name, String::as_str)
    }
}

/// What sections refer to.
struct Context<'a> {
    /// The interface at the top of the file.
    general: &'a str,
    pollers: &'a Names,
}

fn not_imported<T: std::fmt::Display>(
    section: &mut Section,
    name: &str,
    found: Located<T>,
    why: &str,
) {
    section.comment(&format!("Not imported: {name} {} (line {}): {why}.", found.value, found.line));
}

fn driver(sheet: &mut Sheet, vega: &Vega<'_>) {
    let Some(kind) = vega.driver else { return };
    let files = [
        ("external_driver_directory", vega.driver_directory),
        ("embedded_driver_config_file", vega.driver_file),
    ];
    let files: String = files
        .into_iter()
        .filter_map(|(name, file)| Some((name, file?)))
        .map(|(name, file)| format!(", {name} {:?} (line {})", file.value, file.line))
        .collect();
    sheet.blank();
    sheet.comment(&format!(
        "Not imported: driver_type {} (line {}){files}: there is no media driver. Each instance has \
         its own threads; how they wait is the \"idle\" of their pollers.",
        kind.value, kind.line
    ));
}

fn pollers(sheet: &mut Sheet, all: &[Poller<'_>]) -> Names {
    let mut names = Names::default();
    for poller in all {
        let mut section = Section::list("poller");
        name(&mut section, &mut names, "poller", poller.name);
        let idle = match poller.idle {
            Some(Idle::BusySpin) => "busy_spin",
            Some(Idle::Sleep) => "sleep",
            Some(Idle::BackOff) | None => "backoff",
        };
        section.key("idle", idle);
        match poller.sleep_nanos {
            Some(nanos) if poller.idle == Some(Idle::Sleep) => {
                section.offer(
                    "sleep",
                    format!("{}ns", nanos.value),
                    "idleStrategy_sleep_nanos",
                    nanos,
                );
            }
            Some(nanos) => {
                let why = "only SLEEP_NANOS sleeps";
                not_imported(&mut section, "idleStrategy_sleep_nanos", nanos, why);
            }
            None => {}
        }
        if let Some(fragments) = poller.max_fragments {
            let why = "a poller takes what has arrived, socket by socket in turns";
            not_imported(&mut section, "max_fragments_per_poll", fragments, why);
        }
        sheet.section(section);
    }
    names
}

fn name(section: &mut Section, names: &mut Names, table: &str, found: Located<&str>) {
    let name = names.take(table, found.value);
    if name != found.value {
        section.comment(&format!("{:?} in the XML, line {}.", found.value, found.line));
    }
    section.key("name", name.as_str());
}

fn interface_of(subnet: Option<Located<&str>>) -> &str {
    subnet.map_or(ANY_NETWORK, |subnet| subnet.value)
}

impl Context<'_> {
    fn poller(&self, section: &mut Section, poller: Option<Located<&str>>) {
        if let Some(poller) = poller {
            section.key("poller", self.pollers.get(poller.value));
        }
    }

    fn interface(&self, section: &mut Section, subnet: Option<Located<&str>>) {
        let interface = interface_of(subnet);
        if interface != self.general {
            section.key("interface", interface);
        }
    }

    fn streams(&self, section: &mut Section, streams: Option<Located<u32>>) {
        let count = streams.map_or(STREAMS, |streams| streams.value);
        section.key("streams", format!("1-{count}"));
    }

    /// Ports of which each instance takes one for itself.
    fn exclusive(&self, section: &mut Section, sockets: &Sockets<'_>, is_given: bool) {
        self.interface(section, sockets.subnet);
        // Our own default begins where that of Vega does, and is wide enough.
        if !is_given {
            return;
        }
        let Ports { min, max, .. } = sockets.ports;
        let wide = min.saturating_add(EXCLUSIVE_PORTS - 1).max(max);
        if wide > max {
            section.comment(&format!(
                "{min} to {max} in the XML. Instances do not share these ports: the range bounds how \
                 many fit on a host, and is widened. It may overlap others; a firewall has to know."
            ));
        }
        section.key("ports", format!("{min}-{wide}"));
    }

    fn template(&self, sheet: &mut Sheet, template: &Template<'_>, names: &mut Names) {
        let mut section = Section::list("template");
        name(&mut section, names, "template", template.name);
        let Some(transport) = template.transport else { return };
        section.key(
            "transport",
            match transport {
                Transport::Unicast => "unicast",
                Transport::Multicast => "multicast",
                Transport::Ipc => "ipc",
            },
        );
        self.poller(&mut section, template.poller);
        let Sockets { ports, streams, subnet } = &template.sockets;
        match transport {
            Transport::Multicast => {
                self.interface(&mut section, *subnet);
                section.key("ports", format!("{}-{}", ports.min, ports.max));
                self.streams(&mut section, *streams);
                groups(&mut section, template);
            }
            Transport::Unicast => {
                self.exclusive(&mut section, &template.sockets, true);
                self.streams(&mut section, *streams);
                for (name, group) in [
                    ("multicast_address_low", template.low),
                    ("multicast_address_high", template.high),
                ] {
                    if let Some(group) = group {
                        not_imported(&mut section, name, group, "unicast has no groups");
                    }
                }
            }
            Transport::Ipc => {
                let left = [
                    ports.is_given.then(|| format!("ports {} to {}", ports.min, ports.max)),
                    streams.map(|it| format!("num_streams_per_port {}", it.value)),
                    template.low.map(|it| format!("multicast_address_low {}", it.value)),
                    template.high.map(|it| format!("multicast_address_high {}", it.value)),
                    subnet.map(|it| format!("subnet {}", it.value)),
                ];
                let left: Vec<_> = left.into_iter().flatten().collect();
                if !left.is_empty() {
                    section.comment(&format!(
                        "Not imported: {}: each publisher has a ring of its own in shared memory.",
                        left.join(", ")
                    ));
                }
            }
        }
        sheet.section(section);
    }
}

fn groups(section: &mut Section, template: &Template<'_>) {
    let of = |found: Option<Located<&str>>, default: &str| {
        found.map_or(default, |found| found.value).to_owned()
    };
    let range = format!("{}-{}", of(template.low, GROUPS.0), of(template.high, GROUPS.1));
    section.comment(
        "Vega uses the odd addresses of this range, and the even ones for control packets of its \
         driver; here topics spread over all of them.",
    );
    let line = template.low.or(template.high).map_or(template.name.line, |found| found.line);
    let found = Located { value: range.as_str(), line };
    section.offer("addresses", range.clone(), "multicast_address_low and _high", found);
}

fn discovery(sheet: &mut Sheet, found: &Discovery<'_>, warnings: &mut Vec<Remark>) {
    let mut section = Section::table("discovery");
    let is_daemon = found.kind.is_some_and(|kind| kind.value == DiscoveryKind::Daemon);
    if is_daemon {
        daemons(&mut section, found, warnings);
    } else {
        let address = found.address.map_or(DISCOVERY.0, |address| address.value);
        let line = found.address.map_or(0, |address| address.line);
        let origin = Located { value: address, line };
        section.offer("address", address.to_owned(), "multicast_address", origin);
        section.number("port", found.port.map_or(DISCOVERY.1, |port| port.value));
        for (address, _) in &found.daemons {
            let why = "Vega does not ask daemons either when it uses multicast";
            not_imported(&mut section, "unicast_info", *address, why);
        }
    }
    for ignored in &found.ignored {
        section.comment(&format!(
            "Not imported: {} (line {}): Vega ignores it, too, outside of <unicast_info>.",
            ignored.value, ignored.line
        ));
    }
    let Ports { min, max, is_given } = found.daemon_ports;
    if is_given || found.daemon_streams.is_some() {
        let streams = found.daemon_streams.map_or(STREAMS, |streams| streams.value);
        section.comment(&format!(
            "Not imported: unicast_resolver ports {min} to {max} and {streams} streams: discovery is \
             received by the sockets of the group and of [control]."
        ));
    }
    times(&mut section, found);
    sheet.section(section);
}

fn daemons(section: &mut Section, found: &Discovery<'_>, warnings: &mut Vec<Remark>) {
    let all: toml_edit::Array = found
        .daemons
        .iter()
        .map(|(address, port)| match port {
            Some(port) => format!("{}:{}", address.value, port.value),
            None => address.value.to_owned(),
        })
        .collect();
    let wanted = section.clone().with("kind", "daemon").with("daemons", all.clone());
    let listed = all.to_string();
    match accepted(&wanted) {
        Ok(()) => *section = wanted,
        Err(why) => {
            let what = format!("UNICAST_DAEMON with {listed}");
            section.comment(&format!(
                "Not imported: {what}: {why}. Instances find each other by multicast: the network \
                 between the hosts has to carry the group."
            ));
            let line = found.kind.map(|kind| kind.line);
            let message = format!("{what} is not imported: {why}");
            warnings.push(Remark { line, message });
        }
    }
}

/// Refresh and timeout, if they are allowed, also together.
fn times(section: &mut Section, found: &Discovery<'_>) {
    let (refresh, timeout) = (found.refresh_ms, found.timeout_ms);
    let ms = |found: Option<Located<u64>>, default| found.map_or(default, |found| found.value);
    let pair = [("refresh", ms(refresh, TIMES.0)), ("timeout", ms(timeout, TIMES.1))];
    let both = pair.iter().fold(Section::table("discovery"), |section, (key, ms)| {
        section.with(key, format!("{ms}ms"))
    });
    match accepted(&both) {
        Ok(()) => {
            for (key, ms) in pair {
                section.key(key, format!("{ms}ms"));
            }
        }
        Err(why) => section.comment(&format!(
            "Not imported: refresh_interval {} ms and timeout {} ms (line {}): {why}. The defaults \
             apply.",
            pair[0].1,
            pair[1].1,
            refresh.or(timeout).map_or(0, |found| found.line)
        )),
    }
}

fn topic(sheet: &mut Sheet, found: &Pattern<'_>, templates: &Names, faults: &Faults) {
    let pattern = unquoted(found.pattern.value);
    let line = Some(found.pattern.line);
    if let Some((what, found_text)) = other_meaning(&pattern) {
        faults.note(line, format!(
            "<topic_pattern> {:?}: {what} {found_text:?} of Java has no counterpart: write a pattern that \
             matches the same names without it",
            found.pattern.value
        ));
        return;
    }
    if let Err(why) = accepted(&Section::list("topic").with("pattern", pattern.as_str())) {
        faults.note(
            line,
            format!(
                "<topic_pattern> {:?} is a pattern of Java that has no counterpart: {why}",
                found.pattern.value
            ),
        );
        return;
    }
    let mut section = Section::list("topic");
    section.key("pattern", pattern.as_str());
    section.key("template", templates.get(found.template.value));
    sheet.section(section);
}

/// A pattern with the text between `\Q` and `\E`, which only Java has, escaped.
fn unquoted(pattern: &str) -> String {
    let mut plain = String::new();
    let mut rest = pattern;
    while let Some((before, quoted)) = rest.split_once(r"\Q") {
        let (text, after) = quoted.split_once(r"\E").unwrap_or((quoted, ""));
        plain.push_str(before);
        for c in text.chars() {
            if c.is_ascii_punctuation() {
                plain.push('\\');
            }
            plain.push(c);
        }
        rest = after;
    }
    plain + rest
}

/// The first thing in a pattern that would mean something else here, and what Java calls it: a
/// possessive repetition would be a repetition of a repetition, and two characters in a class would
/// subtract.
fn other_meaning(pattern: &str) -> Option<(&'static str, String)> {
    let (mut escaped, mut in_class, mut is_name) = (false, 0_u32, false);
    let mut before = None;
    let mut last = '\0';
    for c in pattern.chars() {
        // The braces of `\p{Alpha}` and `\x{41}` repeat nothing.
        is_name |= c == '{' && before == Some('\\');
        let repeats = !escaped && in_class == 0 && "*+?}".contains(c) && !is_name;
        match (before, c) {
            (Some(before @ ('*' | '+' | '?' | '}')), '+') if repeats => {
                return Some(("a possessive", format!("{before}+")));
            }
            (_, '-' | '~') if in_class > 0 && !escaped && last == c => {
                return Some(("a class with", format!("{c}{c}")));
            }
            (_, '[') if !escaped => in_class += 1,
            (_, ']') if !escaped => in_class = in_class.saturating_sub(1),
            _ => {}
        }
        is_name &= c != '}';
        before = match c {
            'p' | 'P' | 'x' | 'N' if escaped => Some('\\'),
            _ => repeats.then_some(c),
        };
        last = if escaped { '\0' } else { c };
        escaped = c == '\\' && !escaped;
    }
    None
}

fn security(sheet: &mut Sheet, secured: &Secured<'_>, warnings: &mut Vec<Remark>) {
    let Secured { pattern, publishers, subscribers } = secured;
    let what = format!("topic_security_pattern {:?}", pattern.value);
    let why = "there is no encryption and no authentication here: these topics travel in clear, and \
               whoever reaches their ports can publish";
    sheet.blank();
    sheet.comment(&format!(
        "Not imported: {what} (line {}), publishers {publishers:?}, subscribers {subscribers:?}: {why}.",
        pattern.line
    ));
    warnings.push(Remark {
        line: Some(pattern.line),
        message: format!("{what} is not imported: {why}"),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_text_of_java_patterns_is_escaped() {
        assert_eq!(unquoted(r"a.*"), "a.*");
        assert_eq!(unquoted(r"\Qa.b\E.*"), r"a\.b.*");
        assert_eq!(unquoted(r"x\Q*+"), r"x\*\+");
    }

    #[test]
    fn what_means_something_else_here_is_told_from_what_does_not() {
        for (pattern, found) in [
            (r"a++", Some("++")),
            (r".*+b", Some("*+")),
            (r"a{2}+", Some("}+")),
            (r"\p{L}++", Some("++")),
            (r"\p{L}{2}+", Some("}+")),
            (r"[+--]", Some("--")),
            (r"[a~~b]", Some("~~")),
            (r"a+", None),
            (r"\++", None),
            (r"[*+]+", None),
            (r"a\\++", Some("++")),
            (r"\p{Alpha}+", None),
            (r"\x{41}+", None),
            (r"a--b~~", None),
            (r"[\--~]", None),
        ] {
            let told = other_meaning(pattern).map(|(_, found)| found);
            assert_eq!(told.as_deref(), found, "{pattern}");
        }
    }

    #[test]
    fn names_become_what_is_allowed_and_stay_apart() {
        let mut names = Names::default();
        assert_eq!(names.take("poller", "poller1"), "poller1");
        assert_eq!(names.take("poller", "my poller"), "my_poller");
        assert_eq!(names.take("poller", "my_poller"), "my_poller-2");
        assert_eq!(names.take("poller", ""), "_");
        let long = names.take("poller", &"x".repeat(100));
        assert_eq!(long.len(), 64);
        let other = names.take("poller", &"x".repeat(101));
        assert!(other.ends_with("-2") && other.len() == 64, "{other}");
        assert_eq!(names.get("my poller"), "my_poller");
    }
}
