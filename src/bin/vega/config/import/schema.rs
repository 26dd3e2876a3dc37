//! What a configuration of BBVA Vega 3 says, by the schema that it ships. Layer: bin. Plain data, and
//! how it is read. The order of elements, on which that schema insists, does not matter here.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use super::xml::{Element, Located};

const NAMESPACE: &str = "http://www.bbva.com/vega/config";
const PORTS: std::ops::RangeInclusive<u16> = 1..=u16::MAX;
const COUNTS: std::ops::RangeInclusive<u32> = 1..=i32::MAX.cast_unsigned();
const MILLIS: std::ops::RangeInclusive<u64> = 1..=i64::MAX.cast_unsigned();

/// Everything of a file. What it leaves out has the defaults of that Vega.
#[derive(Debug)]
pub(super) struct Vega<'a> {
    pub(super) driver: Option<Located<&'static str>>,
    pub(super) driver_directory: Option<Located<&'a str>>,
    pub(super) driver_file: Option<Located<&'a str>>,
    pub(super) pollers: Vec<Poller<'a>>,
    pub(super) control: Option<Sockets<'a>>,
    pub(super) responses: Option<Responses<'a>>,
    pub(super) discovery: Option<Discovery<'a>>,
    pub(super) templates: Vec<Template<'a>>,
    pub(super) patterns: Vec<Pattern<'a>>,
    pub(super) secured: Vec<Secured<'a>>,
}

#[derive(Debug)]
pub(super) struct Poller<'a> {
    pub(super) name: Located<&'a str>,
    pub(super) idle: Option<Idle>,
    pub(super) sleep_nanos: Option<Located<u64>>,
    pub(super) max_fragments: Option<Located<u32>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Idle {
    BusySpin,
    BackOff,
    Sleep,
}

/// Where something listens.
#[derive(Debug)]
pub(super) struct Sockets<'a> {
    pub(super) ports: Ports,
    pub(super) streams: Option<Located<u32>>,
    pub(super) subnet: Option<Located<&'a str>>,
}

/// Both ends belong to the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) min: u16,
    pub(super) max: u16,
    /// The file names at least one of them.
    pub(super) is_given: bool,
}

#[derive(Debug)]
pub(super) struct Responses<'a> {
    pub(super) sockets: Sockets<'a>,
    pub(super) poller: Option<Located<&'a str>>,
}

#[derive(Debug)]
pub(super) struct Discovery<'a> {
    pub(super) kind: Option<Located<DiscoveryKind>>,
    pub(super) refresh_ms: Option<Located<u64>>,
    pub(super) timeout_ms: Option<Located<u64>>,
    /// Address and port of each.
    pub(super) daemons: Vec<(Located<&'a str>, Option<Located<u16>>)>,
    /// What that Vega accepts and does not look at.
    pub(super) ignored: Vec<Located<&'static str>>,
    pub(super) daemon_ports: Ports,
    pub(super) daemon_streams: Option<Located<u32>>,
    pub(super) address: Option<Located<&'a str>>,
    pub(super) port: Option<Located<u16>>,
    pub(super) subnet: Option<Located<&'a str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DiscoveryKind {
    Multicast,
    Daemon,
}

#[derive(Debug)]
pub(super) struct Template<'a> {
    pub(super) name: Located<&'a str>,
    pub(super) transport: Option<Transport>,
    pub(super) poller: Option<Located<&'a str>>,
    pub(super) sockets: Sockets<'a>,
    pub(super) low: Option<Located<&'a str>>,
    pub(super) high: Option<Located<&'a str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Unicast,
    Multicast,
    Ipc,
}

#[derive(Debug)]
pub(super) struct Pattern<'a> {
    pub(super) pattern: Located<&'a str>,
    pub(super) template: Located<&'a str>,
}

/// Topics that are encrypted there.
#[derive(Debug)]
pub(super) struct Secured<'a> {
    pub(super) pattern: Located<&'a str>,
    /// Security ids of those that may publish, and of those that may subscribe.
    pub(super) publishers: Vec<i32>,
    pub(super) subscribers: Vec<i32>,
}

impl<'a> Vega<'a> {
    /// Reads the root; what is wrong is noted there, and left out here.
    pub(super) fn read(root: Element<'a>) -> Self {
        if root.name() != "vega_config" || root.namespace() != Some(NAMESPACE) {
            let (name, namespace) = (root.name(), root.namespace().unwrap_or_default());
            root.fault(format!(
                "this is no Vega configuration: <{name}> of the namespace {namespace:?} (expected: \
                 <vega_config> of {NAMESPACE:?})"
            ));
        } else {
            root.only(
                &[],
                &[
                    "driver_type",
                    "external_driver_directory",
                    "embedded_driver_config_file",
                    "rcv_poller_config",
                    "control_rcv_config",
                    "responses_config",
                    "autodisc_config",
                    "topic_template",
                    "topic_pattern",
                    "topic_security_template",
                    "topic_security_pattern",
                ],
            );
            return Self::read_children(root);
        }
        Self {
            driver: None,
            driver_directory: None,
            driver_file: None,
            pollers: Vec::new(),
            control: None,
            responses: None,
            discovery: None,
            templates: Vec::new(),
            patterns: Vec::new(),
            secured: Vec::new(),
        }
    }

    fn read_children(root: Element<'a>) -> Self {
        const DRIVERS: [(&str, &str); 4] = [
            ("EXTERNAL", "EXTERNAL"),
            ("EMBEDDED", "EMBEDDED"),
            ("LOWLATENCY_EMBEDDED", "LOWLATENCY_EMBEDDED"),
            ("BACK_OFF_EMBEDDED", "BACK_OFF_EMBEDDED"),
        ];
        let pollers = root.some("rcv_poller_config");
        let names = unique(&pollers, "name");
        let templates = root.some("topic_template");
        let template_names = unique(&templates, "name");
        let patterns = root.some("topic_pattern");
        unique(&patterns, "pattern");
        Self {
            driver: root.choice("driver_type", &DRIVERS),
            driver_directory: root.text_of("external_driver_directory"),
            driver_file: root.text_of("embedded_driver_config_file"),
            pollers: pollers.into_iter().filter_map(Poller::read).collect(),
            control: root.one("control_rcv_config").map(|element| {
                element.only(&[], &["min_port", "max_port", "num_streams", "subnet"]);
                Sockets::read(element, "num_streams", (35_010, 35_011))
            }),
            responses: root.required("responses_config").map(|it| Responses::read(it, &names)),
            discovery: root.required("autodisc_config").map(Discovery::read),
            templates: templates.into_iter().filter_map(|it| Template::read(it, &names)).collect(),
            patterns: patterns
                .into_iter()
                .filter_map(|it| Pattern::read(it, "topic_template", &template_names))
                .collect(),
            secured: Secured::read_all(root),
        }
    }
}

/// The values of an attribute that is there once in each element, and their lines; one that is there
/// twice is a fault.
fn unique<'a>(elements: &[Element<'a>], attribute: &str) -> HashMap<&'a str, u32> {
    let mut lines = HashMap::new();
    for element in elements {
        let Some(Located { value, line }) = element.attribute(attribute) else { continue };
        if let Some(first) = lines.get(value) {
            let name = element.name();
            element.fault(format!(
                "<{name}> {attribute} {value:?} is there twice (the first: line {first})"
            ));
        } else {
            lines.insert(value, line);
        }
    }
    lines
}

/// The name in the element `rcv_poller`, if there is a poller of this name.
fn poller<'a>(element: Element<'a>, names: &HashMap<&str, u32>) -> Option<Located<&'a str>> {
    let child = element.required("rcv_poller")?;
    let name = child.text()?;
    if names.contains_key(name.value) {
        return Some(name);
    }
    child.fault(format!("there is no <rcv_poller_config> of the name {:?}", name.value));
    None
}

impl<'a> Poller<'a> {
    fn read(element: Element<'a>) -> Option<Self> {
        const KINDS: [(&str, Idle); 3] = [
            ("BUSY_SPIN", Idle::BusySpin),
            ("BACK_OFF", Idle::BackOff),
            ("SLEEP_NANOS", Idle::Sleep),
        ];
        const SLEEP: &str = "idleStrategy_sleep_nanos";
        element.only(&["name"], &["idle_strategy_type", SLEEP, "max_fragments_per_poll"]);
        let idle = element.choice("idle_strategy_type", &KINDS).map(|idle| idle.value);
        if idle == Some(Idle::Sleep) && element.one(SLEEP).is_none() {
            element.fault(format!("SLEEP_NANOS needs an element <{SLEEP}>"));
        }
        Some(Self {
            // That it is missing has been noted.
            name: element.attribute_if_any("name")?,
            idle,
            sleep_nanos: element.number(SLEEP, &(0..=i64::MAX.cast_unsigned())),
            max_fragments: element.number("max_fragments_per_poll", &COUNTS),
        })
    }
}

impl<'a> Sockets<'a> {
    fn read(element: Element<'a>, streams: &str, default: (u16, u16)) -> Self {
        Self {
            ports: Ports::read(element, "min_port", "max_port", default),
            streams: element.number(streams, &COUNTS),
            subnet: element.text_of("subnet").filter(|subnet| {
                let is_good = is_subnet(subnet.value);
                if !is_good {
                    element.fault_at(
                        subnet.line,
                        format!(
                            "<subnet> is neither an IPv4 address nor one with a prefix: {:?}",
                            subnet.value
                        ),
                    );
                }
                is_good
            }),
        }
    }
}

impl Ports {
    fn read(element: Element<'_>, min: &str, max: &str, default: (u16, u16)) -> Self {
        let (low, high) = (element.number(min, &PORTS), element.number(max, &PORTS));
        let ports = Self {
            min: low.map_or(default.0, |port| port.value),
            max: high.map_or(default.1, |port| port.value),
            is_given: low.is_some() || high.is_some(),
        };
        if ports.min > ports.max {
            let of =
                |found: Option<Located<u16>>| if found.is_some() { "" } else { ", the default" };
            element.fault(format!(
                "<{min}> {}{} is above <{max}> {}{}",
                ports.min,
                of(low),
                ports.max,
                of(high)
            ));
        }
        ports
    }
}

fn is_subnet(text: &str) -> bool {
    let (address, prefix) = text.split_once('/').unwrap_or((text, "32"));
    address.parse::<Ipv4Addr>().is_ok() && prefix.parse::<u8>().is_ok_and(|bits| bits <= 32)
}

/// The multicast group in the element of this name, if it is there.
fn group<'a>(element: Element<'a>, name: &str) -> Option<Located<&'a str>> {
    let found = element.text_of(name)?;
    if address(Some(found)).is_none_or(|(group, _)| !group.is_multicast()) {
        let text = found.value;
        element.fault_at(found.line, format!(
            "<{name}> is no IPv4 multicast address: {text:?} (allowed: 224.0.0.0 to 239.255.255.255)"
        ));
        return None;
    }
    Some(found)
}

fn address(found: Option<Located<&str>>) -> Option<(Ipv4Addr, u32)> {
    found.and_then(|found| Some((found.value.parse().ok()?, found.line)))
}

impl<'a> Responses<'a> {
    fn read(element: Element<'a>, names: &HashMap<&str, u32>) -> Self {
        element.only(&[], &["min_port", "max_port", "num_streams", "rcv_poller", "subnet"]);
        Self {
            sockets: Sockets::read(element, "num_streams", (35_004, 35_005)),
            poller: poller(element, names),
        }
    }
}

impl<'a> Discovery<'a> {
    fn read(element: Element<'a>) -> Self {
        const KINDS: [(&str, DiscoveryKind); 2] =
            [("UNICAST_DAEMON", DiscoveryKind::Daemon), ("MULTICAST", DiscoveryKind::Multicast)];
        const DAEMON: [&str; 2] = ["resolver_daemon_address", "resolver_daemon_port"];
        element.only(
            &[],
            &[
                "autodisc_type",
                "refresh_interval",
                "timeout",
                DAEMON[0],
                DAEMON[1],
                "unicast_info",
                "unicast_resolver_port_min",
                "unicast_resolver_port_max",
                "unicast_resolver_num_streams",
                "multicast_address",
                "multicast_port",
                "subnet",
            ],
        );
        let daemon = |info: Element<'a>| {
            info.only(&[], &DAEMON);
            let address = info.required(DAEMON[0])?.text()?;
            Some((address, info.number(DAEMON[1], &PORTS)))
        };
        let kind = element.choice("autodisc_type", &KINDS);
        let daemons: Vec<_> = element.all("unicast_info").filter_map(daemon).collect();
        let is_daemon = kind.is_some_and(|kind| kind.value == DiscoveryKind::Daemon);
        if is_daemon && element.all("unicast_info").next().is_none() {
            element.fault("UNICAST_DAEMON needs an element <unicast_info> for each daemon");
        }
        let sockets = Sockets::read(element, "unicast_resolver_num_streams", (0, 0));
        Self {
            kind,
            refresh_ms: element.number("refresh_interval", &MILLIS),
            timeout_ms: element.number("timeout", &MILLIS),
            daemons,
            ignored: DAEMON
                .into_iter()
                .filter_map(|name| Some(Located { value: name, line: element.one(name)?.line() }))
                .collect(),
            daemon_ports: Ports::read(
                element,
                "unicast_resolver_port_min",
                "unicast_resolver_port_max",
                (35_002, 35_003),
            ),
            daemon_streams: sockets.streams,
            address: group(element, "multicast_address"),
            port: element.number("multicast_port", &PORTS),
            subnet: sockets.subnet,
        }
    }
}

impl<'a> Template<'a> {
    fn read(element: Element<'a>, pollers: &HashMap<&str, u32>) -> Option<Self> {
        const KINDS: [(&str, Transport); 3] = [
            ("UNICAST", Transport::Unicast),
            ("MULTICAST", Transport::Multicast),
            ("IPC", Transport::Ipc),
        ];
        const GROUPS: [&str; 2] = ["multicast_address_low", "multicast_address_high"];
        element.only(
            &["name"],
            &[
                "transport_type",
                "rcv_poller",
                "min_port",
                "max_port",
                "num_streams_per_port",
                GROUPS[0],
                GROUPS[1],
                "subnet",
            ],
        );
        let transport = element.choice("transport_type", &KINDS).map(|kind| kind.value);
        let ports = match transport {
            Some(Transport::Multicast) => (35_006, 35_007),
            _ => (35_008, 35_009),
        };
        let [low, high] = GROUPS.map(|name| group(element, name));
        if let (Some((low, from)), Some((high, to))) = (address(low), address(high))
            && low > high
        {
            element.fault_at(
                from,
                format!("<{}> {low} is above <{}> {high}, line {to}", GROUPS[0], GROUPS[1]),
            );
        }
        Some(Self {
            // That it is missing has been noted.
            name: element.attribute_if_any("name")?,
            transport,
            poller: poller(element, pollers),
            sockets: Sockets::read(element, "num_streams_per_port", ports),
            low,
            high,
        })
    }
}

impl<'a> Pattern<'a> {
    fn read(element: Element<'a>, of: &str, templates: &HashMap<&str, u32>) -> Option<Self> {
        element.only(&["pattern", "template"], &[]);
        let template = element.attribute("template");
        if let Some(template) = template
            && !templates.contains_key(template.value)
        {
            element.fault(format!("there is no <{of}> of the name {:?}", template.value));
        }
        // That it is missing has been noted.
        Some(Self { pattern: element.attribute_if_any("pattern")?, template: template? })
    }
}

impl<'a> Secured<'a> {
    fn read_all(root: Element<'a>) -> Vec<Self> {
        let templates: Vec<_> = root.all("topic_security_template").collect();
        let names = unique(&templates, "name");
        let mut ids = HashMap::new();
        for element in templates {
            element.only(&["name"], &["control_msg_interval", "pub_sec_id", "sub_sec_id"]);
            element.number("control_msg_interval", &MILLIS);
            let [publishers, subscribers] =
                ["pub_sec_id", "sub_sec_id"].map(|name| security_ids(element, name));
            if let Some(name) = element.attribute_if_any("name") {
                ids.insert(name.value, (publishers, subscribers));
            }
        }
        let patterns: Vec<_> = root.all("topic_security_pattern").collect();
        unique(&patterns, "pattern");
        let read = |element| {
            let Pattern { pattern, template } =
                Pattern::read(element, "topic_security_template", &names)?;
            let (publishers, subscribers) = ids.get(template.value)?.clone();
            Some(Self { pattern, publishers, subscribers })
        };
        patterns.into_iter().filter_map(read).collect()
    }
}

fn security_ids(element: Element<'_>, name: &str) -> Vec<i32> {
    let read = |child: Element<'_>| {
        let text = child.text()?;
        let id = text.value.parse().ok();
        if id.is_none() {
            child.fault(format!("<{name}> is no whole number: {:?}", text.value));
        }
        id
    };
    element.some(name).into_iter().filter_map(read).collect()
}
