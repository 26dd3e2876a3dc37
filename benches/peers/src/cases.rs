//! What is compared. Layer: peers. Plain data.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Bytes of payload, as those of the project's targets.
const SIZES: [usize; 3] = [32, 256, 1024];
/// Largest packets on the wire: what fits an Ethernet frame, and Aeron's other documented size.
const PACKETS: [usize; 2] = [ETHERNET_PACKET, 8192];
const ETHERNET_PACKET: usize = 1408;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Transport {
    Ipc,
    Unicast,
    Multicast,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Measure {
    /// Time from a message to its echo.
    Rtt,
    /// Messages per second in one direction, counted where they arrive.
    Throughput,
}

/// One exchange between two processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Case {
    pub(crate) measure: Measure,
    pub(crate) transport: Transport,
    /// Bytes per message.
    pub(crate) size: usize,
    /// Most bytes per packet.
    pub(crate) packet_bytes: usize,
}

impl Case {
    /// All cases, those of one transport together.
    pub(crate) fn all() -> Vec<Self> {
        let mut cases = Vec::new();
        for transport in [Transport::Ipc, Transport::Unicast, Transport::Multicast] {
            for (measure, packet_bytes) in [
                (Measure::Rtt, ETHERNET_PACKET),
                (Measure::Throughput, ETHERNET_PACKET),
                (Measure::Throughput, PACKETS[1]),
            ] {
                let is_apart = transport == Transport::Ipc && packet_bytes != ETHERNET_PACKET;
                cases.extend(SIZES.into_iter().filter(|_| !is_apart).map(|size| Self {
                    measure,
                    transport,
                    size,
                    packet_bytes,
                }));
            }
        }
        cases
    }

    /// Whether packets are as large as an Ethernet frame carries.
    pub(crate) fn fits_ethernet(&self) -> bool {
        self.packet_bytes == ETHERNET_PACKET
    }

    /// Whether the name begins with one of these; all do if there are none.
    pub(crate) fn is_among(&self, beginnings: &[String]) -> bool {
        let name = self.to_string();
        beginnings.is_empty() || beginnings.iter().any(|begin| name.starts_with(begin.as_str()))
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipc => "ipc",
            Self::Unicast => "unicast",
            Self::Multicast => "multicast",
        })
    }
}

/// The name, such as `ipc-rtt-32` or `unicast-throughput-mtu8192-256`.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let measure = match self.measure {
            Measure::Rtt => "rtt",
            Measure::Throughput => "throughput",
        };
        write!(f, "{}-{measure}", self.transport)?;
        if !self.fits_ethernet() {
            write!(f, "-mtu{}", self.packet_bytes)?;
        }
        write!(f, "-{}", self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_chosen_by_the_beginning_of_their_names() {
        let all = Case::all();
        let chosen = |beginnings: &[&str]| {
            let beginnings: Vec<_> = beginnings.iter().map(|text| (*text).to_owned()).collect();
            all.iter().filter(|case| case.is_among(&beginnings)).count()
        };
        assert_eq!(chosen(&[]), all.len());
        assert_eq!(chosen(&["ipc"]), 6);
        assert_eq!(chosen(&["unicast-rtt", "multicast-rtt-32"]), 4);
        assert_eq!(chosen(&["unicast-throughput-mtu8192"]), 3);
        assert_eq!(chosen(&["nothing"]), 0);
    }

    #[test]
    fn names_tell_cases_apart() {
        let names: std::collections::BTreeSet<_> =
            Case::all().iter().map(ToString::to_string).collect();
        assert_eq!(names.len(), Case::all().len());
    }
}
