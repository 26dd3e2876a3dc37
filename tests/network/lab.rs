//! Hosts of a network that the test made: one network namespace each, joined by a bridge in one more,
//! with multicast between them. Tests. Owned by the test that made it; all of it goes with the
//! owner, and what a killed test run has left is removed by the next one.
//!
//! Addresses are of 10.77.0.0/24, and of 10.78.0.0/24 where there is a second network; with IPv6 of
//! fd77::/64 and fd78::/64 as well. They exist inside the namespaces only: every lab uses the same ones
//! and none hears of another.

use std::cell::RefCell;
use std::io::Write;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::support::{DaemonProcess, Host, Ports, Settings};

/// Names of namespaces: this, the process that made them, the number of the lab, the host.
const PREFIX: &str = "vega-lab";
const SUBNET: &str = "10.77.0.0/24";
/// Of the second network, if there is one.
pub(crate) const SECOND_SUBNET: &str = "10.78.0.0/24";
const SUBNET_V6: &str = "fd77::/64";
pub(crate) const SECOND_SUBNET_V6: &str = "fd78::/64";
const PORTS: Ports = Ports { discovery: 35000, multicast: 35006 };
/// Of drops: `nft` draws from so many numbers, so that a tenth of a percent can be asked for.
const PER_MILLE: u32 = 1000;

/// How a run of packets, which one system call sends, crosses the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runs {
    /// Each packet is dropped for itself, as on a wire.
    Split,
    /// As one, up to the receiving socket: what is dropped is the whole run.
    Whole,
}

/// Which addresses the instances of a lab have. Hosts have those of IPv6 where one of these is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Addresses {
    Ipv4,
    Ipv6,
    /// Those of IPv6 that a link gives by itself.
    LinkLocal,
    Loopback6,
}

impl Addresses {
    /// As configurations name the interface.
    const fn interface(self) -> &'static str {
        match self {
            Self::Ipv4 => SUBNET,
            Self::Ipv6 => SUBNET_V6,
            Self::LinkLocal => "fe80::/10",
            Self::Loopback6 => "::1",
        }
    }
}

/// Some hosts and a switch.
pub(crate) struct Lab {
    name: String,
    settings: Settings,
    addresses: Addresses,
    hosts: usize,
    containers: RefCell<Vec<String>>,
    files: TempDir,
}

/// A network namespace behind a host that translates addresses, as containers have it: others reach some
/// ports of it as other ports of the host.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    space: String,
    /// Its own address, which means nothing to other hosts.
    pub(crate) address: String,
}

impl Lab {
    /// Hosts with the numbers 1 to `hosts`. `None` where that is not possible: the reason has been
    /// shown, and the test has nothing to do.
    pub(crate) fn new(hosts: usize, settings: Settings) -> Option<Self> {
        Self::with(hosts, settings, Runs::Split)
    }

    /// As [`Lab::new`], and how runs of packets cross the network.
    pub(crate) fn with(hosts: usize, settings: Settings, runs: Runs) -> Option<Self> {
        Self::make(hosts, settings, runs, Addresses::Ipv4)
    }

    /// As [`Lab::new`], and which addresses its instances have.
    pub(crate) fn with_addresses(
        hosts: usize,
        settings: Settings,
        addresses: Addresses,
    ) -> Option<Self> {
        Self::make(hosts, settings, Runs::Split, addresses)
    }

    fn make(hosts: usize, settings: Settings, runs: Runs, addresses: Addresses) -> Option<Self> {
        static LABS: AtomicU32 = AtomicU32::new(0);
        static OBSTACLE: OnceLock<Option<String>> = OnceLock::new();
        if let Some(reason) = OBSTACLE.get_or_init(obstacle) {
            let test = std::thread::current().name().unwrap_or_default().to_owned();
            // Not by a macro: the harness would keep that to itself.
            let _ = writeln!(std::io::stderr(), "\nSKIPPED {test}: {reason}");
            return None;
        }
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}-{}-{number}", std::process::id());
        let files = tempfile::tempdir().unwrap();
        // Made first: what is built is removed even if the next step fails.
        let lab = Self { name, settings, addresses, hosts, containers: RefCell::default(), files };
        lab.build(runs);
        Some(lab)
    }

    fn build(&self, runs: Runs) {
        run(&["ip", "netns", "add", &self.switch()]);
        for host in 1..=self.hosts {
            let space = self.space(host);
            run(&["ip", "netns", "add", &space]);
            run(&["ip", "-n", &space, "link", "set", "lo", "up"]);
            if self.addresses != Addresses::Ipv4 {
                // An address that is still looked for elsewhere on the link cannot be bound.
                for scope in ["all", "default"] {
                    let key = format!("echo 0 > /proc/sys/net/ipv6/conf/{scope}/accept_dad");
                    run(&["ip", "netns", "exec", &space, "sh", "-c", &key]);
                }
            }
        }
        self.connect("br0", "eth0", 77, port_of);
        for host in 1..=self.hosts {
            let space = self.space(host);
            if runs == Runs::Split {
                // A device that takes one segment at a time has the kernel split runs before it.
                run(&["ip", "-n", &space, "link", "set", "eth0", "gso_max_segs", "1"]);
            }
            run(&["ip", "-n", &space, "route", "add", "224.0.0.0/4", "dev", "eth0"]);
        }
    }

    /// Joins the hosts by a second network, [`SECOND_SUBNET`], beside the first.
    pub(crate) fn add_network(&self) {
        self.connect("br1", "eth1", 78, |host| format!("second{host}"));
    }

    /// A bridge, and a cable from a device of each host to a port of it.
    fn connect(&self, bridge: &str, device: &str, network: u8, port_of: impl Fn(usize) -> String) {
        let switch = self.switch();
        run(&["ip", "-n", &switch, "link", "add", bridge, "type", "bridge", "mcast_snooping", "0"]);
        run(&["ip", "-n", &switch, "link", "set", bridge, "up"]);
        for host in 1..=self.hosts {
            let (space, port) = (self.space(host), port_of(host));
            let mut cable = vec!["ip", "link", "add", &port, "netns", &switch, "type", "veth"];
            cable.extend(["peer", "name", device, "netns", &space]);
            run(&cable);
            run(&["ip", "-n", &switch, "link", "set", &port, "master", bridge, "up"]);
            let address = format!("10.{network}.0.{host}/24");
            run(&["ip", "-n", &space, "address", "add", &address, "dev", device]);
            run(&["ip", "-n", &space, "link", "set", device, "up"]);
            if self.addresses != Addresses::Ipv4 {
                let address = format!("fd{network}::{host}/64");
                run(&["ip", "-n", &space, "address", "add", &address, "dev", device, "nodad"]);
            }
        }
    }

    fn switch(&self) -> String {
        format!("{}-switch", self.name)
    }

    fn space(&self, host: usize) -> String {
        assert!((1..=self.hosts).contains(&host));
        format!("{}-{host}", self.name)
    }

    /// Starts a process on a host, and an instance in it.
    pub(crate) fn start(&self, host: usize, name: &str) -> Host {
        self.try_start(host, name).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// As [`Lab::start`]; the error is what the instance's builder said.
    pub(crate) fn try_start(&self, host: usize, name: &str) -> Result<Host, String> {
        let config = self.config_text(self.settings);
        Host::try_start_by(command_in(&self.space(host)), name, &config)
    }

    /// The configuration of an instance with these settings.
    pub(crate) fn config_text(&self, settings: Settings) -> String {
        self.config_text_of(self.addresses, settings)
    }

    /// As [`Lab::config_text`], with other addresses than those of the lab.
    pub(crate) fn config_text_of(&self, addresses: Addresses, settings: Settings) -> String {
        settings.config_text(addresses.interface(), PORTS, &self.rings())
    }

    /// Lets the loopback interface of a host carry groups of IPv6.
    pub(crate) fn let_groups_loop(&self, host: usize) {
        let route = ["route", "add", "local", "ff00::/8", "dev", "lo", "table", "local"];
        run(&[&["ip", "-6", "-n", &self.space(host)], &route[..]].concat());
    }

    /// Puts a container behind a host: each of `ports` is reached at the host's port that is `shift` above
    /// it. `None` where the kernel does not translate addresses: the reason has been shown.
    pub(crate) fn contain(
        &self,
        host: usize,
        ports: RangeInclusive<u16>,
        shift: u16,
    ) -> Option<Container> {
        let mut containers = self.containers.borrow_mut();
        let number = containers.len() + 1;
        let outer = self.space(host);
        let container = Container {
            space: format!("{}-inner{number}", self.name),
            address: format!("172.30.{number}.2"),
        };
        let (space, device) = (&container.space, &format!("inner{number}"));
        containers.push(space.clone());
        run(&["ip", "netns", "add", space]);
        run(&["ip", "-n", space, "link", "set", "lo", "up"]);
        let mut cable = vec!["ip", "link", "add", device, "netns", &outer, "type", "veth"];
        cable.extend(["peer", "name", "eth0", "netns", space]);
        run(&cable);
        let gateway = format!("172.30.{number}.1");
        for (space, device, address) in
            [(&outer, device.as_str(), &gateway), (space, "eth0", &container.address)]
        {
            run(&["ip", "-n", space, "address", "add", &format!("{address}/24"), "dev", device]);
            run(&["ip", "-n", space, "link", "set", device, "up"]);
        }
        run(&["ip", "-n", space, "route", "add", "default", "via", &gateway]);
        let forward = "echo 1 > /proc/sys/net/ipv4/ip_forward";
        run(&["ip", "netns", "exec", &outer, "sh", "-c", forward]);

        // What an earlier container of the host has added stays.
        let mut rules = "add table ip mapped; \
             add chain ip mapped in { type nat hook prerouting priority dstnat; }; \
             add chain ip mapped out { type nat hook postrouting priority srcnat; }; \
             add rule ip mapped out ip saddr 172.30.0.0/16 masquerade"
            .to_owned();
        for port in ports {
            let (address, outside) = (&container.address, port + shift);
            let rule =
                format!("ip daddr 10.77.0.{host} udp dport {outside} dnat to {address}:{port}");
            rules.push_str(&format!("; add rule ip mapped in {rule}"));
        }
        if let Err(reason) = attempt(&["ip", "netns", "exec", &outer, "nft", &rules]) {
            let test = std::thread::current().name().unwrap_or_default().to_owned();
            let _ = writeln!(std::io::stderr(), "\nSKIPPED {test}: {reason}");
            return None;
        }
        Some(container)
    }

    /// Starts a process in a container, and an instance in it, with a configuration of its own.
    #[expect(clippy::unused_self, reason = "a container lives no longer than its lab")]
    pub(crate) fn start_inside(&self, container: &Container, name: &str, config: &str) -> Host {
        start_in(&container.space, name, config)
    }

    /// As [`Lab::start`], with a configuration of its own.
    pub(crate) fn start_with(&self, host: usize, name: &str, config: &str) -> Host {
        start_in(&self.space(host), name, config)
    }

    /// Starts a process on a host, and a discovery daemon in it.
    pub(crate) fn start_daemon(&self, host: usize, address: SocketAddr) -> DaemonProcess {
        DaemonProcess::start_by(command_in(&self.space(host)), address)
    }

    /// Where the instances of the lab may keep rings.
    pub(crate) fn rings(&self) -> PathBuf {
        self.files.path().join("rings")
    }

    /// Drops so many of a thousand datagrams that reach a host, at random.
    pub(crate) fn lose(&self, host: usize, per_mille: u32) {
        assert!(per_mille < PER_MILLE);
        self.drop_where(host, &format!("numgen random mod {PER_MILLE} < {per_mille}"));
    }

    /// Drops every datagram that reaches a host.
    pub(crate) fn deafen(&self, host: usize) {
        self.drop_where(host, "");
    }

    /// Drops datagrams that reach a host through the second network and come from elsewhere.
    pub(crate) fn drop_misdirected(&self, host: usize) {
        self.drop_where(host, &format!("iifname eth1 ip saddr != {SECOND_SUBNET}"));
    }

    fn drop_where(&self, host: usize, condition: &str) {
        let rules = format!(
            "add table inet loss; \
             add chain inet loss in {{ type filter hook input priority 0; }}; \
             add rule inet loss in meta l4proto udp {condition} counter drop"
        );
        run(&["ip", "netns", "exec", &self.space(host), "nft", &rules]);
    }

    /// As [`Lab::lose`], on every host: data, feedback, and discovery.
    pub(crate) fn lose_everywhere(&self, per_mille: u32) {
        for host in 1..=self.hosts {
            self.lose(host, per_mille);
        }
    }

    /// Drops nothing on a host any more.
    pub(crate) fn lose_no_more(&self, host: usize) {
        run(&["ip", "netns", "exec", &self.space(host), "nft", "delete", "table", "inet", "loss"]);
    }

    /// How many datagrams the kernel has dropped on a host because of these.
    pub(crate) fn dropped(&self, host: usize) -> u64 {
        let space = self.space(host);
        let rules = run(&["ip", "netns", "exec", &space, "nft", "list", "table", "inet", "loss"]);
        let (_, counter) = rules.split_once("counter packets ").unwrap();
        counter.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Pulls the cable between a host and the switch.
    pub(crate) fn unplug(&self, host: usize) {
        run(&["ip", "-n", &self.switch(), "link", "set", &port_of(host), "down"]);
    }

    /// Puts it back.
    pub(crate) fn plug(&self, host: usize) {
        run(&["ip", "-n", &self.switch(), "link", "set", &port_of(host), "up"]);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let spaces = (1..=self.hosts).map(|host| self.space(host));
        let containers = self.containers.take();
        for space in containers.into_iter().chain(spaces).chain([self.switch()]) {
            remove(&space);
        }
    }
}

/// This program, to be run in a namespace.
fn command_in(space: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", space]);
    command.arg(std::env::current_exe().unwrap());
    command
}

fn start_in(space: &str, name: &str, config: &str) -> Host {
    Host::try_start_by(command_in(space), name, config)
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The switch's end of a host's cable.
fn port_of(host: usize) -> String {
    format!("port{host}")
}

/// Runs a command that has to succeed, and returns what it printed.
fn run(words: &[&str]) -> String {
    attempt(words).unwrap_or_else(|error| panic!("{error}"))
}

fn attempt(words: &[&str]) -> Result<String, String> {
    let shown = words.join(" ");
    let output = Command::new(words[0]).args(&words[1..]).output();
    let output = output.map_err(|error| format!("{shown}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{shown}: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}

fn remove(space: &str) {
    // Whoever made it may have removed it meanwhile, or never come so far.
    let _ = attempt(&["ip", "netns", "delete", space]);
}

/// What stands in the way of namespaces and drops here, if anything does.
fn obstacle() -> Option<String> {
    let own = std::fs::metadata("/proc/self").map(|process| process.uid());
    if !matches!(own, Ok(0)) {
        return Some("network namespaces need root".to_owned());
    }
    remove_leftovers();
    let probe = format!("{PREFIX}-{}-probe", std::process::id());
    let rule = "add table inet probe; add chain inet probe in { type filter hook input priority 0; \
                }; add rule inet probe in numgen random mod 2 < 1 counter drop";
    let result = attempt(&["nft", "--version"])
        .and_then(|_| attempt(&["ip", "netns", "add", &probe]))
        .and_then(|_| attempt(&["ip", "netns", "exec", &probe, "nft", rule]))
        .and_then(|_| {
            let cable = ["link", "add", "one", "type", "veth", "peer", "name", "two"];
            attempt(&[&["ip", "-n", &probe], &cable[..]].concat())
        });
    remove(&probe);
    result.err()
}

/// Removes the namespaces of test runs that were killed: the process that they name is gone.
fn remove_leftovers() {
    let Ok(spaces) = attempt(&["ip", "netns", "list"]) else { return };
    for space in spaces.lines().filter_map(|line| line.split_whitespace().next()) {
        let Some(rest) = space.strip_prefix(PREFIX) else { continue };
        let process = rest.trim_start_matches('-').split('-').next().unwrap_or_default();
        if process.parse::<u32>().is_ok() && !Path::new("/proc").join(process).exists() {
            remove(space);
        }
    }
}

#[test]
fn what_a_killed_run_leaves_behind_is_removed() {
    /// Above the largest process id that Linux gives.
    const DEAD: u32 = 4_194_305;
    let Some(lab) = Lab::new(1, Settings::default()) else { return };
    let left = format!("{PREFIX}-{DEAD}-0-1");
    run(&["ip", "netns", "add", &left]);
    remove_leftovers();
    let spaces = run(&["ip", "netns", "list"]);
    assert!(!spaces.contains(&left), "{spaces}");
    assert!(spaces.contains(&lab.space(1)), "{spaces}");
    let own = lab.name.clone();
    drop(lab);
    // Others come and go beside it.
    let spaces = run(&["ip", "netns", "list"]);
    assert!(!spaces.lines().any(|line| line.starts_with(&format!("{own}-"))), "{spaces}");
}
