//! How the instances of a host share its ports. Layer: bin. Pure functions.

use std::ops::RangeInclusive;

use serde::Serialize;
use vega::Config;

/// One kind of socket that each instance has one of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Shared {
    pub(super) sockets: &'static str,
    pub(super) ports: String,
    /// How many instances fit.
    pub(super) room: u64,
    /// How many there are on the host that has the most.
    pub(super) instances: u64,
    /// Of those, how many find the port that their hash prefers taken and use another one, at least
    /// and on average.
    pub(super) displaced: f64,
}

/// How responses and control share the ports of a host with so many instances.
pub(super) fn shared(config: &Config, instances: u64) -> Vec<Shared> {
    let of = |sockets, ports: RangeInclusive<u16>| {
        let room = u64::from(ports.end() - ports.start()) + 1;
        Shared {
            sockets,
            ports: format!("{}-{}", ports.start(), ports.end()),
            room,
            instances,
            displaced: displaced(instances.min(room), room),
        }
    };
    vec![of("responses", config.response_ports()), of("control", config.control_ports())]
}

/// How many of `instances` that each prefer one of `ports` do not get it: those that prefer what
/// another one has.
fn displaced(instances: u64, ports: u64) -> f64 {
    let (instances, ports) = (instances as f64, ports as f64);
    let missed = if ports > 1.0 { (instances * (-1.0 / ports).ln_1p()).exp() } else { 0.0 };
    (instances - ports * (1.0 - missed)).max(0.0)
}

/// Ports that all instances of a host take, and those that the ranges have together: where ranges
/// overlap, they share them.
pub(super) fn fits(config: &Config, instances: u64) -> bool {
    let (responses, control) = (config.response_ports(), config.control_ports());
    let size = |range: &RangeInclusive<u16>| u64::from(range.end() - range.start()) + 1;
    let low = *responses.start().max(control.start());
    let high = *responses.end().min(control.end());
    let both = if low <= high { u64::from(high - low) + 1 } else { 0 };
    let union = size(&responses) + size(&control) - both;
    instances <= size(&responses) && instances <= size(&control) && 2 * instances <= union
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displacement_is_that_of_balls_in_bins() {
        assert!(displaced(1, 96) < 1e-9);
        assert!((displaced(2, 96) - 1.0 / 96.0).abs() < 1e-9);
        assert!(displaced(1, 1) < 1e-9);
        assert!(displaced(96, 96) > 34.0 && displaced(96, 96) < 36.0);
    }

    #[test]
    fn overlapping_ranges_have_room_once() {
        let config = |responses: &str, control: &str| {
            let text =
                format!("[responses]\nports = '{responses}'\n[control]\nports = '{control}'\n");
            Config::parse(&text).unwrap()
        };
        let apart = config("1000-1009", "2000-2009");
        assert!(fits(&apart, 10) && !fits(&apart, 11));
        let same = config("1000-1009", "1000-1009");
        assert!(fits(&same, 5) && !fits(&same, 6));
        let rows = shared(&apart, 3);
        assert_eq!((rows[0].room, rows[0].ports.as_str()), (10, "1000-1009"));
    }
}
