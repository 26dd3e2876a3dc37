//! Terminals that go away: screens end with them, and commands leave nothing behind. Tests.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt};

use crate::counters::wait_for;
use crate::world::{PATIENCE, PATIENCE_ARGUMENT, Process, World};

/// What shells report for a process whose terminal is gone.
const HUNG_UP: i32 = 129;

/// A terminal that goes away with this.
struct Terminal {
    master: PtyMaster,
    slave: File,
}

impl Terminal {
    fn new() -> Self {
        // Closed in every process that any test starts: whoever has it keeps the terminal alive.
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let master = posix_openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname_r(&master).unwrap();
        let flags = OFlag::O_NOCTTY.bits();
        let slave = File::options().read(true).write(true).custom_flags(flags).open(name).unwrap();
        let mut size = Command::new("stty");
        size.args(["rows", "24", "cols", "80"]).stdin(slave.try_clone().unwrap());
        assert!(size.status().unwrap().success());
        Self { master, slave }
    }

    /// Starts `vega` on the terminal, which no session has: no signal tells of its end.
    fn start(&self, world: &World, arguments: &[&str]) -> Process {
        self.spawn(world, world.command(arguments))
    }

    /// Starts `vega` as the leader of the terminal's session: SIGHUP tells of its end, also where the
    /// tests themselves run under `nohup`.
    fn start_leader(&self, world: &World, arguments: &[&str]) -> Process {
        let mut command = Command::new("env");
        command.args(["--default-signal=HUP", "setsid", "--ctty", env!("CARGO_BIN_EXE_vega")]);
        command.arg("-c").arg(world.config_file()).args(arguments);
        self.spawn(world, command)
    }

    fn spawn(&self, world: &World, mut command: Command) -> Process {
        let end = || self.slave.try_clone().unwrap();
        command.stdin(end()).stdout(end()).stderr(end());
        world.spawn_unheard(command)
    }

    /// Waits until something is shown, and says what has been so far.
    fn until_shown(&mut self, text: &str) -> String {
        let timeout = PollTimeout::try_from(PATIENCE).unwrap();
        let mut shown = Vec::new();
        let mut buffer = [0; 4_096];
        while !String::from_utf8_lossy(&shown).contains(text) {
            let mut waits_for = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
            assert_eq!(poll(&mut waits_for, timeout), Ok(1), "{text:?} is not shown");
            let size = self.master.read(&mut buffer).unwrap();
            shown.extend_from_slice(&buffer[..size]);
        }
        String::from_utf8_lossy(&shown).into_owned()
    }
}

#[test]
fn a_terminal_that_goes_away_ends_screens() {
    let world = World::new();
    for arguments in [["top"], ["sniff"]] {
        for start in [Terminal::start, Terminal::start_leader] {
            let mut terminal = Terminal::new();
            let process = start(&terminal, &world, &arguments);
            let _ = terminal.until_shown("quit");
            drop(terminal);
            process.finish().expect_code(HUNG_UP);
        }
    }
}

/// Commands that run until they are ended, each with an instance.
fn endless(topic: &str) -> [Vec<&str>; 4] {
    [
        vec!["sub", topic],
        vec!["respond", topic, "--body", "x"],
        vec!["pub", topic, "--size", "10", "--rate", "100", "--wait", "1ms"],
        vec!["pub", topic, "x", "--wait-subscribers", "1", "--wait", PATIENCE_ARGUMENT],
    ]
}

/// By the signal, or because nothing can be written any more, whichever is seen first.
fn expect_end(process: Process) {
    let code = process.finish().status.code();
    assert!(matches!(code, Some(0 | 2)), "{code:?}");
}

fn wait_for_files(world: &World, count: usize) {
    wait_for("counter files", || (world.counter_files().len() == count).then_some(()));
}

#[test]
fn a_terminal_that_goes_away_ends_commands_that_leave_nothing() {
    let world = World::new();
    for arguments in endless(&world.topic("prices")) {
        let terminal = Terminal::new();
        let process = terminal.start_leader(&world, &arguments);
        wait_for_files(&world, 1);
        drop(terminal);
        expect_end(process);
        assert_eq!(world.counter_files(), Vec::<String>::new(), "{arguments:?}");
    }
    let daemon = ["daemon", "--port", "0"];
    let mut terminal = Terminal::new();
    let process = terminal.start_leader(&world, &daemon);
    let _ = terminal.until_shown("127.0.0.1:");
    drop(terminal);
    expect_end(process);
}

/// As `nohup` starts it, so that it outlives the terminal.
#[test]
fn a_hang_up_that_is_ignored_from_the_start_stays_so() {
    let world = World::new();
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_vega"), "-c"]);
    command.arg(world.config_file()).args(["daemon", "--port", "0", "--json"]);
    let daemon = world.spawn(command);
    let address = daemon.line("daemon_up")["address"].as_str().unwrap().to_owned();
    daemon.signals(&["HUP"; 100]);
    // It serves, and ends when it is asked to.
    world.find_each_other_by(&address);
    let instance = world.instance().start().unwrap();
    daemon.until_output("\"type\":\"client_up\"", || ());
    instance.close().unwrap();
    daemon.signal("TERM");
    daemon.finish().expect_code(0);
}

#[test]
fn tables_have_room_on_a_terminal() {
    let world = World::new();
    let topics = ["prices.EURUSD", "unicast.orders", "ipc.books"].map(|topic| world.topic(topic));
    let long = world.topic(&"x".repeat(200));
    let [multicast, unicast, ipc] = topics.each_ref().map(String::as_str);
    let arguments = ["topics", multicast, unicast, ipc, &long];
    let whole = world.start(&arguments).finish().expect_code(0);
    assert!(whole.text().contains(&long) && whole.text().contains("family"));
    let mut terminal = Terminal::new();
    let process = terminal.start_leader(&world, &arguments);
    let shown = terminal.until_shown("xxx");
    process.finish().expect_code(0);
    for line in shown.lines().filter(|line| line.contains("multicast") || line.contains("──")) {
        assert!(line.trim_end().chars().count() <= 80, "{shown}");
    }
    assert!(shown.contains("foreign") && !shown.contains("family"), "{shown}");
}

#[test]
fn whoever_hangs_up_again_and_again_is_no_impatient_user() {
    let world = World::new();
    for arguments in endless(&world.topic("prices")) {
        let process = world.start(&arguments);
        wait_for_files(&world, 1);
        // As long as a clean end takes, so that some of them fall into it.
        process.signals(&["HUP"; 1_000]);
        process.finish().expect_code(0);
        assert_eq!(world.counter_files(), Vec::<String>::new(), "{arguments:?}");
    }
}
