//! A subscription as a channel: messages and requests in a thread of one's own, over unicast.
//! Layer: examples.
//!
//! `cargo run --example channel_subscriber [CONFIG]`. For work that is too slow for a callback, or
//! for threads that already have a loop: the poller copies into a bounded channel and never waits.

use std::error::Error;
use std::time::Duration;
use std::{env, thread};

use vega::{Config, Delivery, Instance, RespondError, Response, SentRequest, TopicReceiver};

const TOPIC: &str = "unicast.orders";
const ORDERS: u32 = 5;
const PATIENCE: Duration = Duration::from_secs(10);

/// What the thread did until the channel was disconnected.
#[derive(Default)]
struct Worked {
    orders: u32,
    lost: u64,
}

/// Takes orders, and answers whoever asks how many there were.
fn work(deliveries: &TopicReceiver) -> Result<Worked, RespondError> {
    let mut worked = Worked::default();
    // Ends when the subscription does.
    for delivery in deliveries.iter() {
        match delivery {
            Delivery::Message(order) => {
                worked.orders += 1;
                println!(
                    "order {}: {}",
                    order.sequence(),
                    String::from_utf8_lossy(order.payload())
                );
            }
            Delivery::Request(request) => {
                request.respond(worked.orders.to_string().as_bytes())?;
            }
            Delivery::Lost { messages, .. } => worked.lost += messages,
            // More kinds of deliveries may come with later versions.
            _ => {}
        }
    }
    Ok(worked)
}

fn main() -> Result<(), Box<dyn Error>> {
    let config = env::args().nth(1).map(Config::from_file).transpose()?.unwrap_or_default();
    let exchange = Instance::builder().name("exchange").config(config.clone()).start()?;
    let trader = Instance::builder().name("trader").config(config).start()?;

    // Room for what may wait while the thread is busy; more than that is discarded and counted.
    let (subscription, deliveries) = exchange.subscribe_channel(TOPIC, 1024)?;
    let overflow = deliveries.clone();
    let worker =
        thread::Builder::new().name("matching".to_owned()).spawn(move || work(&deliveries))?;

    let mut publisher = trader.publisher(TOPIC)?;
    if !publisher.wait_for_subscribers(1, PATIENCE) {
        return Err("the exchange did not turn up".into());
    }
    for order in 1..=ORDERS {
        publisher.send(format!("buy {} EURUSD", order * 100_000).as_bytes())?;
    }
    // Requests travel in the order of the messages, so this one arrives after all orders.
    let (answered, answers) = std::sync::mpsc::channel();
    publisher.request(
        b"how many?",
        PATIENCE,
        move |request: &SentRequest, count: &Response<'_>| {
            request.close();
            let _ = answered.send(String::from_utf8_lossy(count.payload()).into_owned());
        },
    )?;
    println!("the exchange has taken {} orders", answers.recv_timeout(PATIENCE)?);

    subscription.unsubscribe();
    let worked = worker.join().map_err(|_| "the worker panicked")??;
    println!("{} orders, {} lost, {} discarded", worked.orders, worked.lost, overflow.overflow());
    trader.close()?;
    exchange.close()?;
    Ok(())
}
