//! Aeron: the C driver in a process of its own, and two clients with the C client library. Layer:
//! peers.

use std::ffi::{CStr, CString};
use std::fs;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use rusteron_client::{
    Aeron as Client, AeronContext, AeronExclusivePublication, AeronImage, AeronOfferError,
    AeronSubscription, Handlers,
};
use rusteron_media_driver::bindings::aeron_threading_mode_enum;
use rusteron_media_driver::{AeronDriver, AeronDriverContext};

use crate::cases::{Case, Transport};
use crate::console::{Console, Report};
use crate::part::{Part, Role};
use crate::polled::{self, Channel, Inlet, Link, MEETING, Outlet};
use crate::setups::{AeronDetails, Buffers, Details, DriverIdle, Threading};

/// Where the files of driver and clients are, below the place of the exchange.
const DIRECTORY: &str = "aeron";
/// Fragments of one poll, as in Aeron's samples.
const FRAGMENTS: usize = 10;
/// As in Aeron's benchmarks.
const LARGE_BYTES: usize = 2 << 20;
/// Terms that stay in a second-level cache. Half of one may be under way.
const CACHED_TERM: &str = "256k";
const STREAM: i32 = 1001;

/// Plays a part.
pub(super) fn play(part: &Part, console: &Console) -> anyhow::Result<()> {
    match part.role {
        Role::Broker => drive(part, console),
        _ => polled::play(&Aeron::connect(part)?, part, console),
    }
}

fn details(part: &Part) -> anyhow::Result<AeronDetails> {
    match part.setup.details {
        Details::Aeron(details) => Ok(details),
        _ => bail!("no setup of Aeron"),
    }
}

fn c_string(text: impl Into<Vec<u8>>) -> anyhow::Result<CString> {
    CString::new(text).context("a zero byte")
}

fn directory(part: &Part) -> anyhow::Result<CString> {
    c_string(part.place.directory.join(DIRECTORY).to_string_lossy().as_bytes())
}

/// Of the C sources.
pub(super) fn version() -> &'static str {
    Client::version_text()
}

/// Runs the driver until it is time to leave.
fn drive(part: &Part, console: &Console) -> anyhow::Result<()> {
    let details = details(part)?;
    let context = AeronDriverContext::new()?;
    context.set_dir(&directory(part)?)?;
    context.set_dir_delete_on_start(true)?;
    context.set_dir_delete_on_shutdown(true)?;
    context.set_print_configuration(false)?;
    context.set_term_buffer_sparse_file(false)?;
    context.set_threading_mode(match details.threading {
        Threading::Shared => aeron_threading_mode_enum::AERON_THREADING_MODE_SHARED,
        Threading::Dedicated => aeron_threading_mode_enum::AERON_THREADING_MODE_DEDICATED,
    })?;
    let idle = match details.idle {
        DriverIdle::Backoff => c"backoff",
        DriverIdle::Yield => c"yield",
        DriverIdle::Spin => c"spin",
    };
    context.set_shared_idle_strategy(idle)?;
    context.set_conductor_idle_strategy(idle)?;
    context.set_sender_idle_strategy(idle)?;
    context.set_receiver_idle_strategy(idle)?;
    if details.buffers == Buffers::Large {
        let bytes = LARGE_BYTES.min(most_receive_bytes());
        context.set_socket_so_rcvbuf(bytes)?;
        context.set_socket_so_sndbuf(bytes)?;
        context.set_rcv_initial_window_length(bytes)?;
    }
    let driver = AeronDriver::new(&context).map_err(|error| anyhow!("the driver: {error:?}"))?;
    driver.start(true).map_err(|error| anyhow!("the driver does not start: {error:?}"))?;
    console.report(&Report::Ready)?;
    while !console.is_over() {
        driver.main_idle_strategy(driver.main_do_work()?);
    }
    Ok(())
}

/// What a socket may ask for.
fn most_receive_bytes() -> usize {
    let text = fs::read_to_string(Path::new("/proc/sys/net/core/rmem_max")).unwrap_or_default();
    text.trim().parse().unwrap_or(usize::MAX)
}

struct Aeron {
    client: Client,
    channels: [CString; 2],
}

struct Sender(AeronExclusivePublication);

struct Receiver {
    subscription: AeronSubscription,
    image: Option<AeronImage>,
}

impl Aeron {
    fn connect(part: &Part) -> anyhow::Result<Self> {
        let context = AeronContext::new()?;
        context.set_dir(&directory(part)?)?;
        context.set_pre_touch_mapped_memory(true)?;
        let client = Client::new(&context).map_err(|error| anyhow!("no client: {error:?}"))?;
        client.start().map_err(|error| anyhow!("the client does not start: {error:?}"))?;
        let buffers = details(part)?.buffers;
        let channel = |port| channel(&part.case, part.place.port(port), buffers);
        Ok(Self { client, channels: [c_string(channel(0))?, c_string(channel(1))?] })
    }

    fn uri(&self, channel: Channel) -> &CStr {
        &self.channels[channel as usize]
    }
}

/// The channel in Aeron's notation.
fn channel(case: &Case, port: u16, buffers: Buffers) -> String {
    let mut uri = match case.transport {
        Transport::Ipc => format!("aeron:ipc?mtu={}", case.packet_bytes),
        Transport::Unicast => {
            format!("aeron:udp?endpoint=127.0.0.1:{port}|mtu={}", case.packet_bytes)
        }
        Transport::Multicast => {
            // Aeron takes groups with an odd end, and the next one for control. The slowest
            // receiver sets the pace, as in vega: otherwise this would not be reliable.
            let group = "239.255.0.21";
            let mtu = case.packet_bytes;
            format!("aeron:udp?endpoint={group}:{port}|interface=127.0.0.1|fc=min|mtu={mtu}")
        }
    };
    if buffers == Buffers::Cached {
        uri += &format!("|term-length={CACHED_TERM}");
    }
    uri
}

impl Link for Aeron {
    type Outlet = Sender;
    type Inlet = Receiver;

    fn outlet(&self, channel: Channel) -> anyhow::Result<Sender> {
        let stream = STREAM + channel as i32;
        let publication = self
            .client
            .async_add_exclusive_publication(self.uri(channel), stream)
            .and_then(|publication| publication.poll_blocking(MEETING));
        Ok(Sender(publication.map_err(|error| anyhow!("no publication: {error:?}"))?))
    }

    fn inlet(&self, channel: Channel) -> anyhow::Result<Receiver> {
        let stream = STREAM + channel as i32;
        let subscription = self
            .client
            .async_add_subscription(self.uri(channel), stream, Handlers::NONE, Handlers::NONE)
            .and_then(|subscription| subscription.poll_blocking(MEETING));
        let subscription = subscription.map_err(|error| anyhow!("no subscription: {error:?}"))?;
        Ok(Receiver { subscription, image: None })
    }
}

impl Outlet for Sender {
    fn is_ready(&mut self) -> anyhow::Result<bool> {
        Ok(self.0.is_connected())
    }

    #[inline]
    fn send(&mut self, message: &[u8]) -> anyhow::Result<bool> {
        match self.0.offer(message) {
            Ok(_) => Ok(true),
            Err(
                AeronOfferError::BackPressured
                | AeronOfferError::AdminAction
                | AeronOfferError::NotConnected,
            ) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl Inlet for Receiver {
    #[inline]
    fn poll(&mut self, mut on_message: impl FnMut(&[u8])) -> anyhow::Result<usize> {
        // There is one publisher: its image spares the look at the list of images.
        let Some(image) = &self.image else {
            self.image = self.subscription.image_at_index(0);
            return Ok(0);
        };
        let came = image.poll_fn(|message, _header| on_message(message), FRAGMENTS)?;
        Ok(usize::try_from(came).unwrap_or_default())
    }
}
