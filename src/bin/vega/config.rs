//! `vega config`: checks a configuration file, prints the default one, imports one of BBVA Vega.
//! Layer: bin.

mod import;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use serde::Serialize;
use vega::{Config, Problem};

use crate::answer;
use crate::args::Common;
use crate::output::Output;

const EXAMPLES: &str = "\
Examples:
  vega config default > vega.toml
  vega config check vega.toml
  vega config import vega.xml -o vega.toml
  vega sub prices.EURUSD -c vega.toml";

const CHECK_EXAMPLES: &str = "\
Examples:
  vega config check vega.toml
  vega config check vega.toml --json | jq '.problems[].line'

Exit code 1: the file has problems. All of them are printed, as file:line: key = value: problem.";

/// The arguments of `vega config`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prints all problems of a configuration file
    #[command(after_help = CHECK_EXAMPLES)]
    Check {
        /// File to check
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Turns an XML configuration of BBVA Vega into one of ours
    #[command(after_help = import::EXAMPLES)]
    Import(import::Args),
    /// Prints the built-in configuration, with unit, range and reason of every key
    Default,
}

/// Runs `vega config`.
///
/// # Errors
///
/// When the file cannot be opened, or standard output cannot be written.
pub(crate) fn run(common: &Common, args: Args) -> anyhow::Result<ExitCode> {
    let output = Output::new(common);
    match args.command {
        Command::Check { file } => check(output, &file),
        Command::Import(args) => import::run(output, &args),
        Command::Default => {
            let toml = Config::default_toml();
            output.finish(&serde_json::json!({ "toml": toml }), toml.trim_end())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn check(output: Output, file: &Path) -> anyhow::Result<ExitCode> {
    let name = file.display().to_string();
    // A file that is not there has no problems: nothing could be checked.
    fs::metadata(file).with_context(|| name.clone())?;
    let checked = Config::from_file(file);
    let problems = checked.as_ref().err().map_or(&[][..], |error| error.problems());
    let report = Report {
        ok: checked.is_ok(),
        file: &name,
        problems: problems.iter().map(ProblemJson::new).collect(),
    };
    let text = checked.as_ref().err().map_or_else(|| format!("{name}: ok"), ToString::to_string);
    output.finish(&report, text)?;
    Ok(answer(checked.is_ok()))
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    ok: bool,
    file: &'a str,
    problems: Vec<ProblemJson<'a>>,
}

/// A part that a problem does not have is `null`.
#[derive(Debug, Serialize)]
struct ProblemJson<'a> {
    line: Option<usize>,
    key: Option<&'a str>,
    value: Option<&'a str>,
    message: String,
    allowed: Option<&'a str>,
}

impl<'a> ProblemJson<'a> {
    fn new(problem: &'a Problem) -> Self {
        let present = |text: &'a str| Some(text).filter(|text| !text.is_empty());
        Self {
            line: problem.line(),
            key: present(problem.key()),
            value: present(problem.value()),
            message: problem.message(),
            allowed: present(problem.allowed()),
        }
    }
}
