//! A system of its own for each test: a configuration file with a discovery port that nobody else
//! uses, and processes that end with the test. Tests.

use std::fs::{self, File};
use std::io;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use vega::{Config, Instance, InstanceBuilder};

/// Far above what anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The same as an argument.
pub(crate) const PATIENCE_ARGUMENT: &str = "60s";
/// Between two looks at what a process has done.
const POLLING_PAUSE: Duration = Duration::from_millis(5);

/// Processes and instances that find each other, and nobody else.
pub(crate) struct World {
    directory: TempDir,
    /// Reserves the discovery port: the group is another address, so both can be bound.
    port: UdpSocket,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with("")
    }

    /// With further lines of configuration.
    #[expect(clippy::disallowed_methods, reason = "reserves a port, receives nothing")]
    pub(crate) fn with(further: &str) -> Self {
        let world = Self {
            directory: tempfile::tempdir().unwrap(),
            port: UdpSocket::bind(("127.0.0.1", 0)).unwrap(),
        };
        // Wide ranges: all tests of a machine share its ports.
        let text = format!(
            "[discovery]\nport = {}\n[control]\nports = \"20000-29999\"\n\
             [responses]\nports = \"20000-29999\"\n[ipc]\ndirectory = {:?}\n{further}",
            world.discovery_port(),
            world.shared_memory(),
        );
        fs::write(world.config_file(), text).unwrap();
        world
    }

    /// Has those that start from now on find each other through a daemon.
    pub(crate) fn find_each_other_by(&self, daemon: &str) {
        let text = self.config_text();
        let keys = format!("[discovery]\nkind = 'daemon'\ndaemons = ['{daemon}']\n");
        fs::write(self.config_file(), text.replace("[discovery]\n", &keys)).unwrap();
    }

    /// Has everything take place on another interface.
    pub(crate) fn move_to(&self, interface: &str) {
        fs::write(self.config_file(), format!("interface = '{interface}'\n{}", self.config_text()))
            .unwrap();
    }

    pub(crate) fn config_text(&self) -> String {
        fs::read_to_string(self.config_file()).unwrap()
    }

    /// Another file with this text.
    pub(crate) fn file_with(&self, text: &str) -> PathBuf {
        let path = self.file("other.toml");
        fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn discovery_port(&self) -> u16 {
        self.port.local_addr().unwrap().port()
    }

    /// Where rings and counters are.
    pub(crate) fn shared_memory(&self) -> PathBuf {
        self.directory.path().join("rings")
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.directory.path().join("vega.toml")
    }

    /// A topic of this world alone: multicast groups are shared by all tests of a machine.
    pub(crate) fn topic(&self, name: &str) -> String {
        format!("{name}.{}", self.discovery_port())
    }

    /// An instance in this process.
    pub(crate) fn instance(&self) -> InstanceBuilder {
        Instance::builder().config(Config::from_file(self.config_file()).unwrap())
    }

    /// Starts `vega` in this world.
    pub(crate) fn start(&self, arguments: &[&str]) -> Process {
        let mut command = self.command(arguments);
        command.stdin(Stdio::null());
        self.spawn(command)
    }

    /// Starts `vega` and sends it `input`.
    pub(crate) fn start_with_input(&self, arguments: &[&str], input: &[u8]) -> Process {
        let file = self.file("input");
        fs::write(&file, input).unwrap();
        let mut command = self.command(arguments);
        command.stdin(File::open(file).unwrap());
        self.spawn(command)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        // Tests that `nohup` runs pass on that hang-ups are ignored, and the program respects it.
        let mut command = Command::new("env");
        command.args(["--default-signal=HUP", env!("CARGO_BIN_EXE_vega")]);
        command.arg("-c").arg(self.config_file()).args(arguments);
        command
    }

    /// Output goes to files: no reader is needed for a process to go on.
    pub(crate) fn spawn(&self, mut command: Command) -> Process {
        let stdout = self.file("stdout");
        command.stdout(File::create(&stdout).unwrap());
        self.spawn_with(command, stdout)
    }

    /// The reader of standard output is gone already.
    pub(crate) fn spawn_without_reader(&self, mut command: Command) -> Process {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        command.stdout(writer);
        let nothing = self.file("stdout");
        File::create(&nothing).unwrap();
        self.spawn_with(command, nothing)
    }

    /// On a terminal, or what else the command brings along: nothing is kept of what it says.
    pub(crate) fn spawn_unheard(&self, mut command: Command) -> Process {
        let nothing = self.file("nothing");
        File::create(&nothing).unwrap();
        Process { child: command.spawn().unwrap(), stdout: nothing.clone(), stderr: nothing }
    }

    /// The files of counters that are there.
    pub(crate) fn counter_files(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.shared_memory()) else { return Vec::new() };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".counters")).collect()
    }

    fn spawn_with(&self, mut command: Command, stdout: PathBuf) -> Process {
        let stderr = self.file("stderr");
        command.stderr(File::create(&stderr).unwrap());
        Process { child: command.spawn().unwrap(), stdout, stderr }
    }

    /// A file that is not there yet.
    fn file(&self, name: &str) -> PathBuf {
        let serial = fs::read_dir(self.directory.path()).unwrap().count();
        self.directory.path().join(format!("{name}-{serial}"))
    }
}

/// A running process; it is killed when the test is over.
pub(crate) struct Process {
    pub(crate) child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    /// Waits for the end.
    pub(crate) fn finish(mut self) -> Finished {
        let deadline = now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(now() < deadline, "does not end; standard error: {}", self.stderr());
            thread::sleep(POLLING_PAUSE);
        };
        Finished { status, stdout: fs::read(&self.stdout).unwrap(), stderr: self.stderr() }
    }

    pub(crate) fn signal(&self, name: &str) {
        self.signals(&[name]);
    }

    /// Sends signals in quick succession.
    pub(crate) fn signals(&self, names: &[&str]) {
        let kill = |name: &&str| format!("kill -{name} {}", self.child.id());
        let command = names.iter().map(kill).collect::<Vec<_>>().join(" && ");
        assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
    }

    /// Does something again and again until standard output contains `text`.
    pub(crate) fn until_output(&self, text: &str, mut again: impl FnMut()) {
        self.until(|output| {
            let has = output.contains(text);
            if !has {
                again();
            }
            has
        });
    }

    /// Waits until standard output is as it should be.
    pub(crate) fn until(&self, mut is_good: impl FnMut(&str) -> bool) {
        let deadline = now() + PATIENCE;
        while !is_good(&String::from_utf8_lossy(&fs::read(&self.stdout).unwrap())) {
            assert!(now() < deadline, "what is awaited does not come; {}", self.stderr());
            thread::sleep(POLLING_PAUSE);
        }
    }

    /// Waits until standard error contains `text`.
    pub(crate) fn until_error(&self, text: &str) {
        let deadline = now() + PATIENCE;
        while !self.stderr().contains(text) {
            assert!(now() < deadline, "{text:?} does not come; {}", self.stderr());
            thread::sleep(POLLING_PAUSE);
        }
    }

    /// The first line of standard output that has this type, once it is there.
    pub(crate) fn line(&self, kind: &str) -> Value {
        let marker = format!("{{\"type\":\"{kind}\"");
        let mut found = Value::Null;
        self.until(|output| {
            // The last line may not be whole.
            let whole = output.rsplit_once('\n').map_or("", |(lines, _)| lines);
            let line = whole.lines().find(|line| line.starts_with(&marker));
            found = line.map_or(Value::Null, |line| serde_json::from_str(line).unwrap());
            line.is_some()
        });
        found
    }

    /// What it has printed so far.
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap()
    }

    fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails when it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a process has left.
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Finished {
    /// The exit code, which has to be `code`.
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "standard error: {}", self.stderr);
        self
    }

    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.stdout).unwrap()
    }

    /// Every line of standard output, each of which has to be JSON.
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        self.text().lines().map(parse).collect()
    }

    /// The lines of one type.
    pub(crate) fn of_type(&self, name: &str) -> Vec<Value> {
        let mut lines = self.json_lines();
        lines.retain(|line| line["type"] == name);
        lines
    }
}

#[expect(clippy::disallowed_methods, reason = "bounds waiting; decides nothing")]
fn now() -> Instant {
    Instant::now()
}
