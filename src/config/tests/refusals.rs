//! Every way of being wrong, and what is said about it. Tests.

use super::*;

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
             use (allowed: 224.0.1.0 to 239.255.255.255, or groups of IPv6 such as ff15::1, but not \
             of ff01:: or ff02::)",
        ),
        (
            "interface = 'fd00::/129'",
            "1: interface = 'fd00::/129': is not a subnet: an address and a prefix, of 0 to 32 bits \
             or, of IPv6, 0 to 128 (allowed: \"loopback\", an address, a subnet such as \
             \"10.1.0.0/16\" or \"fd00:1::/64\", or an interface name; \"loopback ipv6\" and \
             \"eth0 ipv6\" for IPv6)",
        ),
        (
            "discovery.kind = 'gossip'",
            "1: discovery.kind = 'gossip': is not one of the choices \
             (allowed: \"multicast\", \"daemon\", \"both\")",
        ),
        (
            "discovery.kind = 'daemon'",
            "1: discovery.kind = 'daemon': needs daemons \
             (allowed: daemons, 1 to 16 times \"host\", \"host:port\" or \"[IPv6]:port\")",
        ),
        (
            "discovery.daemons = ['d1']",
            "1: discovery.daemons = ['d1']: kind = \"multicast\" uses no daemons \
             (allowed: \"daemon\", \"both\")",
        ),
        (
            "discovery.kind = 'both'\ndiscovery.daemons = ['d1', 'd2:0']",
            "2: discovery.daemons = ['d1', 'd2:0']: is out of range \
             (allowed: 1 to 16 times \"host\", \"host:port\" or \"[IPv6]:port\")",
        ),
        (
            "advertise = '10.1.2.300'",
            "1: advertise = '10.1.2.300': is not a host \
             (allowed: an address or a host name)",
        ),
        (
            "control.advertise_ports = '45010-45020'",
            "1: control.advertise_ports = '45010-45020': maps 45010-45020 to another number of \
             ports than 35010-35099 has (allowed: as many ports as the range has)",
        ),
    ] {
        assert_eq!(problem(text), expected);
    }
}

#[test]
fn unknown_keys_and_tables() {
    assert_eq!(
        problem("[control]\n# a comment\nport = 5\n"),
        "3: control.port = 5: unknown key, did you mean \"ports\"? (allowed: interface, ports, \
         advertise, advertise_ports)"
    );
    assert!(problem("[[pollers]]\nname = 'a'\n").starts_with(
        "1: pollers: unknown key, did you mean \"poller\"? (allowed: interface, advertise, offload,"
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
         [[topic]]\npattern = 'a'\ntemplate = 'unicast'\n\
         [[topic]]\npattern = ''\ntemplate = 'ipc'\n",
    );
    let found: Vec<String> = problems.iter().map(Problem::to_string).collect();
    assert_eq!(found.len(), 5, "{found:#?}");
    assert!(found[0].starts_with("1: topic.pattern: is required"));
    assert!(found[1].starts_with("3: topic.template: is required"));
    assert!(found[2].starts_with("4: topic.pattern = '(': is not a regular expression: unclosed"));
    assert!(found[3].starts_with("9: topic.pattern = 'a': is used on line 6 already"));
    let empty = "12: topic.pattern = '': is empty, and no topic has an empty name";
    assert!(found[4].starts_with(empty), "{}", found[4]);
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

/// What a socket can be in one family only.
#[test]
fn families_that_do_not_fit_are_told_with_line_and_key() {
    for (text, expected) in [
        (
            "interface = '::1'\n[discovery]\naddress = '239.255.0.1'",
            "3: discovery.address = '239.255.0.1': is IPv4, and interface = \"::1\" is IPv6 \
             (allowed: ff00::/8, but not ff01:: and ff02::, where ff11:: and ff12:: are free)",
        ),
        (
            "discovery.address = 'ff15::1'",
            "1: discovery.address = 'ff15::1': is IPv6, and interface = \"loopback\" is IPv4 \
             (allowed: 224.0.1.0 to 239.255.255.255)",
        ),
        (
            "[[template]]\nname = 'multicast'\ntransport = 'multicast'\ninterface = 'fd00::/64'\n\
             addresses = '239.1.1.1-239.1.1.9'\n[[topic]]\npattern = '.*'\ntemplate = 'multicast'",
            "5: template.addresses = '239.1.1.1-239.1.1.9': is IPv4, and interface = \
             \"fd00::/64\" is IPv6 (allowed: ff00::/8, but not ff01:: and ff02::, where ff11:: and \
             ff12:: are free)",
        ),
        (
            "[discovery]\ninterface = '::1'",
            "2: discovery.interface = '::1': is IPv6, and the [control] socket, from which the group \
             of discovery is reached, is IPv4 (allowed: interfaces of one family for [discovery] \
             and [control])",
        ),
        (
            "[control]\ninterface = '::1'",
            "2: control.interface = '::1': is IPv4, and the [control] socket, from which the group \
             of discovery is reached, is IPv6 (allowed: interfaces of one family for [discovery] \
             and [control])",
        ),
        (
            "[discovery]\nkind = 'daemon'\ndaemons = ['d1', '[::1]:40300']",
            "3: discovery.daemons = ['d1', '[::1]:40300']: is IPv6, and the [control] socket, from \
             which a daemon is reached, is IPv4 (allowed: IPv4 addresses or host names)",
        ),
        (
            "advertise = 'fd00::1'",
            "1: advertise = 'fd00::1': advertise = \"fd00::1\" is IPv6, and interface = \
             \"loopback\" is IPv4 (allowed: advertise = an IPv4 address or a host name)",
        ),
        (
            "advertise = '192.0.2.1'\n[responses]\ninterface = '::1'",
            "3: responses.interface = '::1': advertise = \"192.0.2.1\" is IPv4, and interface = \
             \"::1\" is IPv6 (allowed: advertise = an IPv6 address or a host name)",
        ),
        (
            "[discovery]\naddress = 'ff02::1:5'",
            "2: discovery.address = 'ff02::1:5': is not a multicast address that applications may \
             use (allowed: 224.0.1.0 to 239.255.255.255, or groups of IPv6 such as ff15::1, but not \
             of ff01:: or ff02::)",
        ),
    ] {
        assert_eq!(problem(text), expected);
    }
}
