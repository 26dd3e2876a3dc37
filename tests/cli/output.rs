//! What goes to standard output, what to standard error, and the exit codes. Tests.

use std::fs;
use std::process::{Command, Stdio};

use crate::world::World;

fn vega() -> Command {
    Command::new(env!("CARGO_BIN_EXE_vega"))
}

#[test]
fn json_has_standard_output_to_itself() {
    let world = World::new();
    let topic = world.topic("prices");
    let file = world.config_file();
    let commands: &[&[&str]] = &[
        &["pub", &topic, "x", "--wait", "1ms"],
        &["sub", &topic, "--duration", "1ms"],
        &["request", &topic, "?", "--timeout", "1ms", "--wait", "1ms"],
        &["topics", &topic, ""],
        &["config", "check", file.to_str().unwrap()],
        &["config", "default"],
    ];
    for arguments in commands {
        let mut command = world.command(arguments);
        command.arg("--json").env("VEGA_LOG", "trace").stdin(Stdio::null());
        // Fails when a line is no JSON.
        let lines = world.spawn(command).finish().json_lines();
        assert_eq!(lines.len(), usize::from(arguments[0] != "sub"), "{arguments:?}");
    }
}

#[test]
fn errors_go_to_standard_error_with_code_2() {
    let world = World::new();
    let commands: &[(&[&str], &str)] = &[
        (&[], "Usage"),
        (&["publish"], "unrecognized subcommand"),
        (&["pub"], "TOPIC"),
        (&["pub", "x", "y", "--rate", "0"], "above 0"),
        (&["pub", "x", "y", "--size", "7"], "cannot be used with"),
        (&["sub", "x", "--count", "0"], "0 is not in"),
        (&["sub", "x", "--duration", "soon"], "--duration"),
        (&["sub", ""], "at least one byte"),
        (&["sub", "x", "x"], "subscribed to it already"),
        (&["respond", "x"], "--body"),
    ];
    for (arguments, complaint) in commands {
        let failed = world.start(arguments).finish().expect_code(2);
        assert!(failed.stderr.contains(complaint), "{arguments:?}: {}", failed.stderr);
        assert_eq!(failed.text(), "", "{arguments:?}");
    }
}

#[test]
fn a_bad_configuration_stops_every_command_with_all_its_problems() {
    let world = World::new();
    let file = world.config_file();
    fs::write(&file, "[discovery]\nttl = 300\ntimout = '5s'\n").unwrap();
    for arguments in [&["pub", "x", "y"][..], &["topics", "x"]] {
        let failed = world.start(arguments).finish().expect_code(2);
        for line in ["2: discovery.ttl = 300", "3: discovery.timout"] {
            let place = format!("\n{}:{line}", file.display());
            assert!(failed.stderr.contains(&place), "{}", failed.stderr);
        }
    }
}

#[test]
fn a_broken_pipe_is_no_failure() {
    let world = World::new();
    for arguments in [&["config", "default"][..], &["topics", "prices"], &["--help"]] {
        let finished = world.spawn_without_reader(world.command(arguments)).finish();
        assert_eq!(finished.expect_code(0).stderr, "", "{arguments:?}");
    }
}

#[test]
fn every_command_shows_examples() {
    for command in ["pub", "sub", "request", "respond", "topics", "config"] {
        let output = vega().args([command, "--help"]).output().unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(help.contains(&format!("\n  vega {command} ")), "{help}");
    }
    // The help itself uses this placeholder for line breaks.
    let output = vega().args(["respond", "--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    assert_eq!(help.matches("{n}").count(), 2, "{help}");
}
