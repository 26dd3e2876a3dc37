//! Simulated sessions: thousands of seeds, and those that once failed. Tests.

#[test]
fn seeds() {
    let mut failures = Vec::new();
    let from: u64 = std::env::var("S").map_or(0, |s| s.parse().unwrap());
    let n: u64 = std::env::var("N").map_or(300, |s| s.parse().unwrap());
    for seed in from..from + n {
        if let Err(failure) = vega::sim::run(seed) {
            failures.push(failure.to_string());
        }
    }
    eprintln!("{}", failures.len());
    assert!(failures.is_empty(), "{}", failures[..failures.len().min(12)].join("\n"));
}
