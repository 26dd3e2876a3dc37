//! Tests of the directory, the locks and the sweep: on real files, with a second process where one
//! is needed.

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::*;
#[cfg(target_os = "linux")]
use crate::config::RingPages;
#[cfg(target_os = "linux")]
use crate::counters::{Counter, Counters};

/// Tells the second process where the file lies that it shall lock.
const CHILD_DIRECTORY: &str = "VEGA_TEST_SHM_DIRECTORY";
const CHILD_SAYS: &str = "child: locked";

fn directory() -> (tempfile::TempDir, Directory) {
    let parent = tempfile::tempdir().unwrap();
    let directory = Directory::open(Some(&parent.path().join("rings"))).unwrap();
    (parent, directory)
}

fn names(directory: &Directory) -> Vec<String> {
    let entries = fs::read_dir(&directory.path).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_one_mapping_writes_the_other_reads() {
    let (_parent, directory) = directory();
    let writer = directory.create("ring", 10_000).unwrap();
    let reader = directory.open_file("ring").unwrap();
    assert_eq!((writer.len(), reader.len()), (10_000, 10_000));
    assert_eq!(names(&directory), ["ring"]);
    let mut same_file = File::options().write(true).open(writer.path()).unwrap();
    same_file.write_all(b"shared").unwrap();
    for mapped in [&writer, &reader] {
        #[expect(unsafe_code, reason = "the mapping is only reachable by its pointer")]
        // SAFETY: the mapping is 10,000 bytes long and nobody writes to it at this time.
        let start = unsafe { std::slice::from_raw_parts(mapped.as_ptr(), 8) };
        assert_eq!(start, b"shared\0\0");
    }
    let blocks = same_file.metadata().unwrap().blocks() * 512;
    assert!(blocks >= 10_000, "only {blocks} bytes are reserved");
}

/// Bytes of the mapping that are in the address space of this process.
#[cfg(target_os = "linux")]
fn resident_bytes(file: &MappedFile) -> usize {
    let maps = fs::read_to_string("/proc/self/smaps").unwrap();
    // The kernel writes eight digits at least, which low addresses, as under valgrind, need not have.
    let start = format!("{:08x}-", file.as_ptr() as usize);
    let rows = maps.lines().skip_while(|line| !line.starts_with(&start));
    let rss = rows.into_iter().find_map(|line| line.strip_prefix("Rss:")).unwrap();
    rss.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[cfg(target_os = "linux")]
#[test]
fn pages_come_on_demand_or_at_once() {
    const BYTES: usize = 1 << 20;
    let (_parent, directory) = directory();
    let counters = Counters::new();
    for (name, pages, resident) in
        [("a", RingPages::OnDemand, 0), ("b", RingPages::Prefault, BYTES)]
    {
        let writer = directory.create(name, BYTES as u64).unwrap();
        let reader = directory.open_file(name).unwrap();
        for file in [&writer, &reader] {
            file.bring_in(pages, &counters);
            assert_eq!(resident_bytes(file), resident, "{pages:?}");
        }
    }
    assert_eq!(counters.get(Counter::PagesRefused), 0);
}

/// A mapping of less than a huge page can never become one: it is counted, and used all the same.
#[cfg(target_os = "linux")]
#[test]
fn what_cannot_be_huge_is_counted_and_done_without() {
    let (_parent, directory) = directory();
    let counters = Counters::new();
    let small = directory.create("ring", 10_000).unwrap();
    small.bring_in(RingPages::Huge, &counters);
    assert_eq!(counters.get(Counter::PagesRefused), 1);
    assert!(directory.open_file("ring").is_ok());
}

#[test]
fn names_and_sizes_that_cannot_be_are_refused() {
    let (_parent, directory) = directory();
    let long = "x".repeat(MAX_NAME_BYTES + 1);
    for name in ["", ".", "..", ".new-x", "a/b", "/etc/passwd", "a\0b", &long] {
        assert!(matches!(directory.create(name, 1), Err(ShmError::Name { .. })), "{name:?}");
        assert!(matches!(directory.open_file(name), Err(ShmError::Name { .. })), "{name:?}");
    }
    for bytes in [0, MAX_FILE_BYTES + 1, u64::MAX] {
        assert!(matches!(directory.create("ring", bytes), Err(ShmError::Size { .. })), "{bytes}");
    }
    File::create(directory.path.join("empty")).unwrap();
    fs::set_permissions(directory.path.join("empty"), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(directory.open_file("empty"), Err(ShmError::Size { bytes: 0, .. })));
    assert!(matches!(directory.open_file("absent"),
        Err(ShmError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound));
    assert_eq!(names(&directory), ["empty"]);
}

#[test]
fn an_existing_file_is_not_replaced() {
    let (_parent, directory) = directory();
    let first = directory.create("ring", 4096).unwrap();
    assert!(matches!(directory.create("ring", 8192), Err(ShmError::Exists { .. })));
    assert_eq!(names(&directory), ["ring"]);
    assert!(mapped::is_name_of(first.path(), &open_private(first.path()).unwrap()));
    assert_eq!(directory.open_file("ring").unwrap().len(), 4096);
}

#[test]
fn a_directory_that_is_not_ours_alone_is_refused() {
    let (parent, directory) = directory();
    let path = &directory.path;
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o700);
    for mode in [0o755, 0o770, 0o701] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let error = Directory::open(Some(path)).unwrap_err();
        assert!(matches!(error, ShmError::OpenToOthers { .. }), "{error}");
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
    assert!(Directory::open(Some(path)).is_ok());

    let link = parent.path().join("link");
    symlink(path, &link).unwrap();
    for link in [link.clone(), link.join("")] {
        assert!(matches!(Directory::open(Some(&link)), Err(ShmError::WrongKind { .. })));
    }
    let file = parent.path().join("file");
    File::create(&file).unwrap();
    assert!(matches!(Directory::open(Some(&file)), Err(ShmError::WrongKind { .. })));
    let orphan = parent.path().join("absent").join("rings");
    assert!(matches!(Directory::open(Some(&orphan)), Err(ShmError::Io { .. })));

    // Only the superuser can give a directory away.
    if chown(path, Some(65_534), None).is_ok() && sys::effective_user() != 65_534 {
        assert!(matches!(
            Directory::open(Some(path)),
            Err(ShmError::WrongOwner { owner: 65_534, .. })
        ));
    }
}

#[test]
fn a_file_that_is_not_ours_alone_is_refused() {
    let (_parent, directory) = directory();
    let ring = directory.create("ring", 4096).unwrap();
    fs::set_permissions(ring.path(), fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(directory.open_file("ring"), Err(ShmError::OpenToOthers { .. })));
    fs::create_dir(directory.path.join("folder")).unwrap();
    assert!(directory.open_file("folder").is_err());
    symlink(ring.path(), directory.path.join("link")).unwrap();
    assert!(matches!(directory.open_file("link"), Err(ShmError::Io { .. })));
}

#[test]
fn the_default_directory_carries_the_user() {
    let path = default_path();
    assert!(path.ends_with(format!("vega-{}", sys::effective_user())));
    assert!(path.parent().unwrap().is_dir());
}

#[test]
fn descriptions_of_one_process_exclude_each_other_byte_by_byte() {
    let (_parent, directory) = directory();
    let writer = directory.create("ring", 4096).unwrap();
    let reader = directory.open_file("ring").unwrap();
    assert!(reader.is_locked_by_other(LockByte::WRITER).unwrap());
    assert!(!writer.is_locked_by_other(LockByte::WRITER).unwrap());
    assert!(!reader.lock(LockByte::WRITER).unwrap());

    // Far behind the end of the file, which locks do not mind.
    let place = LockByte::reader(1_000_000);
    assert!(reader.lock(place).unwrap());
    assert!(reader.lock(place).unwrap());
    assert!(writer.is_locked_by_other(place).unwrap());
    assert!(!writer.is_locked_by_other(LockByte::reader(999_999)).unwrap());
    assert!(!writer.lock(place).unwrap());
    reader.unlock(place).unwrap();
    assert!(writer.lock(place).unwrap());

    // Closing a third description releases nothing that others hold.
    drop(directory.open_file("ring").unwrap());
    assert!(reader.is_locked_by_other(LockByte::WRITER).unwrap());
    drop(writer);
    assert!(!reader.is_locked_by_other(LockByte::WRITER).unwrap());
    assert!(!reader.is_locked_by_other(place).unwrap());
}

/// Not a test of its own: the second process of the test below.
#[test]
fn child_that_locks_and_waits_to_be_killed() {
    let Some(path) = env::var_os(CHILD_DIRECTORY) else { return };
    let directory = Directory::open(Some(Path::new(&path))).unwrap();
    let ring = directory.open_file("ring").unwrap();
    assert!(ring.lock(LockByte::reader(3)).unwrap());
    let _own = directory.create("of-the-child", 4096).unwrap();
    println!("{CHILD_SAYS}");
    // Ends with the parent, should it die before it kills.
    let _ = io::stdin().read_to_end(&mut Vec::new());
}

#[test]
fn locks_end_with_a_killed_process() {
    let (_parent, directory) = directory();
    let ring = directory.create("ring", 4096).unwrap();
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("transport::shm::tests::child_that_locks_and_waits_to_be_killed")
        .env(CHILD_DIRECTORY, &directory.path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .any(|line| line.unwrap().ends_with(CHILD_SAYS));
    let of_the_child = said.then(|| directory.open_file("of-the-child").unwrap());
    let locked = ring.is_locked_by_other(LockByte::reader(3)).unwrap();
    let removed_alive = directory.remove_stale(|_| true);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(said && locked);
    assert_eq!(removed_alive, 0);

    assert!(!ring.is_locked_by_other(LockByte::reader(3)).unwrap());
    assert!(!of_the_child.unwrap().is_locked_by_other(LockByte::WRITER).unwrap());
    assert_eq!(directory.remove_stale(|_| true), 1);
    assert_eq!(names(&directory), ["ring"]);
}

#[test]
fn only_what_is_ours_and_abandoned_is_removed() {
    let (_parent, directory) = directory();
    let living = directory.create("ring-living", 4096).unwrap();
    drop(directory.create("ring-dead", 4096).unwrap());
    drop(directory.create("other-dead", 4096).unwrap());
    File::create(directory.path.join("ring-readable")).unwrap();
    fs::set_permissions(directory.path.join("ring-readable"), fs::Permissions::from_mode(0o644))
        .unwrap();
    let dead_creator = directory.path.join(format!("{TEMPORARY_PREFIX}dead"));
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(dead_creator).unwrap();

    assert_eq!(directory.remove_stale(|name| name.starts_with("ring-")), 2);
    assert_eq!(names(&directory), ["other-dead", "ring-living", "ring-readable"]);

    assert_eq!(directory.remove_stale(|name| name == "other-dead"), 1);
    living.unlink().unwrap();
    living.unlink().unwrap();
    assert_eq!(names(&directory), ["ring-readable"]);
}

#[test]
fn a_reader_keeps_what_its_dead_writer_left() {
    let (_parent, directory) = directory();
    drop(directory.create("ring", 4096).unwrap());
    let reader = directory.open_file("ring").unwrap();
    assert!(reader.lock(LockByte::reader(0)).unwrap());
    assert_eq!(directory.remove_stale(|_| true), 1);
    assert_eq!(reader.len(), 4096);
    let successor = directory.create("ring", 8192).unwrap();
    // The name leads to another file now, which is not the reader's to remove.
    reader.unlink().unwrap();
    assert!(mapped::is_name_of(successor.path(), &open_private(successor.path()).unwrap()));
}

/// The two ways in which a remover can get ahead of a creator, step by step.
#[test]
fn a_creator_notices_that_its_temporary_was_taken_for_stale() {
    let (_parent, directory) = directory();
    let temporary = directory.path.join(format!("{TEMPORARY_PREFIX}race"));
    let create_new =
        || OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&temporary);

    // The remover holds the lock when the creator wants it.
    let creator = create_new().unwrap();
    let remover = open_private(&temporary).unwrap();
    assert!(sys::lock_byte(&remover, 0).unwrap());
    assert!(!sys::lock_byte(&creator, 0).unwrap());
    fs::remove_file(&temporary).unwrap();

    // The remover is done when the creator wants the lock: there is nothing left to link.
    let creator = create_new().unwrap();
    assert!(remove_if_stale(&temporary).unwrap());
    assert!(sys::lock_byte(&creator, 0).unwrap());
    let linked = fs::hard_link(&temporary, directory.path.join("ring"));
    assert_eq!(linked.unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_remover_that_comes_late_spares_the_successor() {
    let (_parent, directory) = directory();
    let path = directory.path.join("ring");
    drop(directory.create("ring", 4096).unwrap());
    let opened_by_the_late_one = open_private(&path).unwrap();
    assert_eq!(directory.remove_stale(|name| name == "ring"), 1);
    let successor = directory.create("ring", 4096).unwrap();
    assert!(!remove_opened(&path, &opened_by_the_late_one).unwrap());
    assert!(mapped::is_name_of(&path, &open_private(successor.path()).unwrap()));
}

#[test]
fn creators_and_removers_do_not_disturb_each_other() {
    const CREATORS: usize = 2;
    const FILES: usize = 100;
    let (_parent, directory) = directory();
    let sweeps = AtomicUsize::new(0);
    let is_done = AtomicBool::new(false);
    // Two more, because one may be under way that has read the directory already.
    let await_a_sweep = || {
        let seen = sweeps.load(Ordering::Acquire);
        while sweeps.load(Ordering::Acquire) < seen + 2 && !is_done.load(Ordering::Acquire) {
            thread::yield_now();
        }
    };
    let create_all = |creator: usize| {
        (0..FILES).try_for_each(|index| {
            let ring = directory.create(&format!("{creator}-{index}"), 4096)?;
            await_a_sweep();
            open_private(ring.path())?;
            // Every other file is abandoned under its real name.
            if index % 2 == 0 { ring.unlink() } else { Ok(()) }
                .map_err(io_error("unlink", ring.path()))
        })
    };
    let removed = thread::scope(|scope| {
        let remover = scope.spawn(|| {
            let mut removed = 0;
            while !is_done.load(Ordering::Acquire) {
                removed += directory.remove_stale(|_| true);
                sweeps.fetch_add(1, Ordering::Release);
            }
            removed + directory.remove_stale(|_| true)
        });
        let creators: Vec<_> = (0..CREATORS)
            .map(|creator| {
                let create_all = &create_all;
                scope.spawn(move || create_all(creator))
            })
            .collect();
        let results: Vec<_> = creators.into_iter().map(|creator| creator.join()).collect();
        is_done.store(true, Ordering::Release);
        for result in results {
            result.unwrap().unwrap();
        }
        remover.join().unwrap()
    });
    // Temporaries that the remover won count as well.
    assert!(removed >= CREATORS * FILES / 2);
    assert!(names(&directory).is_empty());
}
