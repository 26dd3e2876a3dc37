//! A configuration file from the outside: what is accepted, and every way of being wrong. Tests.

use std::fs;
use std::net::Ipv4Addr;
use std::sync::LazyLock;
use std::time::Duration;

use proptest::prelude::*;

use super::file::{
    CONTROL_KEYS, DISCOVERY_KEYS, FAULT_KEYS, IPC_KEYS, LIMITS_KEYS, POLLER_KEYS, RESPONSES_KEYS,
    ROOT_KEYS, TEMPLATE_KEYS, TOPIC_KEYS, template_keys,
};
use super::range::{AddressRange, PortRange, StreamRange};
use super::*;

/// Each table: its header and the keys of it that are values.
const TABLES: [(&str, &[&str]); 10] = [
    ("", &["interface"]),
    ("[[poller]]", POLLER_KEYS),
    ("[responses]", RESPONSES_KEYS),
    ("[control]", CONTROL_KEYS),
    ("[discovery]", DISCOVERY_KEYS),
    ("[ipc]", IPC_KEYS),
    ("[limits]", LIMITS_KEYS),
    ("[fault]", FAULT_KEYS),
    ("[[template]]", TEMPLATE_KEYS),
    ("[[topic]]", TOPIC_KEYS),
];

fn parse(text: &str) -> Config {
    Config::parse(text).unwrap_or_else(|error| panic!("{error}"))
}

fn problems(text: &str) -> Vec<Problem> {
    Config::parse(text).expect_err(text).problems().to_vec()
}

/// The only problem of `text`, as it is displayed.
fn problem(text: &str) -> String {
    let problems = problems(text);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    problems[0].to_string()
}

#[test]
fn an_empty_file_is_the_default() {
    for text in ["", "# nothing\n", "\u{feff}", "[discovery]\n[limits]\n[ipc]\n"] {
        assert_eq!(Config::parse(text), Ok(Config::default()), "{text:?}");
    }
}

#[test]
fn the_default_file_is_the_default() {
    assert_eq!(parse(Config::default_toml()), Config::default());
}

/// Keys with a default of their own are written out, so that the test above compares them.
#[test]
fn the_default_file_shows_every_key() {
    const WITHOUT_VALUE: [&str; 3] = ["#interface", "#sleep", "#core"];
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

#[test]
fn one_interface_serves_all() {
    let config = parse("interface = '10.1.0.0/16'\n[control]\ninterface = 'eth0'\n");
    let subnet = InterfaceSpec::Subnet { network: Ipv4Addr::new(10, 1, 0, 0), prefix: 16 };
    assert_eq!(config.discovery.interface, subnet);
    assert_eq!(config.responses.interface, subnet);
    assert_eq!(config.control.interface, InterfaceSpec::Name("eth0".to_owned()));
    assert!(config.templates.iter().filter_map(Template::udp).all(|udp| udp.interface == subnet));
}

#[test]
fn keys_override_one_by_one() {
    let config = parse("[discovery]\nttl = 4\nrefresh = '2s'\n[limits]\nmax_peers = 7\n");
    let default = Config::default();
    let refresh = Duration::from_secs(2);
    assert_eq!(config.discovery, DiscoveryConfig { ttl: 4, refresh, ..default.discovery });
    assert_eq!(config.limits, LimitsConfig { max_peers: 7, ..default.limits });
    assert_eq!(config.templates, default.templates);
}

#[test]
fn faults_are_off_until_something_is_asked_for() {
    assert!(!Config::default().fault.is_on());
    assert!(!parse("[fault]\nseed = 7\nloss = 0\nreorder = 0.0\ndelay = '0s'\n").fault.is_on());
    for text in
        ["loss = '1%'", "loss = 0.01", "duplicate = 1", "reorder = '0.5%'", "jitter = '1us'"]
    {
        assert!(parse(&format!("[fault]\n{text}\n")).fault.is_on(), "{text}");
    }
    assert_eq!(parse("[fault]\nloss = '2%'\n"), parse("[fault]\nloss = 0.02\n"));
    assert_eq!(
        problem("[fault]\nloss = '101%'\n"),
        "2: fault.loss = '101%': is out of range (allowed: 0 to 1, or \"0%\" to \"100%\")"
    );
    assert_eq!(
        problem("[fault]\ndelay = '11s'\n"),
        "2: fault.delay = '11s': is out of range (allowed: 0ns to 10s)"
    );
}

#[test]
fn sizes_and_ranges_are_numbers_or_text() {
    let config = parse(
        "[responses]\nports = 40000\nstreams = '7'\nwindow_bytes = 131_072\npacket_bytes = '1KiB'\n\
         [control]\nports = '40001-40009'\n",
    );
    assert_eq!(config.responses.ports, PortRange::new(40000, 40000).unwrap());
    assert_eq!(config.responses.streams, StreamRange::new(7, 7).unwrap());
    assert_eq!((config.responses.window_bytes, config.responses.packet_bytes), (131_072, 1024));
    assert_eq!(config.control.ports, PortRange::new(40001, 40009).unwrap());
}

#[test]
fn every_setting_of_a_poller() {
    let config = parse(
        "[[poller]]\nname = 'a'\nidle = 'busy_spin'\ncore = 3\n\
         [[poller]]\nname = 'b'\nidle = 'sleep'\nsleep = '1ms'\n\
         [[poller]]\nname = 'c'\nidle = 'sleep'\n\
         [[poller]]\nname = 'd'\nidle = 'yield'\n\
         [[poller]]\nname = 'e'\nidle = 'backoff'\n\
         [responses]\npoller = 'd'\n",
    );
    let idle: Vec<IdleKind> = config.pollers.iter().map(|poller| poller.idle).collect();
    let sleep = |micros| IdleKind::Sleep { pause: Duration::from_micros(micros) };
    let expected =
        [IdleKind::BusySpin, sleep(1000), sleep(100), IdleKind::Yield, IdleKind::Backoff];
    assert_eq!(idle, expected);
    assert_eq!((config.pollers[0].core, config.pollers[1].core), (Some(3), None));
    assert_eq!(config.responses.poller, 3);
    // Whatever names no poller has the first, the built-in templates included.
    assert!(config.templates.iter().all(|template| template.poller == 0));
}

#[test]
fn every_setting_of_a_template() {
    let config = parse(
        "[[poller]]\nname = 'p'\n[[poller]]\nname = 'q'\n\
         [[template]]\nname = 't'\ntransport = 'multicast'\npoller = 'q'\ninterface = '10.0.0.1'\n\
         ports = '1-2'\nstreams = '3-4'\naddresses = '239.1.0.0-239.1.0.9'\npacket_bytes = 8192\n\
         window_bytes = '2MiB'\nttl = 9\nreceiver_timeout = '3s'\n\
         repair_timeout = '7s'\nflow_control = 'tagged:7'\nslow_consumer = 'drop'\n\
         [[topic]]\npattern = '.*'\ntemplate = 't'\n",
    );
    let carrier = Carrier::Multicast {
        udp: UdpSettings {
            interface: InterfaceSpec::Address(Ipv4Addr::new(10, 0, 0, 1).into()),
            ports: PortRange::new(1, 2).unwrap(),
            streams: StreamRange::new(3, 4).unwrap(),
            receiver_timeout: Duration::from_secs(3),
            repair_timeout: Duration::from_secs(7),
            flow_control: FlowControl::Tagged(7),
        },
        addresses: AddressRange::parse("239.1.0.0-239.1.0.9").unwrap(),
        ttl: 9,
    };
    let (packet_bytes, window_bytes) = (8192, 2 << 20);
    let slow_consumer = SlowConsumer::Drop;
    let name = "t".to_owned();
    let expected = Template { name, poller: 1, packet_bytes, window_bytes, slow_consumer, carrier };
    assert_eq!(config.templates, [expected]);
}

#[test]
fn the_ipc_directory_may_be_left_open() {
    assert_eq!(parse("ipc.directory = ''").ipc.directory, None);
    assert_eq!(parse("ipc.directory = '/x'").ipc.directory, Some("/x".into()));
}

#[test]
fn values_out_of_range_or_of_another_kind() {
    for (text, expected) in [
        ("[discovery]\n\nttl = 300", "3: discovery.ttl = 300: is out of range (allowed: 0 to 255)"),
        (
            "limits.max_peers = 99999999999999999999999999999999999999999",
            "1: limits.max_peers = 99999999999999999999999999999999999999999: is out of range \
             (allowed: 1 to 65536)",
        ),
        ("limits.max_peers = 0", "1: limits.max_peers = 0: is out of range (allowed: 1 to 65536)"),
        (
            "limits.max_message_bytes = '2GiB'",
            "1: limits.max_message_bytes = '2GiB': is out of range (allowed: 1KiB to 1GiB)",
        ),
        (
            "responses.window_bytes = -1",
            "1: responses.window_bytes = -1: is out of range (allowed: 64KiB to 1GiB)",
        ),
        (
            "responses.packet_bytes = 1400",
            "1: responses.packet_bytes = 1400: is not a multiple of 64 \
             (allowed: 512 to 65472, a multiple of 64)",
        ),
        (
            "discovery.refresh = '5 ms'",
            "1: discovery.refresh = '5 ms': is not a duration: a whole number and a unit \
             (ns, us, ms, s, m, h), such as \"500ms\" (allowed: 10ms to 1m)",
        ),
        ("discovery.refresh = 5", "1: discovery.refresh = 5: is an integer (allowed: 10ms to 1m)"),
        (
            "control.ports = '9-8'",
            "1: control.ports = '9-8': has a minimum above its maximum (allowed: 1 to 65535)",
        ),
        ("control.ports = -7", "1: control.ports = -7: is out of range (allowed: 1 to 65535)"),
        (
            "discovery.address = '10.0.0.1'",
            "1: discovery.address = '10.0.0.1': is not a multicast address that applications may \
             use (allowed: 224.0.1.0 to 239.255.255.255)",
        ),
        (
            "interface = '::1'",
            "1: interface = '::1': IPv6 comes later (allowed: \"loopback\", an IPv4 address, an \
             IPv4 subnet such as \"10.1.0.0/16\", or an interface name)",
        ),
        (
            "discovery.kind = 'daemon'",
            "1: discovery.kind = 'daemon': is not one of the choices (allowed: \"multicast\")",
        ),
    ] {
        assert_eq!(problem(text), expected);
    }
}

#[test]
fn unknown_keys_and_tables() {
    assert_eq!(
        problem("[control]\n# a comment\nport = 5\n"),
        "3: control.port = 5: unknown key, did you mean \"ports\"? (allowed: interface, ports)"
    );
    assert!(problem("[[pollers]]\nname = 'a'\n").starts_with(
        "1: pollers: unknown key, did you mean \"poller\"? (allowed: interface, poller,"
    ));
    let odd = problem("\"a\\nb\" = 1");
    assert!(odd.starts_with(r"1: a\nb = 1: unknown key"), "{odd}");
    assert!(problem("colour = 'red'").starts_with("1: colour = 'red': unknown key (allowed: "));
}

#[test]
fn tables_and_lists_are_told_apart() {
    let text = "responses = 3\n[[discovery]]\nttl = 1\n[poller]\nname = 'a'\n";
    let found: Vec<String> = problems(text).iter().map(Problem::to_string).collect();
    let expected = [
        "1: responses = 3: is an integer (allowed: a table [responses])",
        "2: discovery: is one table: write [discovery] (allowed: a table [discovery])",
        "4: poller: is a list of tables: write [[poller]] (allowed: 1 to 64 tables [[poller]])",
    ];
    assert_eq!(found, expected);
    assert!(problem("topic = []").starts_with("1: topic = []: is an empty list"));
    assert!(problem("poller = [{name = 'a'}, 3]").starts_with("1: poller = 3: is an integer"));
    let many: String = (0..65).map(|i| format!("[[poller]]\nname = 'p{i}'\n")).collect();
    assert_eq!(problem(&many), "1: poller: has 65 entries (allowed: 1 to 64 tables [[poller]])");
}

#[test]
fn names_are_required_well_formed_and_unique() {
    assert_eq!(
        problem("\n[[poller]]\nidle = 'block'\n"),
        "2: poller.name: is required (allowed: 1 to 64 characters of A-Z a-z 0-9 . _ -)"
    );
    assert!(
        problem("[[poller]]\nname = 'a b'\n").starts_with("2: poller.name = 'a b': is not a name")
    );
    assert_eq!(
        problem("[[poller]]\nname = 'a'\n[[poller]]\nname = 'a'\n"),
        "4: poller.name = 'a': is used on line 2 already (allowed: a name of its own)"
    );
}

#[test]
fn references_must_exist() {
    assert_eq!(
        problem("[[poller]]\nname = 'a'\n[[poller]]\nname = 'b'\n[responses]\npoller = 'c'\n"),
        "6: responses.poller = 'c': names a poller that does not exist \
         (allowed: a [[poller]] name: \"a\", \"b\")"
    );
    assert_eq!(
        problem("[[topic]]\npattern = '.*'\ntemplate = 'fast'\n"),
        "3: topic.template = 'fast': names a template that does not exist \
         (allowed: a [[template]] name: \"multicast\", \"unicast\", \"ipc\")"
    );
    let same_line = "poller = [{name = 'a'}, {name = 'a'}]";
    assert!(problem(same_line).starts_with("1: poller.name = 'a': is used on line 1 already"));
    // The name that is misspelt may be the one that is meant.
    assert!(
        problem("[[poller]]\nname = 'c d'\n[responses]\npoller = 'c'\n")
            .starts_with("2: poller.name")
    );
}

#[test]
fn topics_need_a_pattern_a_template_and_no_double() {
    let problems = problems(
        "[[topic]]\ntemplate = 'ipc'\n\
         [[topic]]\npattern = '('\n\
         [[topic]]\npattern = 'a'\ntemplate = 'ipc'\n\
         [[topic]]\npattern = 'a'\ntemplate = 'unicast'\n",
    );
    let found: Vec<String> = problems.iter().map(Problem::to_string).collect();
    assert_eq!(found.len(), 4, "{found:#?}");
    assert!(found[0].starts_with("1: topic.pattern: is required"));
    assert!(found[1].starts_with("3: topic.template: is required"));
    assert!(found[2].starts_with("4: topic.pattern = '(': is not a regular expression: unclosed"));
    assert!(found[3].starts_with("9: topic.pattern = 'a': is used on line 6 already"));
}

#[test]
fn new_templates_need_topics_unless_they_carry_the_built_in_names() {
    let ipc = "[[template]]\nname = 'ipc'\ntransport = 'ipc'\n";
    assert!(problem(ipc).starts_with("1: template: the built-in topic patterns name templates"));
    let all = "[[template]]\nname = 'multicast'\ntransport = 'multicast'\n\
               [[template]]\nname = 'unicast'\ntransport = 'ipc'\n";
    assert_eq!(parse(&format!("{all}{ipc}")).topics.len(), 3);
}

#[test]
fn keys_belong_to_their_transport() {
    for transport in [Transport::Multicast, Transport::Unicast, Transport::Ipc] {
        for key in TEMPLATE_KEYS.iter().filter(|key| !template_keys(transport).contains(key)) {
            let text = format!(
                "[[template]]\nname = 'a'\ntransport = '{transport}'\n{key} = 1\n\
                 [[topic]]\npattern = '.*'\ntemplate = 'a'\n"
            );
            let found = problem(&text);
            let expected = format!(
                "4: template.{key} = 1: does not apply to transport {transport} \
                 (allowed: name, transport, poller, packet_bytes, window_bytes"
            );
            assert!(found.starts_with(&expected), "{found}");
        }
    }
    assert_eq!(
        problem("[[poller]]\nname = 'a'\nsleep = '1ms'\n"),
        "3: poller.sleep = '1ms': applies to idle = \"sleep\" only"
    );
}

#[test]
fn values_must_fit_together() {
    let timeout = "[discovery]\nrefresh = '3s'\ntimeout = '5s'\n";
    assert_eq!(
        problem(timeout),
        "3: discovery.timeout = '5s': the timeout 5s is less than two refresh intervals of 3s \
         (allowed: a timeout of at least twice the refresh interval)"
    );
    assert!(problem("[discovery]\nrefresh = '8s'\n").starts_with("2: discovery.refresh = '8s'"));
    assert_eq!(parse("[discovery]\nrefresh = '5s'\n").discovery.refresh, Duration::from_secs(5));

    let window = "[responses]\nwindow_bytes = '64KiB'\npacket_bytes = 8192\n";
    assert_eq!(
        problem(window),
        "2: responses.window_bytes = '64KiB': a window of 65536 bytes is less than 16 packets of \
         8192 (allowed: a window of at least 131072)"
    );
    assert!(problem("[responses]\npacket_bytes = 65472").starts_with("2: responses.packet_bytes"));
}

#[test]
fn topics_stay_away_from_discovery() {
    let built_in = problem("[discovery]\naddress = '239.255.0.9'\nport = 35006\n");
    assert!(built_in.starts_with(
        "2: discovery.address = '239.255.0.9': template \"multicast\" may choose the address and \
         port of discovery, 239.255.0.9:35006"
    ));
    let own = "[[template]]\nname = 'multicast'\ntransport = 'multicast'\nports = 35000\n\
               addresses = '239.255.0.1'\n[[topic]]\npattern = '.*'\ntemplate = 'multicast'\n";
    assert!(problem(own).starts_with("5: template.addresses = '239.255.0.1': template"));
    let met = "[[template]]\nname = 't'\ntransport = 'multicast'\n\
               [[topic]]\npattern = '.*'\ntemplate = 't'\n\
               [discovery]\naddress = '239.255.0.9'\nport = 35006\n";
    assert!(problem(met).starts_with("8: discovery.address = '239.255.0.9': template \"t\""));
}

#[test]
fn all_problems_are_reported_at_once() {
    let text = "colour = 1\n[discovery]\nttl = 300\nrefresh = 'soon'\n[[poller]]\nname = ''\n\
                [limits]\nmax_peers = 'x'\n[[template]]\nname = 'a'\ntransport = 'tcp'\nttl = 999\n\
                [[topic]]\npattern = '('\ntemplate = 'b'\n";
    let lines: Vec<_> = problems(text).iter().filter_map(Problem::line).collect();
    assert_eq!(lines, [1, 3, 4, 6, 8, 11, 12, 14, 15]);
}

/// What is no TOML hides nothing on other lines, and nothing that follows from it is reported.
#[test]
fn lines_that_are_not_toml_leave_the_others_to_be_judged() {
    for (text, lines) in [
        ("[discovery]\nttl = \nrefresh = '5x'\n", &[2, 3][..]),
        ("[discovery]\nttl = 1\nttl = 2\nport = 70000\n", &[3, 4]),
        ("[[poller]]\nname = 'fast\n[responses]\npoller = 'fast'\n", &[2]),
        ("[[poller]\nname = 'fast'\n[responses]\npoller = 'fast'\n", &[1]),
        ("[limits]\nmax_peers = 3\n[discovery\nttl = 2\n", &[3]),
        ("[[topic]\npattern = 'a'\ntemplate = 'ipc'\n", &[1]),
        ("[responses\npoller = 'fast'\nports = 5\n", &[1]),
        ("interface = [1,\n2", &[2]),
    ] {
        let found: Vec<_> = problems(text).iter().filter_map(Problem::line).collect();
        assert_eq!(found, lines, "{text}\n{:#?}", problems(text));
    }
    assert!(problem("a.b = \n").starts_with("1: is not TOML: "));
}

#[test]
fn files_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let error = |path: &Path| Config::from_file(path).unwrap_err().to_string();
    let path = folder.path().join("vega.toml");
    assert!(error(&path).starts_with(&format!("{}: cannot be read: ", path.display())));
    let is_folder = format!("{}: is a directory, not a file", folder.path().display());
    assert_eq!(error(folder.path()), is_folder);

    fs::write(&path, b"# fine\n# \xff\n").unwrap();
    assert_eq!(error(&path), format!("{}:2: is not UTF-8 text", path.display()));
    fs::write(&path, " ".repeat(1 + (1 << 20))).unwrap();
    assert_eq!(error(&path), format!("{}: is larger than 1048576 bytes", path.display()));
    fs::write(&path, "\n[ipc]\nx = 1\n").unwrap();
    assert!(error(&path).starts_with(&format!("{}:3: ipc.x = 1: unknown key", path.display())));
    fs::write(&path, "[limits]\nmax_peers = 5\n").unwrap();
    assert_eq!(Config::from_file(&path).unwrap().limits.max_peers, 5);
}

/// Pieces that are likely to get past the TOML parser in strange combinations.
fn piece() -> impl Strategy<Value = String> {
    let keys = TABLES.iter().flat_map(|(_, keys)| *keys).copied().collect::<Vec<_>>();
    let headers = TABLES.iter().map(|(header, _)| *header).collect::<Vec<_>>();
    let values = [
        "-1",
        "0",
        "5",
        "1e3",
        "true",
        "''",
        "'-'",
        "'1-'",
        "'9999999999999999999999h'",
        "'0KiB'",
        "'4294967295'",
        "'224.0.1.0-239.255.255.255'",
        "'/'",
        "'::/0'",
        "'(?x)#'",
        "[[]]",
        "{}",
        "{a.b=1}",
        "[{}]",
        "1979-05-27",
        "0x7fffffffffffffffffffffffffffffffff",
        "'''",
        "\"\\u00e9\"",
    ];
    prop_oneof![
        proptest::sample::select(headers).prop_map(|header| format!("{header}\n")),
        (proptest::sample::select(keys), proptest::sample::select(values.to_vec()))
            .prop_map(|(key, value)| format!("{key} = {value}\n")),
        "\\PC{0,8}\n",
    ]
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text: String) {
        let _ = Config::parse(&text).map_err(|error| error.to_string());
    }

    #[test]
    fn arbitrary_tables_never_panic(pieces in proptest::collection::vec(piece(), 0..12)) {
        let text = pieces.concat();
        if let Err(error) = Config::parse(&text) {
            let lines = text.lines().count().max(1);
            for problem in error.problems() {
                prop_assert!(problem.line().is_none_or(|line| (1..=lines + 1).contains(&line)));
                prop_assert!(!problem.to_string().contains('\n'));
            }
        }
    }

    #[test]
    fn arbitrary_topics_have_a_route(topic in "\\PC{1,60}") {
        static CONFIG: LazyLock<Config> = LazyLock::new(Config::default);
        let route = CONFIG.route(&topic).unwrap();
        let Carrier::Multicast { udp, addresses, .. } = &route.settings().carrier else {
            return Ok(());
        };
        prop_assert!(route.address().is_some_and(|address| addresses.contains(address)));
        prop_assert!(route.port().is_some_and(|port| udp.ports.contains(port)));
    }
}
