//! Another process with an instance inside, as the test sees it. Tests. One command line goes to
//! the child, one reply line comes back; the child ends with its standard input, and is killed by
//! its id when the host is dropped.

use std::fmt::Display;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::str::FromStr;
use std::time::Duration;

use vega::Counter;

use super::{Place, Report, Tally, WAIT, eventually, role};

/// What a host does with what arrives on a topic.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Behaviour {
    /// Writes it down.
    Collect,
    /// Writes it down, and takes this long for each message.
    Slow(Duration),
    /// Answers each request this many times, with this pause before each answer. Answer `i` of
    /// host `h` is `h/i`.
    Respond { answers: u32, pause: Duration },
    /// Writes requests down, and answers each once with a numbered payload of this many bytes.
    RespondLarge(usize),
    /// Answers each request once, with what it says: see [`description`](super::description).
    Describe,
    /// Writes down what comes from the first publisher that is heard, and nothing of others.
    CollectFirst,
}

impl Behaviour {
    /// Answers at once, in the callback.
    pub(crate) fn respond(answers: u32) -> Self {
        Self::Respond { answers, pause: Duration::ZERO }
    }
}

/// A child process with one instance.
pub(crate) struct Host {
    name: String,
    child: Child,
    commands: ChildStdin,
    replies: BufReader<ChildStdout>,
}

impl Host {
    /// Starts a process, and an instance in it.
    pub(crate) fn start(place: &Place, name: &str) -> Self {
        Self::try_start(place, name).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// As [`Host::start`]; the instance carries a receiver tag.
    pub(crate) fn start_tagged(place: &Place, name: &str, tag: u32) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(role::RECEIVER_TAG, tag.to_string());
        Self::try_start_by(command, name, &place.config_text())
            .unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// As [`Host::start`]; the error is what the instance's builder said.
    pub(crate) fn try_start(place: &Place, name: &str) -> Result<Self, String> {
        Self::try_start_with(&place.config_text(), name)
    }

    /// As [`Host::try_start`], with a configuration of its own.
    pub(crate) fn try_start_with(config: &str, name: &str) -> Result<Self, String> {
        Self::try_start_by(Command::new(std::env::current_exe().unwrap()), name, config)
    }

    /// As [`Host::try_start`], by a command that runs this very program, wherever it does.
    pub(crate) fn try_start_by(
        mut command: Command,
        name: &str,
        config: &str,
    ) -> Result<Self, String> {
        let mut child = command
            .args(["--exact", role::TEST, "--nocapture"])
            .env(role::NAME, name)
            .env(role::CONFIG, config)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let commands = child.stdin.take().unwrap();
        let replies = BufReader::new(child.stdout.take().unwrap());
        let mut host = Self { name: name.to_owned(), child, commands, replies };
        host.reply().map(|_| host)
    }

    pub(crate) fn subscribe(&mut self, topic: &str, behaviour: Behaviour) {
        self.try_subscribe(topic, behaviour).unwrap_or_else(|error| panic!("{topic}: {error}"));
    }

    /// As [`Host::subscribe`]; the error is what the instance said.
    pub(crate) fn try_subscribe(
        &mut self,
        topic: &str,
        behaviour: Behaviour,
    ) -> Result<(), String> {
        let how = match behaviour {
            Behaviour::Collect => "collect 0 0".to_owned(),
            Behaviour::Slow(pause) => format!("slow 0 {}", pause.as_millis()),
            Behaviour::Respond { answers, pause } => {
                format!("respond {answers} {}", pause.as_millis())
            }
            Behaviour::RespondLarge(bytes) => format!("respond-large {bytes} 0"),
            Behaviour::Describe => "describe 0 0".to_owned(),
            Behaviour::CollectFirst => "collect-first 0 0".to_owned(),
        };
        self.say(&format_args!("subscribe {topic} {how}")).map(drop)
    }

    /// Sends back on `to` what arrives on `from`. Returns when somebody listens to `to`.
    pub(crate) fn echo(&mut self, from: &str, to: &str) {
        self.tell(format_args!("echo {from} {to}"));
    }

    pub(crate) fn unsubscribe(&mut self, topic: &str) {
        self.tell(format_args!("unsubscribe {topic}"));
    }

    /// Writes down what comes on every topic that matches.
    pub(crate) fn subscribe_regex(&mut self, pattern: &str) {
        self.tell(format_args!("subscribe-regex {pattern}"));
    }

    pub(crate) fn unsubscribe_regex(&mut self, pattern: &str) {
        self.tell(format_args!("unsubscribe-regex {pattern}"));
    }

    /// The topics that match now, in order.
    pub(crate) fn matched(&mut self, pattern: &str) -> Vec<String> {
        let topics: String = self.ask(format_args!("matched {pattern}"));
        let mut topics: Vec<_> = topics.split_whitespace().map(str::to_owned).collect();
        topics.sort();
        topics
    }

    /// Subscribes and unsubscribes, as fast as it goes.
    pub(crate) fn resubscribe(&mut self, topic: &str, rounds: u32) {
        self.tell(format_args!("resubscribe {topic} {rounds}"));
    }

    pub(crate) fn publish(&mut self, topic: &str) {
        self.tell(format_args!("publish {topic}"));
    }

    /// As [`Host::publish`]; the error is what the instance said.
    pub(crate) fn try_publish(&mut self, topic: &str) -> Result<(), String> {
        self.say(&format_args!("publish {topic}")).map(drop)
    }

    /// Drops the publisher of a topic.
    pub(crate) fn unpublish(&mut self, topic: &str) {
        self.tell(format_args!("unpublish {topic}"));
    }

    pub(crate) fn wait_for_subscribers(&mut self, topic: &str, count: usize) {
        self.tell(format_args!("wait-for-subscribers {topic} {count} {}", WAIT.as_millis()));
    }

    /// How many instances are known to listen to a topic of the host's.
    pub(crate) fn subscribers(&mut self, topic: &str) -> usize {
        self.ask(format_args!("subscribers {topic}"))
    }

    pub(crate) fn wait_for_publishers(&mut self, topic: &str, count: usize) {
        self.tell(format_args!("wait-for-publishers {topic} {count} {}", WAIT.as_millis()));
    }

    /// Sends `count` numbered payloads of `bytes` bytes. When held back it tries again.
    pub(crate) fn send(&mut self, topic: &str, count: u64, bytes: usize) {
        self.tell(format_args!("send {topic} {count} {bytes}"));
    }

    /// As [`Host::send`], with sizes from 16 bytes to 64 KiB.
    pub(crate) fn send_mixed(&mut self, topic: &str, count: u64) {
        self.begin_sending(topic, count);
        self.finish_sending();
    }

    /// Lets the host send as [`Host::send_mixed`] does, and returns at once. The host obeys nothing
    /// else until [`Host::finish_sending`].
    pub(crate) fn begin_sending(&mut self, topic: &str, count: u64) {
        writeln!(self.commands, "send {topic} {count} {}", role::MIXED).unwrap();
    }

    /// Waits until everything is accepted.
    pub(crate) fn finish_sending(&mut self) {
        self.reply().unwrap_or_else(|error| panic!("{}: sending: {error}", self.name));
    }

    /// Waits for at least `count` messages, and tells what has arrived.
    pub(crate) fn expect(&mut self, topic: &str, count: u64) -> Report {
        self.ask(format_args!("expect {topic} {count} {}", WAIT.as_millis()))
    }

    /// What has arrived so far.
    pub(crate) fn report(&mut self, topic: &str) -> Report {
        self.ask(format_args!("report {topic}"))
    }

    /// Sends a request that waits `timeout`, and returns how many responses came before it expired.
    pub(crate) fn request(&mut self, topic: &str, timeout: Duration) -> u64 {
        self.ask(format_args!("request {topic} {}", timeout.as_millis()))
    }

    /// Sends a request, waits for this many answers, and closes it. The answers are in the order in
    /// which they came.
    pub(crate) fn ask_for(&mut self, topic: &str, answers: usize) -> Vec<String> {
        let answers: String = self.ask(format_args!("ask-for {topic} {answers}"));
        answers.split_whitespace().map(str::to_owned).collect()
    }

    /// Sends requests, and closes each when so many instances have answered it.
    pub(crate) fn ask_all(&mut self, topic: &str, requests: u64, answers: usize) -> Tally {
        self.ask(format_args!("ask-all {topic} {requests} {answers}"))
    }

    /// Lets the host ask as [`Host::ask_all`] does, one answer each, and returns at once. The host
    /// obeys nothing else before the last answer.
    pub(crate) fn begin_asking(&mut self, topic: &str, requests: u64) {
        writeln!(self.commands, "ask-all {topic} {requests} 1").unwrap();
    }

    /// Starts more instances in the process, which answer as [`Behaviour::RespondLarge`] says.
    pub(crate) fn crowd(&mut self, topic: &str, count: usize, bytes: usize) {
        self.tell(format_args!("crowd {topic} {count} {bytes}"));
    }

    /// The identity of the instance, as it is printed.
    pub(crate) fn id(&mut self) -> String {
        self.ask("id")
    }

    /// The identity of the publisher of a topic, as it is printed.
    pub(crate) fn publisher_id(&mut self, topic: &str) -> String {
        self.ask(format_args!("publisher-id {topic}"))
    }

    pub(crate) fn response_address(&mut self) -> SocketAddr {
        self.ask("response-address")
    }

    /// Where the subscription of a topic listens.
    pub(crate) fn address(&mut self, topic: &str) -> SocketAddr {
        self.ask(format_args!("address {topic}"))
    }

    pub(crate) fn counter(&mut self, counter: Counter) -> u64 {
        self.ask(format_args!("counter {}", counter.label()))
    }

    /// How many other instances the host's instance knows.
    pub(crate) fn peers(&mut self) -> usize {
        self.ask("peers")
    }

    /// Starts and closes other instances, one after the other, that publish and subscribe.
    pub(crate) fn cycle(&mut self, rounds: u32) {
        self.tell(format_args!("cycle {rounds}"));
    }

    /// Gives an order that only some role knows, and returns what it replies.
    pub(crate) fn order(&mut self, command: &str) -> Result<String, String> {
        self.say(&command)
    }

    /// The process id.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// How many more files the process may open, with a reserve for what it opens by itself.
    pub(crate) fn spare_files(&self) -> usize {
        const RESERVE: usize = 200;
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", self.process())).unwrap();
        let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        // Unlimited is no number.
        let limit = limit.and_then(|line| line.split_whitespace().next()?.parse().ok());
        limit.unwrap_or(usize::MAX).saturating_sub(RESERVE)
    }

    /// Stops the process, as a debugger or an overloaded machine does: it obeys nothing until
    /// [`Host::go_on`]. Returns when all its threads stand still, where the system tells; on a busy
    /// machine that takes longer than the signal.
    pub(crate) fn stop(&self) {
        self.signal("STOP");
        eventually("all threads stand still", || {
            let threads = std::fs::read_dir(format!("/proc/{}/task", self.process()));
            threads.into_iter().flatten().flatten().all(|thread| {
                let status = std::fs::read_to_string(thread.path().join("stat"));
                // The state follows the name, which is in parentheses.
                status.is_ok_and(|status| status.contains(") T "))
            })
        });
    }

    /// Lets it go on.
    pub(crate) fn go_on(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        // The shell's own `kill` is there on every system; a program of that name is not.
        let command = format!("kill -{signal} {}", self.process());
        let status = Command::new("sh").args(["-c", &command]).status().unwrap();
        assert!(status.success(), "{}: {command}: {status}", self.name);
    }

    /// Closes the instance; the process goes on.
    pub(crate) fn close(&mut self) {
        self.tell("close");
    }

    /// Ends the process without another instruction of its own, as `kill -9` does.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends the process in an orderly way, without closing anything first.
    pub(crate) fn exit(mut self) {
        self.end("exit");
    }

    /// Drops the instance and what it has, and ends the process.
    pub(crate) fn leave(mut self) {
        self.end("leave");
    }

    fn end(&mut self, how: &str) {
        self.tell(how);
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{}: {status}", self.name);
    }

    fn tell(&mut self, command: impl Display) {
        self.say(&command).unwrap_or_else(|error| panic!("{}: {command}: {error}", self.name));
    }

    fn ask<T: FromStr>(&mut self, question: impl Display) -> T {
        let answer = self.say(&question);
        let answer = answer.unwrap_or_else(|error| panic!("{}: {question}: {error}", self.name));
        answer.parse().unwrap_or_else(|_| panic!("{}: {question}: {answer:?}", self.name))
    }

    fn say(&mut self, command: &impl Display) -> Result<String, String> {
        writeln!(self.commands, "{command}").map_err(|error| error.to_string())?;
        self.reply()
    }

    /// The next line that is a reply; the test harness of the child prints others.
    fn reply(&mut self) -> Result<String, String> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.replies.read_line(&mut line).map_err(|error| error.to_string())? == 0 {
                return Err("the process ended".to_owned());
            }
            if let Some(answer) = line.strip_prefix(role::OK) {
                return Ok(answer.trim().to_owned());
            }
            if let Some(error) = line.strip_prefix(role::ERROR) {
                return Err(error.trim().to_owned());
            }
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // It may have ended before; there is nothing to do about it here in any case.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
