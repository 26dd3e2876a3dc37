//! Counting, and rows that come and go. Tests.

use super::*;
use crate::counters::{EndpointColumn, PublisherColumn, RowKind, SubscriptionColumn};

#[test]
fn what_is_added_is_read() {
    let counters = Counters::new();
    counters.add(Counter::Malformed, 2);
    counters.add(Counter::Malformed, 3);
    counters.set(Counter::OpenRequests, 7);
    counters.set(Counter::OpenRequests, 4);
    assert_eq!(counters.get(Counter::Malformed), 5);
    assert_eq!(counters.get(Counter::OpenRequests), 4);
    assert_eq!(format!("{:?}", counters.snapshot()), r#"{"malformed": 5, "open_requests": 4}"#);
}

/// What rows count is in the totals, at any time exactly once.
#[test]
fn rows_are_parts_of_the_totals() {
    let counters = Arc::new(Counters::new());
    let mut one = counters.row::<PublisherColumn>("fx.EURUSD", "multicast 239.255.0.9:35006/3");
    let mut other = counters.row::<PublisherColumn>("ipc.book", "ipc");
    one.add(PublisherColumn::Messages, 2);
    one.add(PublisherColumn::Messages, 3);
    one.add(PublisherColumn::Bytes, 10);
    other.set(PublisherColumn::Messages, 4);
    counters.add(Counter::MessagesSent, 100);
    let subscribers = one.level(PublisherColumn::Subscribers);
    subscribers.set(2);

    let snapshot = counters.snapshot();
    assert_eq!(snapshot.get(Counter::MessagesSent), 109);
    let [seen, _] = snapshot.rows() else { panic!("{:?}", snapshot.rows()) };
    assert_eq!((seen.kind(), seen.name()), (RowKind::Publisher, "fx.EURUSD"));
    assert_eq!(seen.place(), "multicast 239.255.0.9:35006/3");
    let values = ["messages", "bytes", "subscribers", "nonsense"].map(|label| seen.get(label));
    assert_eq!(values, [Some(5), Some(10), Some(2), None]);

    drop(one);
    assert_eq!(counters.snapshot().rows().len(), 2, "its level is still held");
    drop(subscribers);
    drop(other);
    let snapshot = counters.snapshot();
    assert_eq!((snapshot.get(Counter::MessagesSent), snapshot.rows()), (109, &[][..]));
}

#[test]
fn a_row_that_is_used_again_begins_with_nothing() {
    let counters = Arc::new(Counters::new());
    let mut long = counters.row::<EndpointColumn>(&"n".repeat(255), &"p".repeat(99));
    long.add(EndpointColumn::Sessions, 9);
    drop(long);
    let _short = counters.row::<PublisherColumn>("a", "");
    let snapshot = counters.snapshot();
    let [row] = snapshot.rows() else { panic!("{:?}", snapshot.rows()) };
    assert_eq!((row.kind(), row.name(), row.place()), (RowKind::Publisher, "a", ""));
    assert!(row.iter().all(|(_, value)| value == 0));
}

#[test]
fn without_a_row_left_the_totals_are_right_all_the_same() {
    let counters = Arc::new(Counters::new());
    let mut rows: Vec<_> =
        (0..PRIVATE_ROWS + 2).map(|number| counters.row(&number.to_string(), "")).collect();
    for row in &mut rows {
        row.add(PublisherColumn::Messages, 1);
    }
    let all = rows.len() as u64;
    let snapshot = counters.snapshot();
    assert_eq!(snapshot.get(Counter::MessagesSent), all);
    assert_eq!(snapshot.get(Counter::RowsRefused), 2);
    assert_eq!(snapshot.rows().len(), PRIVATE_ROWS);

    rows.last_mut().unwrap().add(PublisherColumn::Messages, 10);
    // What the conductor does, for those who read the file.
    counters.settle();
    let file = layout::image(&counters.words, PRIVATE_ROWS);
    assert_eq!(layout::decode(&file).unwrap().get(Counter::MessagesSent), all + 10);
    drop(rows);
    assert_eq!(counters.get(Counter::MessagesSent), all + 10);
    let _next = counters.row::<PublisherColumn>("has a place again", "");
    assert_eq!(counters.get(Counter::RowsRefused), 2);
}

#[test]
fn readers_notice_that_rows_come_and_go() {
    let counters = Arc::new(Counters::new());
    let image = || layout::image(&counters.words, PRIVATE_ROWS);
    let before = image();
    assert!(layout::is_same_edition(&before, &image()));
    let row = counters.row::<PublisherColumn>("comes", "");
    let between = image();
    assert!(!layout::is_same_edition(&before, &between));
    drop(row);
    assert!(!layout::is_same_edition(&between, &image()));
    // A process that died in between.
    counters.words[EDITION_AT].fetch_add(1, Ordering::Relaxed);
    assert!(!layout::is_same_edition(&image(), &image()));
}

#[test]
fn a_shared_row_lasts_as_long_as_whoever_shares_it() {
    let counters = Arc::new(Counters::new());
    let row = counters.row::<SubscriptionColumn>("orders", "");
    for _ in 0..2 {
        let mut share = row.share();
        share.add(SubscriptionColumn::Messages, 2);
    }
    let snapshot = counters.snapshot();
    assert_eq!((snapshot.get(Counter::MessagesReceived), snapshot.rows().len()), (4, 1));
    drop(row);
    let snapshot = counters.snapshot();
    assert_eq!((snapshot.get(Counter::MessagesReceived), snapshot.rows().len()), (4, 0));
}

/// The short way to the totals, which copies nothing, comes to what the long one says.
#[test]
fn totals_agree_with_a_snapshot() {
    let counters = Arc::new(Counters::new());
    let mut ended = counters.row::<PublisherColumn>("a", "");
    ended.add(PublisherColumn::Messages, 1);
    drop(ended);
    let mut rows: Vec<_> =
        (0..PRIVATE_ROWS + 2).map(|number| counters.row(&number.to_string(), "")).collect();
    for (row, amount) in rows.iter_mut().zip(1..) {
        row.add(EndpointColumn::Malformed, amount);
        row.add(EndpointColumn::Foreign, 1);
    }
    counters.add(Counter::Malformed, 5);
    let (snapshot, totals) = (counters.snapshot(), counters.totals(|_| true));
    for (counter, value) in snapshot.iter() {
        assert_eq!(totals[counter as usize], value, "{counter:?}");
    }
    assert!(totals[Counter::Malformed as usize] > 5);
    let only = counters.totals(|counter| counter == Counter::Malformed);
    assert_eq!(only[Counter::Malformed as usize], totals[Counter::Malformed as usize]);
}
