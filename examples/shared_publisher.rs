//! Four threads publish through one publisher, over shared memory. Layer: examples.
//!
//! `cargo run --release --example shared_publisher [CONFIG]`. A [`SharedPublisher`] is a
//! [`Publisher`](vega::Publisher) behind a lock: one order of messages for everybody, and no
//! second publisher of the topic.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::mpsc;
use std::time::Duration;
use std::{env, thread};

use vega::{Config, Instance, Message, SendError, SharedPublisher};

const TOPIC: &str = "ipc.fills";
const STRATEGIES: [&str; 4] = ["arbitrage", "hedging", "momentum", "spread"];
const FILLS: u32 = 5_000;
const PATIENCE: Duration = Duration::from_secs(10);

/// Publishes the fills of one strategy.
fn trade(publisher: &SharedPublisher, strategy: &str) -> Result<(), SendError> {
    for fill in 1..=FILLS {
        let text = format!("{strategy} {fill}");
        // Who waits here for room does not hold up the others.
        publisher.send_blocking(text.as_bytes(), PATIENCE)?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let config = env::args().nth(1).map(Config::from_file).transpose()?.unwrap_or_default();
    let engine = Instance::builder().name("engine").config(config.clone()).start()?;
    let ledger = Instance::builder().name("ledger").config(config).start()?;

    let (arrived, arrivals) = mpsc::channel();
    let _subscription = ledger.subscribe(TOPIC, move |message: &Message<'_>| {
        let _ = arrived.send(message.to_owned());
    })?;
    let publisher = engine.shared_publisher(TOPIC)?;
    if !publisher.wait_for_subscribers(1, PATIENCE) {
        return Err("the ledger did not turn up".into());
    }

    let sent: Result<(), Box<dyn Error>> = thread::scope(|scope| {
        let threads = STRATEGIES.map(|strategy| {
            let publisher = publisher.clone();
            scope.spawn(move || trade(&publisher, strategy))
        });
        for thread in threads {
            thread.join().map_err(|_| "a strategy panicked")??;
        }
        Ok(())
    });
    sent?;

    let mut fills: BTreeMap<String, u32> = BTreeMap::new();
    for expected in 1..=u64::from(FILLS) * STRATEGIES.len() as u64 {
        let message = arrivals.recv_timeout(PATIENCE)?;
        if message.sequence() != expected {
            return Err(format!("message {} instead of {expected}", message.sequence()).into());
        }
        let text = String::from_utf8_lossy(message.payload());
        let Some((strategy, fill)) = text.split_once(' ') else { continue };
        // What one thread sent stays in its order, whatever the others did meanwhile.
        let seen = fills.entry(strategy.to_owned()).or_default();
        *seen += 1;
        if fill != seen.to_string() {
            return Err(format!("{strategy}: fill {fill} is out of order").into());
        }
    }
    for (strategy, fills) in &fills {
        println!("{strategy:<10} {fills} fills");
    }
    println!("all in one sequence of {}", fills.values().sum::<u32>());
    engine.close()?;
    ledger.close()?;
    Ok(())
}
