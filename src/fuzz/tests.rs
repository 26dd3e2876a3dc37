//! All corpora through their entry points. Tests.

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use super::seeds::seeds;

type Target = (&'static str, fn(&[u8]));

/// Every target of `fuzz/` by its name.
const TARGETS: &[Target] = &[
    ("advert", super::advert),
    ("config", super::config),
    ("counters", super::counters),
    ("frames", super::frames),
    ("locator", super::locator),
    ("packet", super::packet),
    ("receive", super::receive),
    ("send", super::send),
];

/// A corpus is read by people and run with every `cargo test`.
const MAX_FILES: usize = 200;
const MAX_FILE_BYTES: usize = 16 * 1024;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn every_corpus_is_survived() {
    for (name, entry) in TARGETS {
        let files = entries(&folder("corpus").join(name));
        assert!((10..=MAX_FILES).contains(&files.len()), "{name}: {} files", files.len());
        for file in files {
            let bytes = fs::read(&file).unwrap();
            assert!(bytes.len() <= MAX_FILE_BYTES, "{file:?}: {} bytes", bytes.len());
            assert!(catch_unwind(|| entry(&bytes)).is_ok(), "{file:?}: see the panic above");
        }
    }
}

#[test]
fn every_target_has_its_program_and_its_corpus() {
    let names: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    for place in ["corpus", "fuzz_targets"] {
        let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
        let found: BTreeSet<_> = entries(&folder(place)).into_iter().map(stem).collect();
        assert_eq!(found, names, "fuzz/{place}");
    }
}

/// What the code writes is what the fuzzer starts from.
#[test]
fn the_seeds_are_those_of_this_version() {
    for (target, name, bytes) in seeds() {
        let file = folder("corpus").join(target).join(name);
        assert!(
            fs::read(&file).is_ok_and(|found| found == bytes),
            "{file:?} is not what the code writes: run `cargo test --lib write_the_seeds -- --ignored`"
        );
    }
}

#[test]
#[ignore = "writes fuzz/corpus"]
fn write_the_seeds() {
    for (target, _) in TARGETS {
        fs::create_dir_all(folder("corpus").join(target)).unwrap();
        for old in entries(&folder("corpus").join(target)) {
            if old.file_name().unwrap().to_str().unwrap().starts_with("seed-") {
                fs::remove_file(old).unwrap();
            }
        }
    }
    for (target, name, bytes) in seeds() {
        fs::write(folder("corpus").join(target).join(name), bytes).unwrap();
    }
}
