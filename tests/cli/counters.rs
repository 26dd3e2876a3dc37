//! Counters seen from other processes: `vega stat`, and what becomes of their files. Tests.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use vega::{Config, Counter, HostCounters, Instance, RowKind};

use crate::world::{Finished, PATIENCE, Process, World};

/// Between two looks at what is counted.
const PAUSE: Duration = Duration::from_millis(20);

/// Publishes until it is ended.
fn publish(world: &World, topic: &str) -> Process {
    world.start(&["pub", topic, "--size", "10", "--rate", "500", "--wait", "1ms"])
}

fn name_of(process: &Process) -> String {
    format!("vega-pub-{}", process.child.id())
}

fn stat(world: &World, arguments: &[&str]) -> Finished {
    world.start(&[&["stat"], arguments].concat()).finish()
}

/// Looks until `wanted` says that it is there.
pub(crate) fn wait_for<T>(what: &str, mut wanted: impl FnMut() -> Option<T>) -> T {
    #[expect(clippy::disallowed_methods, reason = "bounds waiting; decides nothing")]
    let now = Instant::now;
    let deadline = now() + PATIENCE;
    loop {
        if let Some(found) = wanted() {
            return found;
        }
        assert!(now() < deadline, "{what} does not come");
        thread::sleep(PAUSE);
    }
}

/// The one instance that is called `name`, once it has sent more than `sent` messages.
fn sent_more(world: &World, name: &str, sent: u64) -> Value {
    wait_for(&format!("a message of {name} after {sent}"), || {
        let shown = stat(world, &[name, "--json"]);
        let document = shown.json_lines().pop()?;
        (document["counters"]["messages_sent"].as_u64()? > sent).then_some(document)
    })
}

#[test]
fn another_process_is_seen_to_count() {
    let world = World::new();
    for topic in [world.topic("prices"), world.topic("ipc.book")] {
        let process = publish(&world, &topic);
        let name = name_of(&process);
        let first = sent_more(&world, &name, 0);
        assert_eq!(first["process"], process.child.id());
        assert_eq!(first["alive"], true);
        let sent = first["counters"]["messages_sent"].as_u64().unwrap();
        let then = sent_more(&world, &name, sent);
        assert_eq!(then["instance"], first["instance"]);

        let rows = then["rows"].as_array().unwrap();
        let row = rows.iter().find(|row| row["kind"] == "publisher").unwrap();
        assert_eq!(row["name"], topic.as_str());
        let (messages, bytes) = (&row["values"]["messages"], &row["values"]["bytes"]);
        assert_eq!(bytes.as_u64().unwrap() / 10, messages.as_u64().unwrap());
        assert!(rows.iter().any(|row| row["kind"] == "poller"));

        let id = then["instance"].as_str().unwrap();
        for asked in [&[][..], &[name.as_str()], &[&id[..8]]] {
            let shown = stat(&world, asked).expect_code(0);
            assert!(shown.text().contains(&name), "{}", shown.text());
        }
        process.signal("INT");
        process.finish().expect_code(0);
        assert_eq!(world.counter_files(), Vec::<String>::new());
        stat(&world, &[]).expect_code(1);
    }
}

#[test]
fn the_file_of_a_killed_process_is_told_from_others_and_removed() {
    let world = World::new();
    for by_hand in [true, false] {
        let mut process = publish(&world, &world.topic("prices"));
        let name = name_of(&process);
        sent_more(&world, &name, 0);
        process.child.kill().unwrap();
        process.child.wait().unwrap();

        let none = stat(&world, &[&name]).expect_code(1);
        assert_eq!(none.text(), "");
        let left = stat(&world, &[&name, "--dead", "--json"]).expect_code(0).json_lines();
        assert_eq!(left[0]["alive"], false);
        assert!(left[0]["counters"]["messages_sent"].as_u64().unwrap() > 0, "what it had counted");
        assert_eq!(world.counter_files().len(), 1);
        if by_hand {
            let living = world.instance().name("living").start().unwrap();
            assert_eq!(world.counter_files().len(), 1, "its own: those of the dead are removed");
            living.close().unwrap();
        } else {
            stat(&world, &["--remove-dead"]).expect_code(0);
        }
        assert_eq!(world.counter_files(), Vec::<String>::new());
    }
}

#[test]
fn files_of_the_living_are_not_removed() {
    let world = World::new();
    let instance = world.instance().name("living").start().unwrap();
    stat(&world, &["--remove-dead"]).expect_code(0);
    let shown = stat(&world, &["living", "--json"]).expect_code(0).json_lines();
    assert_eq!(shown[0]["instance"], instance.id().to_string());
    let files = world.counter_files();
    let mode = fs::metadata(world.shared_memory().join(&files[0])).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    instance.close().unwrap();
    assert_eq!(world.counter_files(), Vec::<String>::new());
}

#[test]
fn a_scraper_understands_what_is_printed() {
    let world = World::new();
    let (one, other) = (publish(&world, &world.topic("a")), publish(&world, &world.topic("b")));
    for process in [&one, &other] {
        sent_more(&world, &name_of(process), 0);
    }
    let shown = stat(&world, &["--prometheus"]).expect_code(0);
    let mut series = HashSet::new();
    for line in shown.text().lines().filter(|line| !line.starts_with("# ")) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        assert!(name.ends_with('}') && series.insert(name), "{line}");
    }
    for process in [&one, &other] {
        let name = format!("instance_name=\"{}\"", name_of(process));
        let sent =
            |line: &&str| line.starts_with("vega_messages_sent_total{") && line.contains(&name);
        assert_eq!(shown.text().lines().filter(sent).count(), 1);
    }
    let both = stat(&world, &["--prometheus", "--json"]).expect_code(2);
    assert!(both.stderr.contains("exclude each other"), "{}", both.stderr);
}

#[test]
fn damaged_files_are_named_and_hide_nothing() {
    let world = World::new();
    let instance = world.instance().name("whole").start().unwrap();
    let own = world.shared_memory().join(&world.counter_files()[0]);
    let whole = fs::read(own).unwrap();
    for (name, bytes) in [
        ("cut", &whole[..whole.len() / 2]),
        ("empty", &[]),
        ("other", &[9; 5000]),
        ("new", &[0; 5000]),
    ] {
        let path = world.shared_memory().join(format!("{name}.counters"));
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(path).unwrap();
        std::io::Write::write_all(&mut file, bytes).unwrap();
    }
    let shown = stat(&world, &[]).expect_code(0);
    assert!(shown.text().contains("whole"), "{}", shown.text());
    // That one is about to start is no damage.
    assert!(!shown.stderr.contains("new.counters"), "{}", shown.stderr);
    for name in ["cut", "empty", "other"] {
        assert!(shown.stderr.contains(&format!("{name}.counters: ")), "{}", shown.stderr);
    }
    instance.close().unwrap();
}

#[test]
fn without_a_file_an_instance_counts_for_itself() {
    let world = World::with("[counters]\nfile = \"off\"\n");
    let counts = |instance: Instance| {
        let topic = world.topic("prices");
        let mut publisher = instance.publisher(&topic).unwrap();
        publisher.send(b"1.0842").unwrap();
        let counters = instance.counters();
        assert_eq!(counters.get(Counter::MessagesSent), 1);
        assert_eq!(counters.rows_of(RowKind::Publisher).next().unwrap().name(), topic);
        assert!(counters.to_prometheus().contains("vega_messages_sent_total"));
        drop(publisher);
        assert_eq!(instance.counters().get(Counter::MessagesSent), 1);
        instance.close().unwrap();
    };
    let instance = world.instance().start().unwrap();
    assert_eq!(world.counter_files(), Vec::<String>::new());
    counts(instance);

    // Where shared memory cannot be used at all.
    let text = fs::read_to_string(world.config_file()).unwrap().replace("\"off\"", "\"auto\"");
    let text = text.replace("/rings", "/no/such/rings");
    let config = Config::parse(&text).unwrap();
    counts(Instance::builder().config(config.clone()).start().unwrap());
    assert!(HostCounters::read(&config).unwrap().instances().is_empty());
}

#[test]
fn there_are_as_many_rows_as_configured() {
    let world = World::with("[counters]\nrows = 16\n");
    let instance = world.instance().name("narrow").start().unwrap();
    let mut publishers: Vec<_> = (0..20)
        .map(|number| instance.publisher(&world.topic(&format!("ipc.{number}"))).unwrap())
        .collect();
    for publisher in &mut publishers {
        publisher.send(b"x").unwrap();
    }
    let document = sent_more(&world, "narrow", 19);
    assert_eq!(document["rows"].as_array().unwrap().len(), 16);
    assert!(document["counters"]["rows_refused"].as_u64().unwrap() >= 4);
    assert_eq!(instance.counters().get(Counter::MessagesSent), 20);
    instance.close().unwrap();
}

#[test]
fn top_asks_for_a_terminal() {
    let top = World::new().start(&["top"]).finish().expect_code(2);
    assert!(top.stderr.contains("needs a terminal"), "{}", top.stderr);
    let top = World::new().start(&["top", "--json"]).finish().expect_code(2);
    assert!(top.stderr.contains("vega stat --json"), "{}", top.stderr);
}

/// Names are free text: they move no cursor, break no line, and end no label.
#[test]
fn names_are_text_and_nothing_else() {
    let world = World::new();
    let instance = world.instance().name("a\"b\\c\nd\u{1b}[31m").start().unwrap();
    for arguments in [&[][..], &[&instance.id().to_string()[..8]]] {
        let shown = stat(&world, arguments).expect_code(0);
        assert!(shown.text().contains(r#"a"b\c\nd\u{1b}[31m"#), "{}", shown.text());
        assert!(!shown.text().contains('\u{1b}'), "{}", shown.text());
    }
    let scraped = stat(&world, &["--prometheus"]).expect_code(0);
    let label = r#"instance_name="a\"b\\c\nd"#;
    assert!(scraped.text().contains(label), "{}", scraped.text());
    assert!(scraped.text().lines().all(|line| line.starts_with("vega_") || line.starts_with("# ")));
}
