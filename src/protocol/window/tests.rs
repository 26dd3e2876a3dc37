//! The receive window by examples, and against a naive map. Tests.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[test]
fn held_packets_come_out_in_order() {
    let mut window = Window::default();
    assert!(window.hold(2, b"c"));
    assert!(window.hold(1, b"b"));
    assert!(!window.hold(1, b"b"));
    window.advance();
    assert_eq!(window.take(), Some(b"b".to_vec()));
    window.advance();
    assert_eq!(window.take(), Some(b"c".to_vec()));
    assert!(window.is_empty());
    window.advance();
    assert_eq!(window.take(), None);
}

#[test]
fn what_is_missing_is_told_in_runs() {
    let mut window = Window::default();
    for at in [2, 3, 6] {
        window.hold(at, b"x");
    }
    let missing = |from, until| window.missing(from, until).collect::<Vec<_>>();
    assert_eq!(missing(0, 9), [(0, 2), (4, 2), (7, 2)]);
    assert_eq!(missing(1, 5), [(1, 1), (4, 1)]);
    assert_eq!(missing(2, 4), []);
    assert_eq!(missing(9, 9), []);
}

#[test]
fn a_window_that_moves_back_keeps_what_it_holds() {
    let mut window = Window::default();
    window.hold(0, b"c");
    window.retreat(2);
    assert_eq!(window.take(), None);
    window.advance();
    window.advance();
    assert_eq!(window.take(), Some(b"c".to_vec()));
}

/// What is done to the window and to the map.
#[derive(Clone, Debug)]
enum Step {
    Hold(usize, Vec<u8>),
    Take,
    Advance,
    Retreat(usize),
    Recycle,
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = proptest::collection::vec(any::<u8>(), 0..4);
    prop_oneof![
        8 => (0..40_usize, bytes).prop_map(|(at, bytes)| Step::Hold(at, bytes)),
        4 => Just(Step::Take),
        4 => Just(Step::Advance),
        1 => (0..8_usize).prop_map(Step::Retreat),
        4 => Just(Step::Recycle),
        1 => Just(Step::Clear),
    ]
}

/// The runs of numbers in `from..until` that the map lacks, found one by one.
fn runs(map: &BTreeMap<usize, Vec<u8>>, from: usize, until: usize) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for at in (from..until).filter(|at| !map.contains_key(at)) {
        match runs.last_mut() {
            Some((first, length)) if *first + *length == at => *length += 1,
            _ => runs.push((at, 1)),
        }
    }
    runs
}

proptest! {
    /// Packets by their distance from the expected one; nothing else is remembered.
    #[test]
    fn agrees_with_a_map_of_distances(
        steps in proptest::collection::vec(step(), 1..200),
        (from, until) in (0..50_usize, 0..50_usize),
    ) {
        let (mut window, mut map) = (Window::default(), BTreeMap::new());
        // Buffers that the owner has, and most that were ever in use.
        let (mut taken, mut most) = (Vec::new(), 0);
        for step in steps {
            match step {
                Step::Hold(at, bytes) => {
                    let is_new = !map.contains_key(&at);
                    prop_assert_eq!(window.hold(at, &bytes), is_new);
                    map.entry(at).or_insert(bytes);
                }
                Step::Take => {
                    let packet = window.take();
                    prop_assert_eq!(&packet, &map.remove(&0));
                    taken.extend(packet);
                }
                Step::Advance => {
                    window.advance();
                    map = map.into_iter().filter_map(|(at, b)| Some((at.checked_sub(1)?, b))).collect();
                }
                Step::Retreat(by) => {
                    window.retreat(by);
                    map = map.into_iter().map(|(at, bytes)| (at + by, bytes)).collect();
                }
                Step::Recycle => taken.pop().into_iter().for_each(|buffer| window.recycle(buffer)),
                Step::Clear => {
                    window.clear();
                    map.clear();
                }
            }
            prop_assert_eq!((window.len(), window.is_empty()), (map.len(), map.is_empty()));
            prop_assert_eq!(window.missing(from, until).collect::<Vec<_>>(), runs(&map, from, until));
            most = most.max(window.len() + taken.len());
            prop_assert!(window.spare.len() + window.len() + taken.len() <= most);
        }
    }
}
