//! `vega config import`: every option of the schema, and files with faults. Tests.

use std::fs;

use serde_json::Value;
use vega::{Config, Transport};

use crate::world::{Finished, PATIENCE_ARGUMENT, World};

const OPEN: &str =
    "<?xml version=\"1.0\"?>\n<vega_config xmlns=\"http://www.bbva.com/vega/config\">\n";
/// The least that a file needs, without patterns, from line 3 to line 11.
const LEAST: &str = "\
<driver_type>EMBEDDED</driver_type>
<rcv_poller_config name=\"p\"><idle_strategy_type>BACK_OFF</idle_strategy_type></rcv_poller_config>
<responses_config>
  <rcv_poller>p</rcv_poller>
</responses_config>
<autodisc_config><autodisc_type>MULTICAST</autodisc_type></autodisc_config>
<topic_template name=\"t\">
  <transport_type>MULTICAST</transport_type><rcv_poller>p</rcv_poller>
</topic_template>
";
const PATTERN: &str = "<topic_pattern pattern=\".*\" template=\"t\"/>\n";
const CLOSE: &str = "</vega_config>\n";

fn import(xml: impl AsRef<[u8]>, further: &[&str]) -> Finished {
    let world = World::new();
    let file = world.config_file().with_extension("xml");
    fs::write(&file, xml).unwrap();
    let arguments = [&["config", "import", file.to_str().unwrap()], further].concat();
    world.start(&arguments).finish()
}

/// The result, which our own configuration has to accept.
fn imported(xml: &str) -> (String, Config) {
    let finished = import(xml, &[]).expect_code(0);
    let toml = finished.text().to_owned();
    let config = Config::parse(&toml).unwrap_or_else(|error| panic!("{error}\n{toml}"));
    (toml, config)
}

/// Lines and messages of what is wrong.
fn faults(xml: impl AsRef<[u8]>) -> Vec<(u64, String)> {
    let report = import(xml, &["--json"]).expect_code(1).json_lines().remove(0);
    assert_eq!((report["ok"].as_bool(), &report["toml"]), (Some(false), &Value::Null));
    let fault = |fault: &Value| {
        (fault["line"].as_u64().unwrap_or(0), fault["message"].as_str().unwrap().to_owned())
    };
    report["problems"].as_array().unwrap().iter().map(fault).collect()
}

#[track_caller]
fn one_fault(xml: impl AsRef<[u8]>, line: u64, part: &str) {
    let found = faults(xml);
    let [(found_line, message)] = found.as_slice() else { panic!("one fault: {found:?}") };
    assert_eq!(*found_line, line, "{message}");
    assert!(message.contains(part), "{part:?} in {message}");
}

const EVERYTHING: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<vega_config xmlns="http://www.bbva.com/vega/config">
  <driver_type>EXTERNAL</driver_type>
  <external_driver_directory>/dev/shm/aeron</external_driver_directory>
  <embedded_driver_config_file>driver.properties</embedded_driver_config_file>
  <rcv_poller_config name="fast one">
    <idle_strategy_type>BUSY_SPIN</idle_strategy_type>
    <max_fragments_per_poll>4</max_fragments_per_poll>
  </rcv_poller_config>
  <rcv_poller_config name="sleeper">
    <idle_strategy_type>SLEEP_NANOS</idle_strategy_type>
    <idleStrategy_sleep_nanos>250000</idleStrategy_sleep_nanos>
  </rcv_poller_config>
  <rcv_poller_config name="back">
    <idle_strategy_type>BACK_OFF</idle_strategy_type>
    <idleStrategy_sleep_nanos>7</idleStrategy_sleep_nanos>
  </rcv_poller_config>
  <control_rcv_config>
    <min_port>36010</min_port><max_port>36011</max_port><num_streams>3</num_streams>
    <subnet>10.2.0.0/16</subnet>
  </control_rcv_config>
  <responses_config>
    <min_port>36004</min_port><max_port>36005</max_port><num_streams>20</num_streams>
    <rcv_poller>sleeper</rcv_poller>
    <subnet>10.1.2.3/16</subnet>
  </responses_config>
  <autodisc_config>
    <autodisc_type>MULTICAST</autodisc_type>
    <refresh_interval>500</refresh_interval>
    <timeout>4000</timeout>
    <resolver_daemon_address>10.1.0.9</resolver_daemon_address>
    <resolver_daemon_port>40300</resolver_daemon_port>
    <unicast_info>
      <resolver_daemon_address>10.1.0.8</resolver_daemon_address>
      <resolver_daemon_port>40301</resolver_daemon_port>
    </unicast_info>
    <unicast_resolver_port_min>36002</unicast_resolver_port_min>
    <unicast_resolver_port_max>36003</unicast_resolver_port_max>
    <unicast_resolver_num_streams>5</unicast_resolver_num_streams>
    <multicast_address>225.3.0.1</multicast_address>
    <multicast_port>36000</multicast_port>
    <subnet>10.1.0.0/16</subnet>
  </autodisc_config>
  <topic_template name="multi">
    <transport_type>MULTICAST</transport_type>
    <rcv_poller>fast one</rcv_poller>
    <min_port>36006</min_port><max_port>36007</max_port>
    <num_streams_per_port>30</num_streams_per_port>
    <multicast_address_low>225.3.0.9</multicast_address_low>
    <multicast_address_high>225.3.0.40</multicast_address_high>
    <subnet>10.3.0.0/16</subnet>
  </topic_template>
  <topic_template name="uni">
    <transport_type>UNICAST</transport_type>
    <rcv_poller>back</rcv_poller>
    <min_port>36008</min_port><max_port>36009</max_port>
    <num_streams_per_port>2</num_streams_per_port>
    <multicast_address_low>225.3.0.41</multicast_address_low>
    <subnet>10.1.0.0/16</subnet>
  </topic_template>
  <topic_template name="shared">
    <transport_type>IPC</transport_type>
    <rcv_poller>back</rcv_poller>
    <num_streams_per_port>8</num_streams_per_port>
  </topic_template>
  <topic_pattern pattern="book\..*" template="shared"/>
  <topic_pattern pattern="\Qa.b\E.*" template="uni"/>
  <topic_pattern pattern=".*" template="multi"/>
  <topic_security_template name="sec">
    <control_msg_interval>500</control_msg_interval>
    <pub_sec_id>11111</pub_sec_id>
    <sub_sec_id>22222</sub_sec_id><sub_sec_id>-3</sub_sec_id>
  </topic_security_template>
  <topic_security_pattern pattern="book.*" template="sec"/>
</vega_config>
"#;

#[test]
fn every_option_of_the_schema_is_carried_over_or_explained() {
    let (toml, config) = imported(EVERYTHING);
    for line in [
        "interface = \"10.1.0.0/16\"",
        "name = \"fast_one\"",
        "idle = \"busy_spin\"",
        "sleep = \"250000ns\"",
        "idle = \"backoff\"",
        "poller = \"sleeper\"",
        "interface = \"10.1.2.3/16\"",
        "ports = \"36004-36067\"",
        "streams = \"1-20\"",
        "interface = \"10.2.0.0/16\"",
        "ports = \"36010-36073\"",
        "address = \"225.3.0.1\"",
        "port = 36000",
        "refresh = \"500ms\"",
        "timeout = \"4000ms\"",
        "addresses = \"225.3.0.9-225.3.0.40\"",
        "ports = \"36006-36007\"",
        "streams = \"1-30\"",
        "interface = \"10.3.0.0/16\"",
        "transport = \"ipc\"",
    ] {
        assert!(toml.lines().any(|found| found == line), "{line} in\n{toml}");
    }
    let comments: String =
        toml.lines().filter_map(|line| line.strip_prefix("# ")).collect::<Vec<_>>().join(" ");
    for part in [
        "driver_type EXTERNAL (line 3)",
        "external_driver_directory \"/dev/shm/aeron\" (line 4)",
        "embedded_driver_config_file \"driver.properties\" (line 5)",
        "max_fragments_per_poll 4 (line 8)",
        "idleStrategy_sleep_nanos 7 (line 16)",
        "\"fast one\" in the XML, line 6.",
        "num_streams 3 (line 19)",
        "36004 to 36005 in the XML",
        "resolver_daemon_address (line 31)",
        "resolver_daemon_port (line 32)",
        "unicast_info 10.1.0.8 (line 34)",
        "multicast_address_low 225.3.0.41 (line 58)",
        "num_streams_per_port 8",
        "topic_security_pattern \"book.*\" (line 74), publishers [11111], subscribers [22222, -3]",
    ] {
        assert!(comments.contains(part), "{part} in\n{comments}");
    }
    let transport = |topic| config.route(topic).unwrap().transport();
    assert_eq!(transport("book.1"), Transport::Ipc);
    assert_eq!((transport("a.bc"), transport("axbc")), (Transport::Unicast, Transport::Multicast));
}

#[test]
fn what_a_file_leaves_out_has_the_defaults_of_that_vega() {
    let (toml, config) = imported(&[OPEN, LEAST, PATTERN, CLOSE].concat());
    assert!(toml.contains("interface = \"0.0.0.0/0\""), "{toml}");
    assert!(toml.contains("address = \"225.0.0.1\"\nport = 35000"), "{toml}");
    let route = config.route("prices.EURUSD").unwrap();
    let std::net::IpAddr::V4(group) = route.address().unwrap() else { panic!("not IPv4") };
    let group = group.octets();
    assert!(group[..3] == [225, 0, 0] && (9..=20).contains(&group[3]), "{group:?}");
    assert!((35_006..=35_007).contains(&route.port().unwrap()));
}

#[test]
fn the_result_goes_where_it_is_wanted_and_lost_security_is_said_aloud() {
    let world = World::new();
    let (xml, toml) = (world.config_file().with_extension("xml"), world.config_file());
    fs::write(&xml, EVERYTHING).unwrap();
    let (from, to) = (xml.to_str().unwrap(), toml.to_str().unwrap());
    let done = world.start(&["config", "import", from, "-o", to]).finish().expect_code(0);
    assert_eq!(done.text(), "");
    assert!(done.stderr.contains("vega.xml:74: topic_security_pattern"), "{}", done.stderr);
    assert!(done.stderr.contains("in clear"), "{}", done.stderr);
    world.start(&["config", "check", to]).finish().expect_code(0);

    let before = fs::read_to_string(&toml).unwrap();
    fs::write(&xml, "<vega_config>").unwrap();
    let failed = world.start(&["config", "import", from, "-o", to]).finish().expect_code(1);
    assert!(failed.stderr.contains("vega.xml:1: "), "{}", failed.stderr);
    assert_eq!(fs::read_to_string(&toml).unwrap(), before, "nothing is written");
}

#[test]
fn daemons_are_used_or_it_is_said_that_they_are_not() {
    let least = LEAST.replace(
        "<autodisc_type>MULTICAST</autodisc_type>",
        "<autodisc_type>UNICAST_DAEMON</autodisc_type><unicast_info>\
         <resolver_daemon_address>10.1.0.7</resolver_daemon_address></unicast_info>",
    );
    let (toml, _) = imported(&[OPEN, &least, PATTERN, CLOSE].concat());
    assert!(toml.contains("10.1.0.7"), "{toml}");
    let least = least.replace("<unicast_info>", "<!--").replace("</unicast_info>", "-->");
    one_fault([OPEN, &least, PATTERN, CLOSE].concat(), 8, "needs an element <unicast_info>");
}

#[test]
fn files_that_are_no_vega_configuration_say_so() {
    one_fault("", 1, "not well-formed XML");
    one_fault("<vega_config>\n<a>\n</vega_config>", 3, "not well-formed XML");
    one_fault("<other/>", 1, "no Vega configuration: <other>");
    one_fault("\n<vega_config/>", 2, "no Vega configuration");
    one_fault(b"<a>\n\xff</a>", 2, "not UTF-8");
    let bomb = "<!DOCTYPE a [\n<!ENTITY b \"c\">]>\n<a>&b;</a>";
    one_fault(bomb, 1, "a document type");
    let missing = import("", &[]);
    assert!(missing.stderr.contains("vega.xml:1: "), "{}", missing.stderr);
    let world = World::new();
    // What never ends is not read to its end.
    for command in [&["config", "import", "/dev/zero"][..], &["tune", "--topics", "/dev/zero"]] {
        let endless = world.start(command).finish().expect_code(2);
        assert!(endless.stderr.contains("/dev/zero: is larger than"), "{}", endless.stderr);
    }
    let absent = world.start(&["config", "import", "/nowhere/vega.xml"]).finish().expect_code(2);
    assert!(absent.stderr.contains("/nowhere/vega.xml"), "{}", absent.stderr);
}

#[test]
fn each_fault_has_its_line_and_says_what_is_allowed() {
    let with = |from: &str, to: &str| {
        let least = LEAST.replace(from, to);
        assert_ne!(least, LEAST, "{from}");
        [OPEN, &least, PATTERN, CLOSE].concat()
    };
    one_fault(with("EMBEDDED", "SHARED"), 3, "allowed: EXTERNAL, EMBEDDED, LOWLATENCY_EMBEDDED");
    one_fault(with("BACK_OFF", "SLEEP_NANOS"), 4, "needs an element <idleStrategy_sleep_nanos>");
    let nameless = faults(with("name=\"t\"", ""));
    assert_eq!(nameless[0], (9, "<topic_template> needs an attribute \"name\"".to_owned()));
    assert_eq!(nameless.len(), 2, "and nobody finds it: {nameless:?}");
    one_fault(with("  <rcv_poller>p</rcv_poller>\n", ""), 5, "needs an element <rcv_poller>");
    one_fault(
        with("  <rcv_poller>p</rcv_poller>\n", "  <rcv_poller>q</rcv_poller>\n"),
        6,
        "no <rcv_poller_config> of the name \"q\"",
    );
    let port = "  <rcv_poller>p</rcv_poller>\n  <min_port>0</min_port>\n";
    one_fault(with("  <rcv_poller>p</rcv_poller>\n", port), 7, "allowed: 1 to 65535");
    let ports = "  <rcv_poller>p</rcv_poller>\n  <min_port>40000</min_port>\n";
    one_fault(
        with("  <rcv_poller>p</rcv_poller>\n", ports),
        5,
        "above <max_port> 35005, the default",
    );
    let streams = "  <rcv_poller>p</rcv_poller>\n  <num_streams>0</num_streams>\n";
    one_fault(with("  <rcv_poller>p</rcv_poller>\n", streams), 7, "<num_streams> is no number");
    let subnet = "  <rcv_poller>p</rcv_poller>\n  <subnet>10.1/33</subnet>\n";
    one_fault(with("  <rcv_poller>p</rcv_poller>\n", subnet), 7, "<subnet> is neither");
    let more = "  <rcv_poller>p</rcv_poller>\n  <colour>red</colour>\n";
    one_fault(with("  <rcv_poller>p</rcv_poller>\n", more), 7, "has no element <colour>");
    let twice = "  <rcv_poller>p</rcv_poller>\n  <rcv_poller>p</rcv_poller>\n";
    one_fault(
        with("  <rcv_poller>p</rcv_poller>\n", twice),
        7,
        "a second time (the first: line 6)",
    );
    one_fault(
        with("<rcv_poller>p</rcv_poller>\n</topic", "<rcv_poller></rcv_poller>\n</topic"),
        10,
        "empty",
    );
    one_fault(with("<autodisc_config>", "<autodisc_config>text"), 8, "no text of its own");

    let group = |of: &str, group: &str| {
        with("</rcv_poller>\n</topic", &format!("</rcv_poller><{of}>{group}</{of}>\n</topic"))
    };
    for address in ["10.0.0.1", "group", "ff15::1"] {
        one_fault(group("multicast_address_low", address), 10, "is no IPv4 multicast address");
    }
    let turned = "225.0.0.9</multicast_address_low><multicast_address_high>225.0.0.8\
                  </multicast_address_high><multicast_address_low>";
    let found = faults(group("multicast_address_low", turned));
    assert!(found.iter().any(|(_, what)| what.contains("225.0.0.9 is above")), "{found:?}");
    let discovery =
        with("</autodisc_config>", "<multicast_address>x</multicast_address></autodisc_config>");
    one_fault(discovery, 8, "is no IPv4 multicast address");

    let patterns = |patterns: &str| [OPEN, LEAST, patterns, CLOSE].concat();
    one_fault(patterns(""), 2, "needs an element <topic_pattern>");
    one_fault(patterns("<topic_pattern pattern=\"a\" template=\"x\"/>"), 12, "no <topic_template>");
    one_fault(patterns(&PATTERN.repeat(2)), 13, "is there twice (the first: line 12)");
    let of = |pattern: &str| PATTERN.replace(".*", pattern);
    one_fault(patterns(&of("(?=a)b")), 12, "no counterpart");
    one_fault(patterns(&of("a*+")), 12, "possessive");
    one_fault(patterns(&of("[+--]")), 12, "a class with \"--\"");
    let (_, config) = imported(&patterns(&of(r"\p{Alpha}+\.[a-z&amp;&amp;[^x]]{2}")));
    assert!(config.route("a.bc").is_ok() && config.route("a.xb").is_err());
    let colour = PATTERN.replace("/>", " colour=\"red\"/>");
    one_fault(patterns(&colour), 12, "has no attribute \"colour\"");
    assert_eq!(faults(patterns(&[of("(?=a)"), of("b++")].concat())).len(), 2, "all are told");
}

#[test]
fn values_that_are_not_allowed_here_become_comments() {
    let least = LEAST.replace(
        "</autodisc_config>",
        "<refresh_interval>1</refresh_interval><multicast_address>224.0.0.5</multicast_address>\
         </autodisc_config>",
    );
    let (toml, _) = imported(&[OPEN, &least, PATTERN, CLOSE].concat());
    let text = toml.replace("\n# ", " ");
    assert!(text.contains("multicast_address 224.0.0.5 (line 8): is not a multicast"), "{toml}");
    assert!(text.contains("refresh_interval 1 ms and timeout 10000 ms"), "{toml}");
    assert!(text.contains("allowed: 10ms to 1m"), "{toml}");
}

/// Commands that have nothing but an imported file meet on every transport.
#[test]
fn what_was_imported_runs() {
    let world = World::new();
    let (xml, toml) = (world.config_file().with_extension("xml"), world.config_file());
    let template = |transport: &str, further: &str| {
        let name = transport.to_lowercase();
        format!(
            "<topic_template name=\"{name}\"><transport_type>{transport}</transport_type>\
             <rcv_poller>p</rcv_poller>{further}</topic_template>\n"
        )
    };
    let subnet = "<subnet>127.0.0.0/8</subnet>";
    let ports = format!("<min_port>20000</min_port><max_port>29999</max_port>{subnet}");
    let text = [
        OPEN,
        "<driver_type>EMBEDDED</driver_type>\n<rcv_poller_config name=\"p\">\
         <idle_strategy_type>BACK_OFF</idle_strategy_type></rcv_poller_config>\n",
        &format!("<control_rcv_config>{ports}</control_rcv_config>\n"),
        &format!("<responses_config><rcv_poller>p</rcv_poller>{ports}</responses_config>\n"),
        &format!(
            "<autodisc_config><autodisc_type>MULTICAST</autodisc_type>\
             <multicast_port>{}</multicast_port>{subnet}</autodisc_config>\n",
            world.discovery_port()
        ),
        &[template("MULTICAST", subnet), template("UNICAST", &ports), template("IPC", "")].concat(),
        r#"<topic_pattern pattern="uni\..*" template="unicast"/>"#,
        r#"<topic_pattern pattern="\Qipc.\E[a-z]+\.\d*" template="ipc"/>"#,
        r#"<topic_pattern pattern=".*" template="multicast"/>"#,
        CLOSE,
    ];
    fs::write(&xml, text.concat()).unwrap();
    let (from, to) = (xml.to_str().unwrap(), toml.to_str().unwrap());
    world.start(&["config", "import", from, "-o", to]).finish().expect_code(0);
    for (name, by) in [("uni.a", "unicast"), ("ipc.a", "ipc"), ("prices", "multicast")] {
        let topic = world.topic(name);
        let subscriber =
            world.start(&["sub", &topic, "--count", "1", "--duration", PATIENCE_ARGUMENT]);
        let publish =
            ["pub", &topic, "1.0842", "--wait-subscribers", "1", "--wait", PATIENCE_ARGUMENT];
        let sent = world.start(&publish).finish().expect_code(0);
        assert!(sent.text().contains(&format!(" by {by} ")), "{}", sent.text());
        assert!(subscriber.finish().expect_code(0).text().contains("1.0842"));
    }
    let topic = world.topic("uni.quotes");
    let responder = world.start(&["respond", &topic, "--body", "42"]);
    let ask = ["request", &topic, "?", "--wait-subscribers", "1", "--wait", PATIENCE_ARGUMENT];
    let answer = world.start(&ask).finish().expect_code(0);
    assert!(answer.text().contains("42"), "{}", answer.text());
    drop(responder);
}
