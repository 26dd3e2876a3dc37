//! The configuration files that come with the package, through the public API. Tests.

use std::fs;
use std::path::{Path, PathBuf};

use vega::{Config, Transport};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config")
}

fn load(name: &str) -> Config {
    Config::from_file(folder().join(name)).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn every_file_loads() {
    let mut names: Vec<_> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let expected = [
        "daemon.toml",
        "default.toml",
        "ipc.toml",
        "ipv6.toml",
        "lan-multicast.toml",
        "local.toml",
        "low-latency.toml",
        "unicast.toml",
    ];
    assert_eq!(names, expected);
    for name in names {
        load(&name);
    }
    assert_eq!(load("default.toml"), Config::default());
}

#[test]
fn topics_go_where_the_files_say() {
    for (file, topic, template, transport) in [
        ("default.toml", "prices", "multicast", Transport::Multicast),
        ("default.toml", "unicast.prices", "unicast", Transport::Unicast),
        ("default.toml", "ipc.prices", "ipc", Transport::Ipc),
        ("local.toml", "prices", "multicast", Transport::Multicast),
        ("lan-multicast.toml", "prices.EURUSD", "prices", Transport::Multicast),
        ("lan-multicast.toml", "bulk.history", "bulk", Transport::Multicast),
        ("unicast.toml", "prices", "unicast", Transport::Unicast),
        ("daemon.toml", "prices", "unicast", Transport::Unicast),
        ("ipc.toml", "prices", "ipc", Transport::Ipc),
        ("ipv6.toml", "prices", "prices", Transport::Multicast),
        ("ipv6.toml", "orders.new", "orders", Transport::Unicast),
        ("low-latency.toml", "orders.new", "hot", Transport::Multicast),
        ("low-latency.toml", "statistics", "background", Transport::Multicast),
    ] {
        let config = load(file);
        let route = config.route(topic).unwrap();
        assert_eq!((route.template(), route.transport()), (template, transport), "{file} {topic}");
        assert_eq!(route.port().is_none(), transport == Transport::Ipc);
        assert_eq!(route.address().is_some(), transport == Transport::Multicast);
    }
}
