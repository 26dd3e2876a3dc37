//! Tests of interface resolution, on an invented host and on this one.

use super::*;

fn local(name: &str, index: u32, address: [u8; 4]) -> LocalAddress {
    LocalAddress {
        name: name.to_owned(),
        index,
        address: address.into(),
        is_up: true,
        is_loopback: name == "lo",
    }
}

fn host() -> Vec<LocalAddress> {
    vec![
        local("lo", 1, [127, 0, 0, 1]),
        local("eth0", 2, [10, 1, 2, 3]),
        local("eth1", 3, [10, 2, 2, 3]),
        LocalAddress { is_up: false, ..local("eth2", 4, [10, 9, 0, 1]) },
    ]
}

fn subnet(network: [u8; 4], prefix: u8) -> InterfaceSpec {
    InterfaceSpec::Subnet { network: network.into(), prefix }
}

fn name_and_address(spec: &InterfaceSpec) -> Option<(String, Ipv4Addr)> {
    choose(spec, &host()).ok().map(|found| (found.name, found.address))
}

#[test]
fn each_kind_of_name_finds_its_interface() {
    let cases = [
        (InterfaceSpec::Loopback, "lo", [127, 0, 0, 1]),
        (InterfaceSpec::Address([10, 2, 2, 3].into()), "eth1", [10, 2, 2, 3]),
        (InterfaceSpec::Address([127, 0, 0, 1].into()), "lo", [127, 0, 0, 1]),
        (InterfaceSpec::Address([127, 1, 2, 3].into()), "lo", [127, 1, 2, 3]),
        (InterfaceSpec::Name("eth0".to_owned()), "eth0", [10, 1, 2, 3]),
        (subnet([10, 2, 0, 0], 16), "eth1", [10, 2, 2, 3]),
        (subnet([10, 2, 2, 200], 24), "eth1", [10, 2, 2, 3]),
        (subnet([10, 1, 2, 3], 32), "eth0", [10, 1, 2, 3]),
        (subnet([127, 0, 0, 0], 8), "lo", [127, 0, 0, 1]),
    ];
    for (spec, name, address) in cases {
        assert_eq!(name_and_address(&spec), Some((name.to_owned(), address.into())), "{spec}");
    }
}

#[test]
fn the_whole_address_space_prefers_a_real_network() {
    assert_eq!(name_and_address(&subnet([0; 4], 0)).unwrap().0, "eth0");
    let only_loopback = [local("lo", 1, [127, 0, 0, 1])];
    assert_eq!(choose(&subnet([0; 4], 0), &only_loopback).unwrap().name, "lo");
}

#[test]
fn what_does_not_match_is_an_error_that_lists_what_exists() {
    let error = choose(&subnet([192, 168, 0, 0], 16), &host()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no local interface that is up matches 192.168.0.0/16 (this host has lo (127.0.0.1), \
         eth0 (10.1.2.3), eth1 (10.2.2.3), eth2 (10.9.0.1, down))"
    );
    for spec in [
        InterfaceSpec::Address([10, 9, 0, 1].into()),
        InterfaceSpec::Address([0, 0, 0, 0].into()),
        InterfaceSpec::Name("eth2".to_owned()),
        InterfaceSpec::Name(String::new()),
        subnet([10, 1, 2, 4], 32),
    ] {
        assert!(matches!(choose(&spec, &host()), Err(InterfaceError::NotFound { .. })), "{spec}");
    }
    assert!(matches!(choose(&InterfaceSpec::Loopback, &[]), Err(InterfaceError::NotFound { .. })));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let v6 = InterfaceSpec::Address("::1".parse().unwrap());
    assert!(matches!(choose(&v6, &host()), Err(InterfaceError::NotIpv4 { .. })));
    let prefix = subnet([10, 0, 0, 0], 33);
    assert!(matches!(choose(&prefix, &host()), Err(InterfaceError::Prefix { prefix: 33, .. })));
}

#[test]
fn this_host_has_a_loopback_interface() {
    let loopback = resolve(&InterfaceSpec::Loopback).unwrap();
    assert!(loopback.is_loopback && loopback.index > 0);
    assert_eq!(loopback.address, Ipv4Addr::LOCALHOST);
    assert_eq!(resolve(&InterfaceSpec::Name(loopback.name.clone())).unwrap(), loopback);
    assert_eq!(resolve(&subnet([127, 0, 0, 1], 32)).unwrap(), loopback);
}
