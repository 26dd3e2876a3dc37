//! Counter files from the outside: damaged ones, those of other releases, and what is rendered. Tests.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::fixture::{ROWS, counters, file};
use super::*;
use crate::id::InstanceId;

#[test]
fn a_file_says_whose_it_is() {
    let read = decode(&file()).unwrap();
    assert_eq!((read.name(), read.process(), read.is_alive()), ("dealer", 4711, true));
    assert_eq!(read.instance(), InstanceId::from_bytes([7; 16]));
    assert_eq!(read.started(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    assert_eq!(read.get(Counter::MessagesSent), 5);
    assert_eq!(read.rows_of(RowKind::Poller).count(), 1);
    assert!(!read.mark_dead().is_alive());
}

#[test]
fn names_that_are_too_long_end_with_a_whole_character() {
    let (words, counters) = counters(&"ü".repeat(200));
    let _row = counters.row::<PublisherColumn>("", &"é".repeat(100));
    let read = decode(&layout::image(&words, ROWS)).unwrap();
    assert_eq!(read.name(), "ü".repeat(128));
    assert_eq!(read.rows()[0].place(), "é".repeat(28));
}

#[test]
fn files_that_are_none_are_refused() {
    let whole = file();
    assert_eq!(decode(b"").unwrap_err(), CounterFileError::Foreign);
    assert_eq!(decode(b"VEGARING").unwrap_err(), CounterFileError::Foreign);
    assert_eq!(decode(&vec![0; whole.len()]).unwrap_err(), CounterFileError::Unwritten);
    let mut of_another_release = whole.clone();
    of_another_release[8] = 9;
    assert_eq!(decode(&of_another_release).unwrap_err(), CounterFileError::Version { found: 9 });
    for length in (8..whole.len()).step_by(97) {
        assert!(decode(&whole[..length]).is_err(), "{length} of {} bytes", whole.len());
    }
    let mut longer = whole.clone();
    longer.push(0);
    assert!(decode(&longer).is_err());
    // Counts, and where the rows are.
    for at in (64..96).step_by(8) {
        let mut damaged = whole.clone();
        damaged[at..at + 8].fill(0xff);
        let error = decode(&damaged).unwrap_err();
        assert!(matches!(error, CounterFileError::Inconsistent { .. }), "{at}: {error}");
    }
}

/// A reader passes over what it does not know, wherever it stands.
#[test]
fn what_another_release_counts_is_passed_over() {
    let mut bytes = file();
    let label = |text: &str| {
        let mut label = text.as_bytes().to_vec();
        label.resize(16, 0);
        label
    };
    let find = |bytes: &[u8], wanted: &[u8]| {
        bytes.windows(wanted.len()).position(|window| window == wanted).unwrap()
    };
    for (known, other) in
        [("malformed", "misshapen"), ("poller", "fooler"), ("messages", "massages")]
    {
        let at = find(&bytes, &label(known));
        bytes[at..at + 16].copy_from_slice(&label(other));
    }
    let read = decode(&bytes).unwrap();
    assert_eq!(read.get(Counter::Malformed), 0);
    assert_eq!(read.rows_of(RowKind::Poller).count(), 0);
    let publisher = read.rows_of(RowKind::Publisher).next().unwrap();
    assert_eq!(publisher.get("messages"), Some(0));
    assert_eq!(read.get(Counter::MessagesSent), 5, "the file says what its columns add up to");
}

/// Splits a text of Prometheus into its samples, and holds it to the format.
fn samples(text: &str) -> Vec<(String, String, f64)> {
    let (mut announced, mut seen, mut samples) = (HashSet::new(), HashSet::new(), Vec::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.split(' ');
            let (kind, name) = (words.next().unwrap(), words.next().unwrap());
            assert!(announced.insert((kind.to_owned(), name.to_owned())), "twice: {line}");
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(seen.insert(series.to_owned()), "twice: {line}");
        let (name, labels) = series.split_once('{').unwrap();
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        for kind in ["HELP", "TYPE"] {
            assert!(announced.contains(&(kind.to_owned(), name.to_owned())), "{name}");
        }
        samples.push((name.to_owned(), labels.to_owned(), value.parse().unwrap()));
    }
    samples
}

#[test]
fn prometheus_gets_every_counter_of_every_instance_once() {
    let first = decode(&file()).unwrap();
    let (words, counters) = counters("quote \" backslash \\ line \n");
    // Two that say the same of themselves.
    let mut rows = [1, 2].map(|_| counters.row::<PublisherColumn>("same", "ipc"));
    rows[0].set(PublisherColumn::Messages, 1);
    rows[1].set(PublisherColumn::Messages, 2);
    let second = decode(&layout::image(&words, ROWS)).unwrap().mark_dead();
    let text = prometheus::render(&[first, second]);
    let samples = samples(&text);
    let of = |name: &str| samples.iter().filter(|sample| sample.0 == name).collect::<Vec<_>>();
    assert_eq!(of("vega_messages_sent_total").iter().map(|it| it.2).sum::<f64>(), 8.0);
    assert_eq!(of("vega_up").iter().map(|it| it.2).sum::<f64>(), 1.0);
    assert_eq!(of("vega_open_requests").len(), 2);
    let busy = of("vega_poller_busy_seconds_total");
    assert_eq!((busy.len(), busy[0].2), (1, 1.5));
    assert!(busy[0].1.contains(r#",poller="default"}"#), "{}", busy[0].1);
    let messages = of("vega_publisher_messages_total");
    assert_eq!(messages.iter().map(|it| it.2).collect::<Vec<_>>(), [5.0, 3.0]);
    assert!(messages[0].1.contains(r#"topic="fx.\"EURUSD\"",place="ipc""#), "{}", messages[0].1);
    assert!(text.contains(r#"instance_name="quote \" backslash \\ line \n""#), "{text}");
    for counter in Counter::ALL {
        let described = text.lines().filter(|line| line.ends_with(counter.description()));
        assert!(described.count() >= 1, "{}", counter.label());
    }
}

#[test]
fn nothing_is_rendered_of_nobody() {
    assert_eq!(prometheus::render(&[]), "");
}

proptest! {
    /// Bytes from a file that somebody has damaged, anywhere and in any way.
    #[test]
    fn no_bytes_make_a_reader_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..64),
        early in prop::collection::vec((0..4096_usize, any::<u8>()), 0..8),
        length in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = file();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        for (at, value) in early {
            bytes[at] = value;
        }
        if let Some(length) = length {
            bytes.truncate(length.index(bytes.len()));
        }
        if let Ok(read) = decode(&bytes) {
            prop_assert!(read.rows().len() <= ROWS);
            samples(&read.to_prometheus());
        }
    }

    #[test]
    fn no_words_make_a_reader_panic(words in prop::collection::vec(any::<u64>(), 0..256)) {
        let mut bytes = file();
        for (place, word) in bytes.chunks_exact_mut(8).skip(2).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        let _ = decode(&bytes);
    }
}
