//! A publisher and a subscriber find each other, and three prices cross. Layer: examples.
//!
//! `cargo run --example quickstart [CONFIG]`. The two instances could as well live in two
//! processes: nothing below would change.

use std::sync::mpsc;
use std::time::Duration;
use std::{env, error::Error};

use vega::{Config, Instance, Message};

fn main() -> Result<(), Box<dyn Error>> {
    let config = env::args().nth(1).map(Config::from_file).transpose()?.unwrap_or_default();
    let desk = Instance::builder().name("desk").config(config.clone()).start()?;
    let feed = Instance::builder().name("feed").config(config).start()?;

    let (arrived, arrivals) = mpsc::channel();
    let _subscription = desk.subscribe("prices.EURUSD", move |message: &Message<'_>| {
        let _ = arrived.send(message.to_owned());
    })?;

    let mut publisher = feed.publisher("prices.EURUSD")?;
    if !publisher.wait_for_subscribers(1, Duration::from_secs(5)) {
        return Err("nobody subscribed within five seconds".into());
    }
    for price in ["1.0841", "1.0843", "1.0842"] {
        publisher.send(price.as_bytes())?;
    }
    for _ in 0..3 {
        let message = arrivals.recv_timeout(Duration::from_secs(5))?;
        let price = String::from_utf8_lossy(message.payload());
        println!("{} {price} (message {})", message.topic(), message.sequence());
    }
    feed.close()?;
    desk.close()?;
    Ok(())
}
