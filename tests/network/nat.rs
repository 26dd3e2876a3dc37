//! Instances behind address translation, as containers with mapped ports are: they meet through daemons
//! and tell others where they are reached. Tests.

use vega::Counter;

use crate::lab::{Container, Lab};
use crate::support::{Behaviour, DaemonProcess, Host, Report, Settings, Tally, eventually};

/// Where the daemons are, of which one is on the host of the containers and one is not.
const DAEMONS: [(usize, &str); 2] = [(2, "10.77.0.2:40300"), (3, "10.77.0.3:40300")];
const MESSAGES: u64 = 5_000;
const REQUESTS: u64 = 1_000;

/// An instance that has unicast and daemons only, and takes nobody for gone who has not said so. `told` are further lines for each table of sockets.
fn config(lab: &Lab, interface: &str, top: &str, told: [&str; 3]) -> String {
    let daemons = DAEMONS.map(|(_, address)| format!("'{address}'")).join(", ");
    let [responses, control, unicast] = told;
    format!(
        "interface = '{interface}'\n{top}\n\
         [discovery]\nkind = 'daemon'\ndaemons = [{daemons}]\nrefresh = '100ms'\ntimeout = '1h'\n\
         [responses]\nports = '35004-35009'\n{responses}\n\
         [control]\nports = '35010-35019'\n{control}\n\
         [ipc]\ndirectory = '{}'\n\
         [[template]]\nname = 'unicast'\ntransport = 'unicast'\nports = '35020-35029'\n{unicast}\n\
         [[topic]]\npattern = '.*'\ntemplate = 'unicast'\n",
        lab.rings().display(),
    )
}

/// The ports that instances take.
const PORTS: std::ops::RangeInclusive<u16> = 35_004..=35_029;

/// Behind host 2, whose ports that are `shift` above its own lead there.
fn inside(lab: &Lab, container: &Container, name: &str, shift: u16) -> Host {
    let range = |first: u16, last: u16| match shift {
        // Mapped to themselves: nothing to tell.
        0 => String::new(),
        _ => format!("advertise_ports = '{}-{}'", first + shift, last + shift),
    };
    let (responses, control) = (range(35_004, 35_009), range(35_010, 35_019));
    let told = [&*responses, &*control, &*range(35_020, 35_029)].map(str::to_owned);
    let told = [&*told[0], &*told[1], &*told[2]];
    let text = config(lab, &container.address, "advertise = '10.77.0.2'", told);
    lab.start_inside(container, name, &text)
}

fn start_daemons(lab: &Lab) -> Vec<DaemonProcess> {
    DAEMONS.iter().map(|(host, at)| lab.start_daemon(*host, at.parse().unwrap())).collect()
}

/// Messages and requests, both ways.
fn exchange(one: &mut Host, other: &mut Host, name: &str) {
    send_and_ask(one, other, &format!("{name}.there"));
    send_and_ask(other, one, &format!("{name}.back"));
}

fn send_and_ask(from: &mut Host, to: &mut Host, name: &str) {
    let (stream, quotes) = (format!("{name}.stream"), format!("{name}.quotes"));
    to.subscribe(&stream, Behaviour::Collect);
    to.subscribe(&quotes, Behaviour::RespondLarge(2_000));
    from.publish(&quotes);
    from.wait_for_subscribers(&quotes, 1);
    assert_eq!(from.ask_all(&quotes, REQUESTS, 1), Tally::complete(REQUESTS), "{quotes}");
    from.publish(&stream);
    from.wait_for_subscribers(&stream, 1);
    from.send_mixed(&stream, MESSAGES);
    assert_eq!(to.expect(&stream, MESSAGES), Report::complete(MESSAGES), "{stream}");
    assert_eq!(to.counter(Counter::MessagesLost), 0, "{stream}");
}

#[test]
fn an_instance_in_a_container_is_reached_at_the_ports_of_its_host() {
    for shift in [0, 10_000] {
        let Some(lab) = Lab::new(3, Settings::default()) else { return };
        let Some(container) = lab.contain(2, PORTS, shift) else { return };
        let _daemons = start_daemons(&lab);
        let mut inner = inside(&lab, &container, "inner", shift);
        let outside = config(&lab, "10.77.0.0/24", "", [""; 3]);
        let mut outer = lab.start_with(1, "outer", &outside);
        eventually("they meet", || inner.peers() == 1 && outer.peers() == 1);
        let answers = inner.response_address();
        assert_eq!(answers.ip().to_string(), "10.77.0.2");
        assert!((35_004 + shift..=35_009 + shift).contains(&answers.port()), "{answers}");
        exchange(&mut inner, &mut outer, "topic");
    }
}

/// The address of the host leads back to it: what one container sends there reaches the other.
#[test]
fn two_containers_of_one_host_reach_each_other_and_others() {
    let Some(lab) = Lab::new(3, Settings::default()) else { return };
    let Some(one) = lab.contain(2, PORTS, 10_000) else { return };
    let Some(two) = lab.contain(2, PORTS, 20_000) else { return };
    let _daemons = start_daemons(&lab);
    let mut one = inside(&lab, &one, "one", 10_000);
    let mut two = inside(&lab, &two, "two", 20_000);
    let outside = config(&lab, "10.77.0.0/24", "", [""; 3]);
    let mut outer = lab.start_with(3, "outer", &outside);
    exchange(&mut one, &mut two, "inside");
    exchange(&mut two, &mut outer, "outside");
    one.leave();
    eventually("a goodbye reaches all", || two.peers() == 1 && outer.peers() == 1);
}

/// Without being told otherwise, others try the inner address, and nothing arrives.
#[test]
fn an_instance_that_tells_its_inner_address_is_seen_and_not_reached() {
    let Some(lab) = Lab::new(3, Settings::default()) else { return };
    let Some(container) = lab.contain(2, PORTS, 0) else { return };
    let _daemons = start_daemons(&lab);
    let text = config(&lab, &container.address, "", [""; 3]);
    let mut inner = lab.start_inside(&container, "inner", &text);
    let outside = config(&lab, "10.77.0.0/24", "", [""; 3]);
    let mut outer = lab.start_with(1, "outer", &outside);
    eventually("they know of each other", || inner.peers() == 1 && outer.peers() == 1);
    outer.publish("stream");
    inner.subscribe("stream", Behaviour::Collect);
    outer.wait_for_subscribers("stream", 1);
    let mut witness = lab.start_with(3, "witness", &outside);
    witness.subscribe("stream", Behaviour::Collect);
    outer.wait_for_subscribers("stream", 2);
    outer.send("stream", 1, 100);
    assert_eq!(witness.expect("stream", 1), Report::complete(1));
    assert_eq!(inner.report("stream").received, 0);
}
