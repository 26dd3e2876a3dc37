//! A dealer: answers every request for quote several times. Layer: bin; a process of its own. The
//! first quote is sent from the callback, the others from a thread, when the callback is long over.

use std::thread;

use crossbeam_channel::Sender;
use vega::{Listener, OwnedRequest, Request};

use super::script::{Command, QUOTE_INTERVAL, QUOTES, RFQ, Report};
use crate::args::Common;
use crate::stage::role::{self, Commands};

/// Requests that may wait for their further quotes.
const MAX_WAITING: usize = 16;

pub(super) fn run(common: &Common, number: u32) -> anyhow::Result<()> {
    let commands = Commands::<Command>::new()?;
    let name = format!("dealer-{number}");
    let instance = common.start_as(&name)?;
    let (later, waiting) = crossbeam_channel::bounded::<OwnedRequest>(MAX_WAITING);
    let dealer = Dealer { name, number, later };
    let quotes = dealer.quotes();
    thread::Builder::new().name("quotes".to_owned()).spawn(move || {
        for request in waiting {
            for quote in &quotes[1..] {
                thread::sleep(QUOTE_INTERVAL);
                if let Err(error) = request.respond(quote.as_bytes()) {
                    tracing::error!(%error, "a quote was not sent");
                }
            }
        }
    })?;
    let subscription = instance.subscribe(RFQ.topic, dealer)?;
    role::report(&Report::Ready)?;
    commands.wait_for_end();
    subscription.unsubscribe();
    Ok(instance.close()?)
}

struct Dealer {
    name: String,
    number: u32,
    later: Sender<OwnedRequest>,
}

impl Dealer {
    /// All that this dealer has to say, in order, better every time.
    fn quotes(&self) -> Vec<String> {
        (1..=QUOTES)
            .map(|quote| {
                let spread = 10 + self.number - quote;
                format!("{} quotes a spread of {spread} ({quote} of {QUOTES})", self.name)
            })
            .collect()
    }
}

impl Listener for Dealer {
    fn on_request(&mut self, request: &Request<'_>) {
        if let Err(error) = request.respond(self.quotes()[0].as_bytes()) {
            tracing::error!(%error, "a quote was not sent");
        }
        if self.later.try_send(request.to_owned()).is_err() {
            tracing::error!("too many requests are waiting for quotes");
        }
    }
}
