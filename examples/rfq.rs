//! A request for quote: one request, three dealers, several quotes from each. Layer: examples.
//!
//! `cargo run --example rfq [CONFIG]`. Shows a request with many responses: each quote gives the
//! request more time, a quote that is good enough closes it, and a request that nobody answers
//! times out.

use std::error::Error;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;
use std::{env, thread};

use vega::{
    Config, Instance, Listener, OwnedRequest, Request, RequestError, RespondError, Response,
    ResponseListener, SentRequest, Subscription,
};

const TOPIC: &str = "rfq.bonds";
/// How long the desk waits for the next quote.
const PATIENCE: Duration = Duration::from_millis(500);
/// Quotes follow each other faster than that, but all of them together take longer.
const BETWEEN_QUOTES: Duration = Duration::from_millis(60);
/// The desk buys as soon as somebody sells at this price.
const GOOD_ENOUGH: u32 = 9_960;

/// Dealers and the prices, in hundredths, that each of them offers one after the other.
const DEALERS: [(&str, &[u32]); 3] = [
    ("north", &[10_010, 9_995, 9_990, 9_985, 9_980, 9_975, 9_970, 9_965, 9_960, 9_955]),
    ("south", &[10_020, 10_000, 9_985]),
    ("east", &[10_005, 9_990]),
];

/// The dealer's side: hands requests to a thread of its own. The poller must not wait between
/// quotes, so the request is promoted and answered from elsewhere.
struct Desk {
    requests: Sender<OwnedRequest>,
}

impl Listener for Desk {
    fn on_request(&mut self, request: &Request<'_>) {
        let _ = self.requests.send(request.to_owned());
    }
}

/// A dealer that runs until its subscription ends.
struct Dealer {
    instance: Instance,
    subscription: Subscription,
    thread: thread::JoinHandle<Result<(), RespondError>>,
}

impl Dealer {
    fn start(
        name: &'static str,
        prices: &'static [u32],
        config: Config,
    ) -> Result<Self, Box<dyn Error>> {
        let instance = Instance::builder().name(name).config(config).start()?;
        let (requests, inbox) = mpsc::channel();
        let subscription = instance.subscribe(TOPIC, Desk { requests })?;
        let thread =
            thread::Builder::new().name(name.to_owned()).spawn(move || answer(prices, &inbox))?;
        Ok(Self { instance, subscription, thread })
    }

    fn stop(self) -> Result<(), Box<dyn Error>> {
        self.subscription.unsubscribe();
        // The thread ends after its last quote, which needs an instance to leave by.
        self.thread.join().map_err(|_| "a dealer panicked")??;
        self.instance.close()?;
        Ok(())
    }
}

/// Quotes every bond but the one that nobody trades.
fn answer(prices: &[u32], inbox: &Receiver<OwnedRequest>) -> Result<(), RespondError> {
    for request in inbox {
        if request.payload().as_ref() == b"unobtainable" {
            continue;
        }
        for price in prices {
            // A dealer does not know that the desk has closed the request: quotes that come too
            // late are dropped at the desk, so going on is harmless.
            request.respond(&price.to_le_bytes())?;
            thread::sleep(BETWEEN_QUOTES);
        }
    }
    Ok(())
}

/// How a request ended.
enum Outcome {
    Bought { price: u32, quotes: u64 },
    TimedOut { quotes: u64 },
}

/// The desk's side: called for every quote, and once when time is over.
struct Quotes {
    names: Vec<(vega::InstanceId, &'static str)>,
    outcome: Sender<Outcome>,
}

impl ResponseListener for Quotes {
    fn on_response(&self, request: &SentRequest, response: &Response<'_>) {
        let Ok(bytes) = response.payload().try_into() else { return };
        let price = u32::from_le_bytes(bytes);
        let dealer = self.names.iter().find(|(id, _)| *id == response.responder());
        let dealer = dealer.map_or("unknown", |(_, name)| name);
        println!("  {dealer:<6} offers {}", decimal(price));
        if price > GOOD_ENOUGH {
            request.reset_expiration(PATIENCE);
            return;
        }
        // From here on there is no callback for this request: neither quote nor timeout.
        if request.close() {
            let quotes = request.number_of_responses();
            let _ = self.outcome.send(Outcome::Bought { price, quotes });
        }
    }

    fn on_timeout(&self, request: &SentRequest) {
        let _ = self.outcome.send(Outcome::TimedOut { quotes: request.number_of_responses() });
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let config = env::args().nth(1).map(Config::from_file).transpose()?.unwrap_or_default();
    let mut dealers = Vec::new();
    for (name, prices) in DEALERS {
        dealers.push(Dealer::start(name, prices, config.clone())?);
    }
    let desk = Instance::builder().name("desk").config(config).start()?;
    let mut publisher = desk.publisher(TOPIC)?;
    if !publisher.wait_for_subscribers(dealers.len(), Duration::from_secs(10)) {
        return Err("not all dealers turned up".into());
    }

    let names: Vec<_> = dealers
        .iter()
        .zip(DEALERS)
        .map(|(dealer, (name, _))| (dealer.instance.id(), name))
        .collect();
    let mut ask = |bond: &str| -> Result<Receiver<Outcome>, RequestError> {
        println!("who sells {bond}?");
        let (outcome, outcomes) = mpsc::channel();
        let listener = Quotes { names: names.clone(), outcome };
        publisher.request(bond.as_bytes(), PATIENCE, listener)?;
        Ok(outcomes)
    };
    for bond in ["treasury 2035", "unobtainable"] {
        // Longer than all quotes together: the request ends by itself, one way or the other.
        match ask(bond)?.recv_timeout(Duration::from_secs(10))? {
            Outcome::Bought { price, quotes } => {
                println!("bought at {} after {quotes} quotes", decimal(price));
            }
            Outcome::TimedOut { quotes } => println!("no deal, {quotes} quotes"),
        }
    }

    desk.close()?;
    dealers.into_iter().try_for_each(Dealer::stop)
}

fn decimal(hundredths: u32) -> String {
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}
