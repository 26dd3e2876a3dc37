//! Every example runs, ends by itself and prints what it promises. Tests; they need what
//! `cargo test` builds anyway, the examples.

#![allow(clippy::unwrap_used, reason = "a test that cannot prepare itself fails")]

use std::env;
use std::fs;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::Command;

/// The built program of an example, next to the folder of this test's own program.
fn program(example: &str) -> PathBuf {
    let this = env::current_exe().unwrap();
    let program = this.ancestors().nth(2).unwrap().join("examples").join(example);
    let program = program.with_extension(env::consts::EXE_EXTENSION);
    assert!(program.is_file(), "{}: run `cargo build --examples` first", program.display());
    program
}

/// The built-in configuration, but with ports of its own: tests that run at the same time, in
/// whatever process, neither discover each other nor hear each other's groups.
fn isolated() -> String {
    let [discovery, multicast] = free_ports();
    format!(
        r#"
        discovery.port = {discovery}
        template = [
            {{ name = "multicast", transport = "multicast", ports = {multicast} }},
            {{ name = "unicast", transport = "unicast" }},
            {{ name = "ipc", transport = "ipc" }},
        ]
        topic = [
            {{ pattern = 'unicast\..*', template = "unicast" }},
            {{ pattern = 'ipc\..*', template = "ipc" }},
            {{ pattern = '.*', template = "multicast" }},
        ]
        "#
    )
}

/// Ports that nobody had a moment ago. Groups can share a port, so losing it to somebody does no
/// harm.
fn free_ports<const N: usize>() -> [u16; N] {
    #[expect(clippy::disallowed_methods, reason = "asks the kernel for free ports")]
    let sockets = [(); N].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    sockets.map(|socket| socket.local_addr().unwrap().port())
}

/// What the example prints.
fn run(example: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("vega.toml");
    fs::write(&config, isolated()).unwrap();
    let output = Command::new(program(example)).arg(&config).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{example}: {}\n{text}{errors}", output.status);
    println!("{text}");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn quickstart_prints_three_prices_in_order() {
    let expected = ["1.0841 (message 1)", "1.0843 (message 2)", "1.0842 (message 3)"];
    assert_eq!(run("quickstart"), expected.map(|line| format!("prices.EURUSD {line}")));
}

#[test]
fn market_data_reaches_both_readers_without_loss() {
    let lines = run("market_data");
    assert_eq!(lines.len(), 1 + 2 * 3);
    for line in &lines[1..] {
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!(words[2..], ["20000", "0", "1.084000/1.084020"], "{line}");
    }
}

#[test]
fn rfq_buys_one_bond_and_gives_up_on_the_other() {
    let lines = run("rfq");
    assert!(lines.iter().any(|line| line.starts_with("bought at 99.60 after ")), "{lines:?}");
    for dealer in ["north", "south", "east"] {
        let offers = format!("{dealer:<6} offers");
        assert!(lines.iter().any(|line| line.trim_start().starts_with(&offers)), "{dealer}");
    }
    assert_eq!(lines.last().unwrap(), "no deal, 0 quotes");
}

#[test]
fn shared_publisher_keeps_one_sequence() {
    let lines = run("shared_publisher");
    assert_eq!(lines.last().unwrap(), "all in one sequence of 20000");
}

#[test]
fn channel_subscriber_takes_all_orders_and_answers() {
    let lines = run("channel_subscriber");
    assert!(lines.contains(&"the exchange has taken 5 orders".to_owned()), "{lines:?}");
    assert_eq!(lines.last().unwrap(), "5 orders, 0 lost, 0 discarded");
}
