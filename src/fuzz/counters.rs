//! Counter files that somebody has damaged, or that are none. Beside `lib.rs`, above all layers.

use super::program::Program;
use crate::counters::{Counter, decode, fixture, is_same_edition};

/// Bytes are a file.
const RAW: u8 = 0;

/// Reads a counter file as `vega stat` does and renders what it says. The first byte says whether the
/// others are the file, or what becomes of one that is whole: words of it are others, and it may be
/// cut short.
///
/// # Panics
///
/// When rows come from where there are no bytes, or the same bytes say two things.
pub fn counters(bytes: &[u8]) {
    let mut program = Program::new(bytes);
    match program.step() {
        Some(RAW) => read(program.bytes(bytes.len())),
        Some(_) => read(&damaged(&mut program)),
        None => {}
    }
}

/// A whole file, in which each step puts eight bytes somewhere: mostly in its first part, where the
/// numbers stand that tell where everything is.
fn damaged(program: &mut Program<'_>) -> Vec<u8> {
    let mut file = fixture::file();
    let length = program.byte();
    if length > 0 {
        file.truncate(file.len() * usize::from(length) / 256);
    }
    while let Some(step) = program.step() {
        let at = match step {
            0..128 => usize::from(step) * 8,
            _ => program.u32() as usize % file.len().max(1),
        };
        let value = program.u64().to_ne_bytes();
        for (byte, value) in file.iter_mut().skip(at).zip(value) {
            *byte = value;
        }
    }
    file
}

fn read(file: &[u8]) {
    // Half of a pair of copies may be of another edition; one file is of one.
    let _ = is_same_edition(&file[..file.len() / 2], file);
    let Ok(read) = decode(file) else { return };
    assert!(read.rows().len() <= file.len() / 512, "each row has bytes of its own");
    for row in read.rows() {
        assert_eq!(row.iter().count(), row.kind().columns().len());
        assert!(row.name().len() + row.place().len() <= 3 * 512, "text lies within its row");
    }
    let sum = Counter::ALL.iter().fold(0, |sum: u64, it| sum.wrapping_add(read.get(*it)));
    assert_eq!(sum, read.iter().fold(0, |sum: u64, (_, value)| sum.wrapping_add(value)));
    let _ = (read.started(), read.name().len(), read.instance(), read.is_alive());
    let text = read.to_prometheus();
    let again = decode(file).map(|read| read.to_prometheus());
    assert_eq!(again.as_ref(), Ok(&text), "the same bytes say the same");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let value = line.rsplit_once(' ').map(|(_, value)| value.parse::<f64>());
        assert!(matches!(value, Some(Ok(_))), "{line:?} is no sample");
    }
}
