//! `vega demo` as users run it: to its good end, and to bad ends that real systems have. Layer:
//! tests. Every demo keeps to itself, so these run beside each other and beside everything else.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

use std::process::{Command, Stdio};

use serde_json::Value;

const VEGA: &str = env!("CARGO_BIN_EXE_vega");

#[test]
fn everything_that_is_sent_arrives() {
    let output = Command::new(VEGA).args(["demo", "--duration", "1s", "--json"]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let document: Value = serde_json::from_slice(&output.stdout).expect(&errors);
    assert_eq!(output.status.code(), Some(0), "{document} {errors}");
    assert_eq!(document["ok"], true, "{document}");
    for transport in ["multicast", "unicast", "ipc"] {
        let stream = &document[transport];
        assert!(stream["sent"].as_u64().unwrap() > 0, "{document}");
        assert_eq!(stream["received"], stream["sent"], "{document}");
        assert_eq!(stream["lost"], 0, "{document}");
        let [p50, p99] = ["p50_us", "p99_us"].map(|key| stream[key].as_f64().unwrap());
        assert!(0.0 < p50 && p50 <= p99, "{document}");
    }
    let request = &document["request"];
    let sent = request["sent"].as_u64().unwrap();
    assert!(sent > 0, "{document}");
    // Three dealers with four quotes each.
    assert_eq!(request["responses"], sent * 12, "{document}");
    assert_eq!(request["timeouts"], sent, "{document}");
    assert!(request["p50_us"].as_f64().unwrap() > 0.0, "{document}");
}

#[test]
fn a_configuration_with_other_transports_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("all-multicast.toml");
    std::fs::write(&path, "[[topic]]\npattern = '.*'\ntemplate = 'multicast'\n").unwrap();
    let output = Command::new(VEGA).args(["demo", "--json", "-c"]).arg(path).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("unicast.orders"), "{errors}");
    assert!(output.stdout.is_empty());
}

#[cfg(target_os = "linux")]
mod bad_ends {
    use super::*;
    use std::fs;
    use std::io::{BufRead, BufReader, Lines, Read};
    use std::path::{Path, PathBuf};
    use std::process::{Child, ChildStdout};
    use std::thread;
    use std::time::{Duration, Instant};

    /// Long enough not to end by itself while it is being spoiled.
    const DURATION: &str = "60s";

    /// A demo in full swing.
    struct Running {
        demo: Child,
        lines: Lines<BufReader<ChildStdout>>,
        /// Names and process ids.
        members: Vec<(String, String)>,
        /// What its processes share, to be gone after the end.
        directory: PathBuf,
    }

    impl Running {
        /// Returns when requests are being answered.
        fn start() -> Self {
            let mut demo = Command::new(VEGA)
                .args(["demo", "--duration", DURATION])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
            let mut members = Vec::new();
            loop {
                let line = lines.next().expect("the demo goes on").unwrap();
                if line.contains("(1 of 4)") {
                    break;
                }
                if let [name, "process", id, ..] = line.split_whitespace().collect::<Vec<_>>()[..] {
                    members.push((name.to_owned(), id.to_owned()));
                }
            }
            assert_eq!(members.len(), 5);
            let directory = directory_of(&members[0].1);
            assert!(directory.is_dir());
            Self { demo, lines, members, directory }
        }

        fn id(&self, wanted: &str) -> &str {
            let member = self.members.iter().find(|(name, _)| name == wanted);
            &member.unwrap().1
        }

        /// Exit code, standard output from here on, and standard error. Nobody stays behind.
        fn end(mut self) -> (Option<i32>, String, String) {
            let output: String = self.lines.map(|line| line.unwrap() + "\n").collect();
            let mut errors = String::new();
            self.demo.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
            let code = self.demo.wait().unwrap().code();
            for (name, id) in &self.members {
                assert!(!is_running(id), "{name} is still there");
            }
            assert!(!self.directory.exists());
            (code, output, errors)
        }
    }

    /// Where the configuration of a process is.
    fn directory_of(id: &str) -> PathBuf {
        let command_line = fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap();
        let mut arguments = command_line.split('\0').skip_while(|argument| *argument != "--config");
        Path::new(arguments.nth(1).unwrap()).parent().unwrap().to_owned()
    }

    /// Processes that have ended and that nobody has collected do not count.
    fn is_running(id: &str) -> bool {
        let Ok(stat) = fs::read_to_string(format!("/proc/{id}/stat")) else { return false };
        !stat.rsplit(") ").next().unwrap().starts_with('Z')
    }

    fn signal(signal: &str, id: &str) {
        assert!(Command::new("kill").args([signal, id]).status().unwrap().success());
    }

    #[test]
    fn a_dealer_that_dies_is_missed() {
        let running = Running::start();
        signal("-KILL", running.id("dealer-2"));
        let (code, output, errors) = running.end();
        assert_eq!(code, Some(1), "{output} {errors}");
        assert!(output.contains("missing: dealer-2"), "{output}");
        assert!(errors.contains("dealer-2") && errors.contains("signal: 9"), "{errors}");
    }

    #[test]
    fn an_interrupted_demo_takes_everybody_along() {
        let running = Running::start();
        signal("-INT", &running.demo.id().to_string());
        let (code, output, errors) = running.end();
        assert_eq!(code, Some(1), "{output} {errors}");
        assert!(output.contains("missing: interrupted"), "{output}");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "bounds waiting; decides nothing else")]
    fn processes_do_not_outlive_a_demo_that_was_killed() {
        const POLLING_PAUSE: Duration = Duration::from_millis(10);
        let Running { mut demo, lines: _lines, members, directory } = Running::start();
        demo.kill().unwrap();
        demo.wait().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while let Some((name, _)) = members.iter().find(|(_, id)| is_running(id)) {
            assert!(Instant::now() < deadline, "{name} is still there");
            thread::sleep(POLLING_PAUSE);
        }
        // There was nobody left to do this.
        fs::remove_dir_all(directory).unwrap();
    }
}
