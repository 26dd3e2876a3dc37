//! `vega bench` as users run it, with counts that are small enough for a test: are the figures
//! complete and plausible? Never how good they are. Layer: tests.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

use std::process::Command;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

const TRANSPORTS: [&str; 3] = ["multicast", "unicast", "ipc"];

/// Processes that spin on the same two cores only delay each other.
static CORES: Mutex<()> = Mutex::new(());

fn bench(arguments: &[&str]) -> Value {
    let (document, code) = bench_with_code(arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {document}");
    document
}

/// What a run that ended with a result printed, and its exit code.
fn bench_with_code(arguments: &[&str]) -> (Value, Option<i32>) {
    let _cores = CORES.lock().unwrap_or_else(PoisonError::into_inner);
    let output = Command::new(env!("CARGO_BIN_EXE_vega"))
        .arg("bench")
        .args(arguments)
        .arg("--json")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let document = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {errors}"));
    (document, output.status.code())
}

fn number(document: &Value, key: &str) -> f64 {
    document[key].as_f64().unwrap_or_else(|| panic!("{key} in {document}"))
}

fn check_round_trips(mode: &str, transport: &str) {
    let document = bench(&[mode, "--transport", transport, "--size", "40", "--count", "500"]);
    assert_eq!(document["transport"], transport);
    assert_eq!(document["size"], 40);
    assert_eq!(document["count"], 500);
    assert_eq!(document["lost"], 0, "{document}");
    let quantiles = ["p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns"];
    let quantiles = quantiles.map(|key| number(&document, key));
    assert!(quantiles[0] > 0.0 && quantiles.is_sorted(), "{document}");
    assert!(document["baseline_p50_ns"].is_null() && document["ratio_p50"].is_null());
}

#[test]
fn round_trips_on_each_transport() {
    for transport in TRANSPORTS {
        check_round_trips("rtt", transport);
    }
}

#[test]
fn requests_on_each_transport() {
    for transport in TRANSPORTS {
        check_round_trips("request", transport);
    }
}

#[test]
fn baselines_are_played_in_the_same_run() {
    for (mode, transport) in [("rtt", "multicast"), ("rtt", "ipc"), ("request", "ipc")] {
        let document = bench(&[mode, "--transport", transport, "--count", "50", "--baseline"]);
        assert_eq!(document["count"], 50, "{document}");
        let [own, raw, ratio] =
            ["p50_ns", "baseline_p50_ns", "ratio_p50"].map(|key| number(&document, key));
        assert!(raw > 0.0, "{document}");
        assert!((ratio - own / raw).abs() <= 0.001, "{document}");
    }
}

/// What is measured with a configuration of IPv6 is compared with sockets of IPv6.
#[test]
fn round_trips_by_ipv6_beside_sockets_of_ipv6() {
    let daemon = match vega::DiscoveryDaemon::builder().interface("::1").port(0).start() {
        Ok(daemon) => daemon,
        Err(reason) => {
            use std::io::Write as _;
            // Not by a macro: the harness would keep that to itself.
            let _ = writeln!(std::io::stderr(), "\nSKIPPED: no IPv6 here: {reason}");
            return;
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ipv6.toml");
    let text = format!(
        "interface = '::1'\n[discovery]\nkind = 'daemon'\ndaemons = ['{}']\n\
         [ipc]\ndirectory = '{}'\n",
        daemon.address(),
        folder.path().join("rings").display(),
    );
    std::fs::write(&file, text).unwrap();
    let arguments = ["--transport", "unicast", "--count", "200", "--baseline", "-c"];
    for mode in ["rtt", "request", "throughput"] {
        let arguments = [&[mode], &arguments[..], &[file.to_str().unwrap()]].concat();
        let document = bench(&arguments);
        assert_eq!(document["transport"], "unicast", "{document}");
        let raw = ["baseline_p50_ns", "baseline_gbit_per_sec"];
        assert!(raw.iter().any(|key| document[*key].as_f64() > Some(0.0)), "{document}");
    }
}

#[test]
fn throughput_on_each_transport() {
    for transport in TRANSPORTS {
        let document =
            bench(&["throughput", "--transport", transport, "--size", "100", "--count", "20000"]);
        assert_eq!(document["transport"], transport);
        assert_eq!(document["size"], 100);
        for (key, value) in [("sent", 20_000), ("received", 20_000), ("lost", 0)] {
            assert_eq!(document[key], value, "{key} in {document}");
        }
        assert!(document["back_pressured"].as_u64().unwrap() <= 20_000, "{document}");
        let gigabits = number(&document, "msgs_per_sec") * 800.0 / 1e9;
        assert!(gigabits > 0.0, "{document}");
        assert!((number(&document, "gbit_per_sec") - gigabits).abs() <= 0.001, "{document}");
        assert!(document["baseline_gbit_per_sec"].is_null());
    }
}

#[test]
fn throughput_beside_its_baseline() {
    for transport in TRANSPORTS {
        let arguments =
            ["throughput", "--transport", transport, "--size", "1024", "--count", "5000"];
        let document = bench(&[&arguments[..], &["--baseline"]].concat());
        assert_eq!(document["received"], 5000, "{document}");
        assert!(number(&document, "baseline_gbit_per_sec") > 0.0, "{document}");
    }
}

#[test]
fn losses_on_purpose_are_survived_and_counted() {
    for transport in ["multicast", "unicast"] {
        for mode in ["rtt", "request"] {
            let arguments = ["--transport", transport, "--count", "1000", "--loss", "1%"];
            let document = bench(&[&[mode], &arguments[..]].concat());
            assert_eq!(document["count"], 1000, "{document}");
            assert_eq!(document["loss"], 0.01, "{document}");
            // Of 3000 round trips, the warm-up included, none is spared by chance.
            assert!(number(&document, "faults_dropped") > 0.0, "{document}");
        }
        let arguments = ["--transport", transport, "--size", "1000", "--count", "20000"];
        let document = bench(&[&["throughput", "--loss", "0.05"], &arguments[..]].concat());
        let [sent, received, lost] = ["sent", "received", "lost"].map(|key| number(&document, key));
        assert_eq!(sent, received + lost, "{document}");
        assert_eq!((lost, number(&document, "packets_lost")), (0.0, 0.0), "{document}");
        assert!(number(&document, "naks") > 0.0, "{document}");
        assert!(number(&document, "retransmits") > 0.0, "{document}");
    }
    assert!(bench(&["rtt", "--count", "10"])["loss"].is_null());
}

#[test]
fn the_distribution_is_written_to_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rtt.hgrm");
    let document = bench(&["rtt", "--duration", "20ms", "--hgrm", path.to_str().unwrap()]);
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.trim_start().starts_with("Value"), "{text}");
    let count = document["count"].as_u64().unwrap();
    assert!(count > 0);
    let total: u64 = text
        .rsplit_once("Total count    =")
        .unwrap()
        .1
        .split(']')
        .next()
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    assert_eq!(total, count);
}

/// A page that needs nothing else, with so many charts.
fn check_page(path: &std::path::Path, charts: usize) -> String {
    let page = std::fs::read_to_string(path).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"), "{page}");
    assert_eq!(page.matches("<svg").count(), charts, "{page}");
    for outside in ["http", "src=", "href=", "url(", "@import", "<script", "NaN"] {
        assert!(!page.contains(outside), "{outside} in {page}");
    }
    page
}

#[test]
fn a_measurement_is_written_as_a_page() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("page.html");
    let report = ["--report", path.to_str().unwrap()];
    let arguments = ["rtt", "--transport", "ipc", "--count", "200", "--baseline"];
    bench(&[&arguments[..], &report[..]].concat());
    let page = check_page(&path, 1);
    assert_eq!(page.matches("curve c0\" d=").count(), 2, "a line and its key: {page}");
    assert!(page.contains("curve c1"), "{page}");
    bench(&[&["throughput", "--count", "200"], &report[..]].concat());
    check_page(&path, 0);
    let arguments = ["throughput", "--rate", "1k", "--count", "200", "--baseline"];
    bench_with_code(&[&arguments[..], &report[..]].concat());
    let page = check_page(&path, 1);
    assert!(page.contains("of 1000 messages/s") && page.contains("curve c1"), "{page}");
}

#[test]
fn every_case_of_the_target_table_is_measured_and_judged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("all.html");
    let report = ["--report", path.to_str().unwrap()];
    let document = bench(&[&["all", "--duration", "100ms"], &report[..]].concat());
    let page = check_page(&path, 8);
    for case in document["cases"].as_array().unwrap() {
        assert!(page.contains(case["case"].as_str().unwrap()), "{case}");
    }
    let machine = &document["machine"];
    assert!(number(machine, "cores") >= 1.0, "{document}");
    assert_eq!(machine["version"], env!("CARGO_PKG_VERSION"), "{document}");
    let cases = document["cases"].as_array().unwrap();
    assert_eq!((cases.len(), number(&document, "failed")), (17, 0.0), "{document}");
    let mut held = 0.0;
    let rows = document["rows"].as_array().unwrap();
    assert_eq!(rows.len() as f64, number(&document, "targets"), "{document}");
    for row in rows.iter().filter(|row| !row["value"].is_null()) {
        let met = row["met"] == true;
        assert_eq!(number(row, "ratio") >= 1.0, met, "{row}");
        assert!(number(row, "value") > 0.0 && number(row, "target") > 0.0, "{row}");
    }
    for case in cases {
        let result = &case["result"];
        assert!(case["error"].is_null(), "{case}");
        if case["mode"] == "expiry" {
            // A busy machine has not opened all of them in time, and is told nothing then.
            if result["open_at_once"] != result["open"] {
                continue;
            }
        } else {
            assert!(number(result, "size") > 0.0, "{case}");
            for counter in ["lost", "retransmits", "naks"] {
                assert!(number(result, counter) >= 0.0, "{case}");
            }
        }
        for target in case["targets"].as_array().unwrap() {
            let figure = target["figure"].as_str().unwrap();
            let (measured, limit) = (number(target, "measured"), number(target, "target"));
            assert!(measured > 0.0, "{case}");
            // What is printed is rounded, what is judged is not.
            assert!((number(result, figure) - measured).abs() <= 1.0, "{case}");
            let holds =
                if target["bound"] == "at most" { measured <= limit } else { measured >= limit };
            assert_eq!(target["holds"], holds, "{case}");
            held += f64::from(u8::from(holds));
        }
    }
    assert_eq!(number(&document, "held"), held, "{document}");
}

#[test]
fn an_open_loop_measures_every_message_and_says_whether_it_kept_its_rate() {
    for transport in TRANSPORTS {
        let arguments = ["throughput", "--transport", transport, "--rate", "1k", "--count", "200"];
        let (document, code) = bench_with_code(&arguments);
        // A busy machine may miss it: then both have to say so.
        assert_eq!(document["rate_kept"], code == Some(0), "{code:?}: {document}");
        assert_eq!((number(&document, "rate"), number(&document, "received")), (1e3, 200.0));
        assert!(number(&document, "achieved_rate") <= 1e3, "{document}");
        let quantiles = ["p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns"];
        let quantiles = quantiles.map(|key| number(&document, key));
        assert!(quantiles[0] > 0.0 && quantiles.is_sorted(), "{document}");
        assert!(document["baseline_p99_ns"].is_null(), "{document}");
    }
}

/// Beside one of bare sockets, or of memory, at the same rate.
#[test]
fn an_open_loop_has_a_baseline() {
    for transport in TRANSPORTS {
        let arguments = ["throughput", "--transport", transport, "--rate", "1k", "--count", "200"];
        let (document, _) = bench_with_code(&[&arguments[..], &["--baseline"]].concat());
        assert_eq!(number(&document, "received"), 200.0, "{document}");
        let quantiles = ["baseline_p50_ns", "baseline_p99_ns"].map(|key| number(&document, key));
        assert!(quantiles[0] > 0.0 && quantiles.is_sorted(), "{document}");
        assert_eq!(number(&document, "baseline_lost"), 0.0, "{document}");
    }
}

#[test]
fn a_rate_that_no_machine_keeps_is_missed() {
    let arguments = ["throughput", "--transport", "ipc", "--rate", "1000M", "--duration", "100ms"];
    let (document, code) = bench_with_code(&arguments);
    assert_eq!(code, Some(1), "{document}");
    assert_eq!(document["rate_kept"], false, "{document}");
    assert!(number(&document, "achieved_rate") < 1e9, "{document}");
    assert_eq!(number(&document, "lost"), 0.0, "{document}");
}

#[test]
fn every_subscriber_gets_the_messages_of_every_topic() {
    for transport in TRANSPORTS {
        let spread = ["--transport", transport, "--subscribers", "2", "--topics", "7"];
        let document = bench(&[&["throughput", "--count", "3000"], &spread[..]].concat());
        assert_eq!((number(&document, "sent"), number(&document, "received")), (3e3, 6e3));
        assert_eq!(number(&document, "lost"), 0.0, "{document}");
        assert!(number(&document, "msgs_per_sec") > 0.0, "{document}");
        let document = bench(&[&["rtt", "--count", "300"], &spread[..]].concat());
        assert_eq!((number(&document, "count"), number(&document, "lost")), (300.0, 0.0));
        assert_eq!((number(&document, "subscribers"), number(&document, "topics")), (2.0, 7.0));
    }
}

#[test]
fn packets_may_be_larger_and_pollers_may_wait_otherwise() {
    for idle in ["busy_spin", "yield", "backoff", "sleep", "block"] {
        let document = bench(&["rtt", "--transport", "unicast", "--idle", idle, "--count", "50"]);
        assert_eq!(number(&document, "count"), 50.0, "{document}");
        assert_eq!(document["idle"], idle, "{document}");
    }
    let arguments = ["rtt", "--transport", "unicast", "--idle", "block", "--baseline"];
    let document = bench(&[&arguments[..], &["--count", "50"]].concat());
    assert!(number(&document, "baseline_p50_ns") > 0.0, "{document}");
    for packet_size in ["512", "8192", "65472"] {
        let arguments = ["throughput", "--transport", "unicast", "--baseline", "--size", "100"];
        let sizes = ["--packet-size", packet_size, "--count", "5000"];
        let document = bench(&[&arguments[..], &sizes[..]].concat());
        assert_eq!((number(&document, "received"), number(&document, "lost")), (5e3, 0.0));
        assert_eq!(document["packet_size"].to_string(), packet_size, "{document}");
        assert!(number(&document, "baseline_gbit_per_sec") > 0.0, "{document}");
    }
}

#[test]
fn cases_that_cannot_be_measured_are_failures_and_hold_nothing() {
    // So few files that no instance starts.
    let script = "ulimit -n 16 && exec \"$0\" bench all --duration 50ms --json";
    let output =
        Command::new("sh").args(["-c", script, env!("CARGO_BIN_EXE_vega")]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let cases = document["cases"].as_array().unwrap();
    assert_eq!((document["failed"].as_u64(), number(&document, "held")), (Some(17), 0.0));
    assert!(number(&document, "targets") >= 17.0, "{document}");
    for case in cases {
        assert!(case["result"].is_null() && case["error"].is_string(), "{case}");
    }
}

#[test]
fn requests_expire_after_they_were_due() {
    let document = bench(&["expiry", "--open", "2000", "--duration", "50ms"]);
    assert_eq!(document["open"], 2000);
    let [open, expire, both] =
        ["register_ns", "expire_ns", "request_ns"].map(|key| number(&document, key));
    assert!(open > 0.0 && expire > 0.0, "{document}");
    assert!((open + expire - both).abs() <= 0.002, "{document}");
    let late = ["late_p50_ns", "late_p90_ns", "late_p99_ns", "late_p999_ns", "late_max_ns"];
    let late = late.map(|key| number(&document, key));
    assert!(late[0] > 0.0 && late.is_sorted(), "{document}");
}

#[test]
fn what_cannot_be_measured_is_refused() {
    for arguments in [
        ["rtt", "--size", "70000", "--baseline", "--count", "1"],
        ["rtt", "--hgrm", "/nowhere/x.hgrm", "--count", "1", "--json"],
        ["throughput", "--transport", "pigeon", "--count", "1", "--json"],
        ["request", "--count", "0", "--size", "32", "--json"],
        ["rtt", "--loss", "101%", "--count", "1", "--json"],
        ["rtt", "--loss=1%", "--transport=ipc", "--count", "1", "--json"],
        ["throughput", "--rate=1k", "--size=7", "--count", "1", "--json"],
        ["throughput", "--rate", "0", "--count", "1", "--json"],
        ["throughput", "--packet-size", "1000", "--count", "1", "--json"],
        ["expiry", "--open", "0", "--duration", "1s", "--json"],
        ["rtt", "--subscribers", "0", "--count", "1", "--json"],
        ["throughput", "--transport=unicast", "--topics=196", "--count", "1", "--json"],
        ["rtt", "--transport=unicast", "--topics=97", "--subscribers=2", "--count=1", "--json"],
    ] {
        let output =
            Command::new(env!("CARGO_BIN_EXE_vega")).arg("bench").args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}
