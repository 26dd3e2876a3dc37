//! How each peer sends and receives. Layer: peers. What differs between peers is here, and nothing
//! else: messages, clocks and counting are the same for all.

#[cfg(feature = "aeron")]
mod aeron;
#[cfg(feature = "iceoryx2")]
mod iceoryx2;
mod memory;
#[cfg(feature = "nats")]
mod nats;
mod udp;
mod vega;
#[cfg(feature = "zeromq")]
mod zeromq;

use crate::cases::Transport;
use crate::console::Console;
use crate::machine::locked;
use crate::part::Part;
use crate::setups::Peer;

/// Plays a part until it is time to leave.
///
/// # Errors
///
/// Whatever the peer's library or the system refuses.
pub(crate) fn play(part: &Part, console: &Console) -> anyhow::Result<()> {
    match part.setup.peer {
        Peer::Vega => vega::play(part, console),
        Peer::Raw if part.case.transport == Transport::Ipc => memory::play(part, console),
        Peer::Raw => udp::play(part, console),
        #[cfg(feature = "aeron")]
        Peer::Aeron => aeron::play(part, console),
        #[cfg(feature = "iceoryx2")]
        Peer::Iceoryx2 => iceoryx2::play(part, console),
        #[cfg(feature = "nats")]
        Peer::Nats => nats::play(part, console),
        #[cfg(feature = "zeromq")]
        Peer::Zeromq => zeromq::play(part, console),
        #[cfg(not(all(
            feature = "aeron",
            feature = "iceoryx2",
            feature = "nats",
            feature = "zeromq"
        )))]
        peer => anyhow::bail!("{peer} is not built in"),
    }
}

/// Why a peer cannot take part, if that is known beforehand.
pub(crate) fn absence(peer: Peer) -> Option<String> {
    let feature = match peer {
        Peer::Aeron if cfg!(not(feature = "aeron")) => "aeron",
        Peer::Iceoryx2 if cfg!(not(feature = "iceoryx2")) => "iceoryx2",
        Peer::Nats if cfg!(not(feature = "nats")) => "nats",
        Peer::Zeromq if cfg!(not(feature = "zeromq")) => "zeromq",
        #[cfg(feature = "nats")]
        Peer::Nats => return nats::absence(),
        _ => return None,
    };
    Some(format!("built without the feature {feature:?}"))
}

/// Whether the exchange needs a third process.
pub(crate) const fn has_broker(peer: Peer) -> bool {
    matches!(peer, Peer::Aeron | Peer::Nats)
}

/// What is compared, with versions.
pub(crate) fn version(peer: Peer) -> String {
    let package = |name| locked(name).unwrap_or_default();
    match peer {
        Peer::Vega => package("vega-messaging"),
        #[cfg(feature = "aeron")]
        Peer::Aeron => {
            format!("{} (C driver; rusteron {})", aeron::version(), package("rusteron-client"))
        }
        Peer::Iceoryx2 => package("iceoryx2"),
        #[cfg(feature = "nats")]
        Peer::Nats => {
            let server = nats::server_version().unwrap_or_default();
            format!("{server} (async-nats {})", package("async-nats"))
        }
        #[cfg(feature = "zeromq")]
        Peer::Zeromq => {
            let (major, minor, patch) = zmq::version();
            format!("libzmq {major}.{minor}.{patch} (zmq {})", package("zmq"))
        }
        _ => String::new(),
    }
}
