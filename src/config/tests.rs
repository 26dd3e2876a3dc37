//! A configuration file from the outside: what is accepted, from text and from files. Tests.

mod default_file;
mod refusals;

use std::fs;
use std::net::Ipv4Addr;
use std::sync::LazyLock;
use std::time::Duration;

use proptest::prelude::*;

use super::file::ROOT_KEYS;
use super::file::discovery::{DAEMON_KEYS, DISCOVERY_KEYS};
use super::file::endpoints::{CONTROL_KEYS, RESPONSES_KEYS};
use super::file::pollers::POLLER_KEYS;
use super::file::process::{COUNTERS_KEYS, FAULT_KEYS, IPC_KEYS, LIMITS_KEYS};
use super::file::templates::{TEMPLATE_KEYS, template_keys};
use super::file::topics::TOPIC_KEYS;
use super::range::{AddressRange, PortRange, StreamRange};
use super::*;

/// Each table: its header and the keys of it that are values.
const TABLES: [(&str, &[&str]); 12] = [
    ("", &["interface", "advertise", "offload"]),
    ("[[poller]]", POLLER_KEYS),
    ("[responses]", RESPONSES_KEYS),
    ("[control]", CONTROL_KEYS),
    ("[discovery]", DISCOVERY_KEYS),
    ("[daemon]", DAEMON_KEYS),
    ("[ipc]", IPC_KEYS),
    ("[counters]", COUNTERS_KEYS),
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
fn one_interface_serves_all() {
    let config = parse("interface = '10.1.0.0/16'\n[control]\ninterface = 'eth0'\n");
    let subnet = InterfaceSpec::Subnet {
        network: Ipv4Addr::new(10, 1, 0, 0).into(),
        prefix: 16,
        zone: None,
    };
    assert_eq!(config.discovery.interface, subnet);
    assert_eq!(config.responses.interface, subnet);
    assert_eq!(
        config.control.interface,
        InterfaceSpec::Name { name: "eth0".to_owned(), family: Family::V4 }
    );
    assert!(config.templates.iter().filter_map(Template::udp).all(|udp| udp.interface == subnet));
}

/// Groups follow the family of the interface, and the same names have the same neighbours in both.
#[test]
fn groups_follow_the_family_of_the_interface() {
    let (v4, v6) = (Config::default(), Config::parse("interface = '::1'").unwrap());
    assert_eq!(v6.discovery.address.to_string(), "ff15::7665:6761:1");
    let at = |config: &Config, topic: &str| config.route(topic).unwrap().address().unwrap();
    assert_eq!(at(&v4, "prices.EURUSD").to_string(), "239.255.0.17");
    assert_eq!(at(&v6, "prices.EURUSD").to_string(), "ff15::7665:6761:11");
    let places = |config: &Config| config.templates().map(|it| it.places()).collect::<Vec<_>>();
    assert_eq!(places(&v4), places(&v6));
    for topic in ["a", "orders", "Größe/λ"] {
        let number = |config| match at(config, topic) {
            std::net::IpAddr::V4(ip) => u16::from(ip.octets()[3]),
            std::net::IpAddr::V6(ip) => ip.segments()[7],
        };
        assert_eq!(number(&v4), number(&v6), "{topic}");
    }
}

/// A template of another family has sockets of its own; discovery and responses keep theirs.
#[test]
fn a_template_may_have_another_family_than_discovery() {
    let config = Config::parse(
        "[[template]]\nname = 'unicast'\ntransport = 'unicast'\ninterface = 'loopback ipv6'\n\
         [[template]]\nname = 'multicast'\ntransport = 'multicast'\ninterface = 'fd00::/64'\n\
         [[topic]]\npattern = '.*'\ntemplate = 'multicast'\n",
    )
    .unwrap();
    let families =
        config.templates.iter().map(|template| template.udp().unwrap().interface.family());
    assert_eq!(families.collect::<Vec<_>>(), [Family::V6, Family::V6]);
    assert_eq!(config.discovery.interface.family(), Family::V4);
    assert_eq!(config.route("a").unwrap().address().unwrap().to_string(), "ff15::7665:6761:12");
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
fn daemons_take_the_place_of_multicast() {
    let daemons = "[discovery]\nkind = 'daemon'\ndaemons = ['10.1.0.7', 'd2:7']\n";
    let discovery = parse(&format!("{daemons}resolve = '1m'\n")).discovery;
    assert!(discovery.kind.uses_daemons() && !discovery.kind.uses_multicast());
    let shown: Vec<_> = discovery.daemons.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["10.1.0.7:40300", "d2:7"]);
    assert_eq!(discovery.resolve, Duration::from_mins(1));
    // A group that nobody joins is in nobody's way.
    parse(&format!("{daemons}address = '239.255.0.9'\nport = 35006\n"));
}

#[test]
fn one_host_is_advertised_for_all_that_name_none() {
    let mut config = parse(
        "advertise = 'outer'\n\
         [control]\nadvertise = '203.0.113.7'\nadvertise_ports = '45010-45099'\n",
    );
    let hosts: Vec<_> = config.advertised_hosts().map(|(_, host)| host.to_string()).collect();
    assert_eq!(hosts, ["outer", "203.0.113.7", "outer"]);
    assert_eq!(Config::default().advertised_hosts().count(), 0);
}

#[test]
fn programs_change_the_settings_of_a_daemon_by_the_rules_of_a_file() {
    let mut daemon = Config::default().daemon;
    let changes = DaemonChanges {
        interface: Some("10.1.0.0/16".to_owned()),
        port: Some(0),
        client_timeout: Some(Duration::from_secs(1)),
        max_clients: Some(1),
    };
    daemon.change(&changes).unwrap();
    assert_eq!((daemon.port, daemon.max_clients), (0, 1));
    for refused in [
        DaemonChanges { interface: Some("a b".to_owned()), ..DaemonChanges::default() },
        DaemonChanges { client_timeout: Some(Duration::ZERO), ..DaemonChanges::default() },
        DaemonChanges { max_clients: Some(0), ..DaemonChanges::default() },
    ] {
        assert!(daemon.change(&refused).is_err(), "{refused:?}");
    }
}

#[test]
fn the_kernel_helps_unless_it_is_not_to() {
    assert_eq!(Config::default().offload, Offload::Auto);
    assert_eq!(parse("offload = 'off'\n").offload, Offload::Off);
    let refused = problem("offload = 'on'\n");
    assert!(refused.starts_with("1: offload = 'on': "), "{refused}");
    assert!(refused.ends_with("(allowed: \"auto\", \"off\")"), "{refused}");
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
            interface: InterfaceSpec::Address {
                address: Ipv4Addr::new(10, 0, 0, 1).into(),
                zone: None,
            },
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
fn packets_of_ipc_are_a_small_part_of_the_window_unless_the_file_says_otherwise() {
    for (window, more, expected) in [
        ("64KiB", "", 4096),
        ("100000B", "", 6208),
        ("1MiB", "", 32 << 10),
        ("1GiB", "", 32 << 10),
        ("1MiB", "packet_bytes = 1408", 1408),
    ] {
        let template = |transport| {
            let text = format!(
                "[[template]]\nname = 't'\ntransport = '{transport}'\nwindow_bytes = '{window}'\n{more}\n[[topic]]\npattern = '.*'\ntemplate = 't'"
            );
            parse(&text).templates[0].packet_bytes
        };
        assert_eq!(template("ipc"), expected, "{window}");
        assert_eq!(template("multicast"), 1408, "{window}");
    }
}

#[test]
fn the_pages_of_rings_come_when_the_configuration_says() {
    assert_eq!(parse("").ipc.pages, RingPages::OnDemand);
    assert_eq!(parse("ipc.pages = 'prefault'").ipc.pages, RingPages::Prefault);
    assert_eq!(parse("ipc.pages = 'huge'").ipc.pages, RingPages::Huge);
    assert!(problems("[ipc]\npages = 'tiny'").iter().any(|it| it.key() == "ipc.pages"));
}

#[test]
fn the_ipc_directory_may_be_left_open() {
    assert_eq!(parse("ipc.directory = ''").ipc.directory, None);
    assert_eq!(parse("ipc.directory = '/x'").ipc.directory, Some("/x".into()));
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
