//! Waiting for subscribers before something is sent to them. Layer: bin.

use std::time::Duration;

use vega::{Instance, Publisher};

use crate::clock;
use crate::output::note;
use crate::signals::StopFlag;

/// Between two looks at the stop flag.
const LOOK: Duration = Duration::from_millis(50);

/// Whom to wait for, and how long.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct WaitArgs {
    /// Send nothing and exit with 1 unless N subscribers are there in time. Without this, wait for
    /// one, and send anyway when there is none
    #[arg(long, value_name = "N")]
    wait_subscribers: Option<usize>,
    /// How long to wait for subscribers
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    wait: humantime::Duration,
}

/// How waiting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// Enough subscribers are there, or nobody insists on them.
    Ready,
    /// The user insists on more than there are.
    TooFew,
    /// The user wants to end.
    Stopped,
}

impl WaitArgs {
    /// Waits for subscribers of `publisher`, and says so when they do not come.
    pub(crate) fn wait(
        &self,
        instance: &Instance,
        publisher: &Publisher,
        stop: &StopFlag,
    ) -> Waited {
        let wanted = self.wait_subscribers.unwrap_or(1);
        let limit: Duration = self.wait.into();
        let start = clock::now();
        loop {
            let left = limit.saturating_sub(start.elapsed());
            if publisher.wait_for_subscribers(wanted, left.min(LOOK)) {
                return Waited::Ready;
            }
            if stop.is_raised() {
                return Waited::Stopped;
            }
            if left.is_zero() {
                remark_on_daemons(instance);
                if instance.peers().is_empty() {
                    remark_on_solitude(instance);
                }
                return self.complain(publisher, wanted);
            }
        }
    }

    fn complain(&self, publisher: &Publisher, wanted: usize) -> Waited {
        let (topic, within) = (publisher.topic(), self.wait);
        if self.wait_subscribers.is_none() {
            note(format_args!("no subscriber of {topic} within {within}: sending anyway"));
            return Waited::Ready;
        }
        let found = publisher.subscribers();
        note(format_args!(
            "{found} of {wanted} subscribers of {topic} within {within}: nothing is sent"
        ));
        Waited::TooFew
    }
}

/// Whom daemons would have led to is not found without them.
fn remark_on_daemons(instance: &Instance) {
    let config = instance.config();
    if config.discovery_daemons().is_empty() || !instance.daemons_up().is_empty() {
        return;
    }
    let silence = "no discovery daemon of the configuration answers";
    match config.discovery_group() {
        None => note(format_args!("{silence}: nobody is found until one does")),
        Some(group) => note(format_args!(
            "{silence}: until one does, only who is at the discovery group {group} is found"
        )),
    }
}

/// Nobody at all is there: then where this command looks may be why.
fn remark_on_solitude(instance: &Instance) {
    let Some(group) = instance.config().discovery_group() else { return };
    let (own, other) = if group.is_ipv6() { ("IPv6", "IPv4") } else { ("IPv4", "IPv6") };
    note(format_args!(
        "no other instance is at the discovery group {group}, which is of {own}: those whose discovery \
         is of {other} are not heard here"
    ));
}
