//! iceoryx2: publish and subscribe over shared memory, with full buffers holding the publisher
//! back instead of overwriting. Layer: peers.

use anyhow::{Context, anyhow};
use iceoryx2::config::Config;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::port::update_connections::UpdateConnections;
use iceoryx2::prelude::*;
use iceoryx2::service::port_factory::PortFactory as _;
use iceoryx2::service::port_factory::publish_subscribe::PortFactory;

use crate::console::Console;
use crate::part::Part;
use crate::polled::{self, Channel, Inlet, Link, Outlet};

/// Messages that a subscriber may have waiting.
const BUFFER: usize = 1024;

/// Plays a part.
pub(super) fn play(part: &Part, console: &Console) -> anyhow::Result<()> {
    polled::play(&Iceoryx2::new(part)?, part, console)
}

type Ports = PortFactory<ipc::Service, [u8], ()>;

struct Iceoryx2 {
    node: Node<ipc::Service>,
    name: String,
    size: usize,
}

struct Sender {
    publisher: Publisher<ipc::Service, [u8], ()>,
    service: Ports,
}

struct Receiver(Subscriber<ipc::Service, [u8], ()>);

impl Iceoryx2 {
    fn new(part: &Part) -> anyhow::Result<Self> {
        let name = part.place.name();
        let mut config = Config::default();
        // Away from everybody else's services, and swept up with the directory.
        config.global.prefix = name.as_str().try_into().map_err(|e| anyhow!("prefix: {e:?}"))?;
        let root = part.place.directory.to_string_lossy();
        let root = root.as_ref().try_into().map_err(|e| anyhow!("root: {e:?}"))?;
        config.global.set_root_path(&root);
        let node = NodeBuilder::new()
            .signal_handling_mode(SignalHandlingMode::Disabled)
            .config(&config)
            .create::<ipc::Service>()
            .context("iceoryx2 starts no node")?;
        Ok(Self { node, name, size: part.case.size })
    }

    fn service(&self, channel: Channel) -> anyhow::Result<Ports> {
        let name = format!("{}/{channel:?}", self.name);
        self.node
            .service_builder(&name.as_str().try_into().map_err(|e| anyhow!("service: {e:?}"))?)
            .publish_subscribe::<[u8]>()
            .enable_safe_overflow(false)
            .history_size(0)
            .subscriber_max_buffer_size(BUFFER)
            .max_publishers(1)
            .max_subscribers(1)
            .open_or_create()
            .context("iceoryx2 opens no service")
    }
}

impl Link for Iceoryx2 {
    type Outlet = Sender;
    type Inlet = Receiver;

    fn outlet(&self, channel: Channel) -> anyhow::Result<Sender> {
        let service = self.service(channel)?;
        let publisher = service
            .publisher_builder()
            .initial_max_slice_len(self.size)
            .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
            .create()
            .context("iceoryx2 makes no publisher")?;
        Ok(Sender { publisher, service })
    }

    fn inlet(&self, channel: Channel) -> anyhow::Result<Receiver> {
        let subscriber = self.service(channel)?.subscriber_builder().create();
        Ok(Receiver(subscriber.context("iceoryx2 makes no subscriber")?))
    }
}

impl Outlet for Sender {
    fn is_ready(&mut self) -> anyhow::Result<bool> {
        self.publisher.update_connections().context("iceoryx2 does not connect")?;
        Ok(self.service.dynamic_config().number_of_subscribers() > 0)
    }

    #[inline]
    fn send(&mut self, message: &[u8]) -> anyhow::Result<bool> {
        let sample = self.publisher.loan_slice_uninit(message.len())?;
        sample.write_from_slice(message).send()?;
        Ok(true)
    }
}

impl Inlet for Receiver {
    #[inline]
    fn poll(&mut self, mut on_message: impl FnMut(&[u8])) -> anyhow::Result<usize> {
        match self.0.receive()? {
            Some(sample) => {
                on_message(sample.payload());
                Ok(1)
            }
            None => Ok(0),
        }
    }
}
