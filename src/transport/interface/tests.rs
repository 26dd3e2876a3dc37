//! Tests of interface resolution, on an invented host and on this one.

use super::*;
use crate::config::Config;

fn local(name: &str, index: u32, address: &str) -> LocalAddress {
    LocalAddress {
        name: name.to_owned(),
        index,
        address: address.parse().unwrap(),
        is_up: true,
        is_loopback: name == "lo",
    }
}

fn host() -> Vec<LocalAddress> {
    vec![
        local("lo", 1, "127.0.0.1"),
        local("eth0", 2, "10.1.2.3"),
        local("eth1", 3, "10.2.2.3"),
        LocalAddress { is_up: false, ..local("eth2", 4, "10.9.0.1") },
        local("lo", 1, "::1"),
        local("eth0", 2, "fe80::a"),
        local("eth0", 2, "fd00:1::3"),
        local("eth1", 3, "fe80::a"),
        local("eth1", 3, "fd00:2::3"),
    ]
}

fn spec(text: &str) -> InterfaceSpec {
    Config::parse(&format!("interface = '{text}'")).unwrap().daemon.interface
}

fn name_and_address(text: &str) -> Option<(String, String)> {
    let found = choose(&spec(text), &host()).ok()?;
    Some((found.name, found.address.to_string()))
}

#[test]
fn each_kind_of_name_finds_its_interface() {
    let cases = [
        ("loopback", "lo", "127.0.0.1"),
        ("10.2.2.3", "eth1", "10.2.2.3"),
        ("127.0.0.1", "lo", "127.0.0.1"),
        ("127.1.2.3", "lo", "127.1.2.3"),
        ("eth0", "eth0", "10.1.2.3"),
        ("10.2.0.0/16", "eth1", "10.2.2.3"),
        ("10.2.2.200/24", "eth1", "10.2.2.3"),
        ("10.1.2.3/32", "eth0", "10.1.2.3"),
        ("127.0.0.0/8", "lo", "127.0.0.1"),
        ("loopback ipv6", "lo", "::1"),
        ("::1", "lo", "::1"),
        ("fd00:2::3", "eth1", "fd00:2::3"),
        ("fd00:2::/64", "eth1", "fd00:2::3"),
        ("fd00::/16", "eth0", "fd00:1::3"),
        ("eth0 ipv6", "eth0", "fd00:1::3"),
        ("fe80::/10", "eth0", "fe80::a"),
        ("fe80::a%eth1", "eth1", "fe80::a"),
        ("fe80::%eth1/10", "eth1", "fe80::a"),
    ];
    for (text, name, address) in cases {
        assert_eq!(name_and_address(text), Some((name.to_owned(), address.to_owned())), "{text}");
    }
}

#[test]
fn the_whole_address_space_prefers_a_real_network() {
    assert_eq!(name_and_address("0.0.0.0/0").unwrap().0, "eth0");
    assert_eq!(name_and_address("::/0").unwrap().1, "fd00:1::3");
    let only_loopback = [local("lo", 1, "127.0.0.1")];
    assert_eq!(choose(&spec("0.0.0.0/0"), &only_loopback).unwrap().name, "lo");
}

#[test]
fn what_does_not_match_is_an_error_that_lists_what_exists() {
    let error = choose(&spec("192.168.0.0/16"), &host()[..4]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no local interface that is up matches 192.168.0.0/16 (this host has lo (127.0.0.1), \
         eth0 (10.1.2.3), eth1 (10.2.2.3), eth2 (10.9.0.1, down))"
    );
    for text in ["10.9.0.1", "eth2", "eth2 ipv6", "10.1.2.4/32", "fd00:3::/64", "fe80::b%eth0"] {
        let found = choose(&spec(text), &host());
        assert!(matches!(found, Err(InterfaceError::NotFound { .. })), "{text}");
    }
    assert!(matches!(choose(&spec("loopback"), &[]), Err(InterfaceError::NotFound { .. })));
    // Where IPv6 is switched off, its loopback address is not there.
    let error = choose(&spec("::1"), &host()[..1]).unwrap_err().to_string();
    assert_eq!(error, "no local interface that is up matches ::1 (this host has lo (127.0.0.1))");
}

#[test]
fn addresses_of_one_link_get_the_number_of_the_interface() {
    let eth1 = choose(&spec("fd00:2::/64"), &host()).unwrap();
    for (address, scoped) in [
        ("[fe80::5]:7", "[fe80::5%3]:7"),
        ("[ff12::5]:7", "[ff12::5%3]:7"),
        ("[ff01::5]:7", "[ff01::5%3]:7"),
        ("[ff15::5]:7", "[ff15::5]:7"),
        ("[fd00::5]:7", "[fd00::5]:7"),
        ("[::1]:7", "[::1]:7"),
        ("10.1.2.3:7", "10.1.2.3:7"),
    ] {
        assert_eq!(eth1.scoped(address.parse().unwrap()).to_string(), scoped);
    }
}

#[test]
fn this_host_has_a_loopback_interface() {
    let loopback = resolve(&spec("loopback")).unwrap();
    assert!(loopback.is_loopback && loopback.index > 0);
    assert_eq!(loopback.address, Family::V4.loopback());
    assert_eq!(resolve(&spec(&loopback.name)).unwrap(), loopback);
    assert_eq!(resolve(&spec("127.0.0.1/32")).unwrap(), loopback);
}
