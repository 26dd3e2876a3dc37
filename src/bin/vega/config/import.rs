//! `vega config import`: an XML configuration of BBVA Vega becomes one of ours. Layer: bin.

mod schema;
mod sheet;
mod translate;
mod xml;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use roxmltree::Document;
use serde::Serialize;
use vega::Config;

use self::schema::Vega;
use self::translate::{Translation, translate};
use self::xml::{Element, Faults, Remark};
use crate::answer;
use crate::bounded;
use crate::output::{Output, note};

pub(super) const EXAMPLES: &str = "\
Examples:
  vega config import vega.xml -o vega.toml
  vega config import vega.xml | less

What has no counterpart is a comment in the result, with the reason. `vega config check` accepts the
result. Exit code 1: the file has faults. All of them are printed, as file:line: fault, and nothing
is written.";

/// The largest file that is read, in bytes. More is most likely not a configuration.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Of one document; a schema with a few dozen elements for each template stays far below.
const MAX_NODES: u32 = 100_000;

/// The arguments of `vega config import`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// XML file to read
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// File to write instead of standard output; one that is there is replaced
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Runs `vega config import`.
///
/// # Errors
///
/// When a file cannot be read or written.
pub(super) fn run(mut output: Output, args: &Args) -> anyhow::Result<ExitCode> {
    let file = args.file.display().to_string();
    let bytes = bounded::read(&args.file, MAX_FILE_BYTES).with_context(|| file.clone())?;
    let (translation, faults) = match import(&bytes) {
        Ok(translation) => (Some(translation), Vec::new()),
        Err(faults) => (None, faults),
    };
    let warnings = translation.as_ref().map_or(&[][..], |translation| &translation.warnings);
    if !output.is_json() {
        for remark in faults.iter().chain(warnings) {
            note(format_args!("{file}:{remark}"));
        }
    }
    let toml = translation.as_ref().map(|translation| translation.toml.as_str());
    if let (Some(toml), Some(path)) = (toml, &args.output) {
        fs::write(path, toml).with_context(|| path.display().to_string())?;
    }
    let is_good = toml.is_some();
    if output.is_json() {
        output.json(&Report { ok: is_good, file: &file, problems: &faults, warnings, toml })?;
    } else if let (Some(toml), None) = (toml, &args.output) {
        output.text(toml.trim_end())?;
    }
    output.flush()?;
    Ok(answer(is_good))
}

/// # Errors
///
/// Everything that is wrong with the file, in the order of its lines.
fn import(bytes: &[u8]) -> Result<Translation, Vec<Remark>> {
    let text = str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        fault(line, "the file is not UTF-8; convert it, for example with iconv")
    })?;
    let options = roxmltree::ParsingOptions { nodes_limit: MAX_NODES, ..Default::default() };
    let document = Document::parse_with_options(text, options).map_err(|error| {
        let line = error.pos().row as usize;
        if matches!(error, roxmltree::Error::DtdDetected) {
            return fault(
                line,
                "a document type, which Vega's files have not, is not read: take it out",
            );
        }
        // The position is told apart.
        let text = error.to_string();
        let text = text.rsplit_once(" at ").map_or(text.as_str(), |(what, _)| what);
        fault(line, &format!("this is not well-formed XML: {text}"))
    })?;
    let faults = Faults::default();
    let vega = Vega::read(Element::root(&document, &faults));
    let translation = translate(&vega, &faults);
    let faults = faults.into_sorted();
    if !faults.is_empty() {
        return Err(faults);
    }
    // Each value has been put to our configuration; this is about what they mean together.
    Config::parse(&translation.toml).map_err(|error| {
        let problems = error.problems().iter();
        let told = |problem: &vega::Problem| Remark {
            line: None,
            message: format!("what it says is not allowed here: {problem}"),
        };
        problems.map(told).collect::<Vec<_>>()
    })?;
    Ok(translation)
}

fn fault(line: usize, message: &str) -> Vec<Remark> {
    vec![Remark { line: u32::try_from(line).ok(), message: message.to_owned() }]
}

/// The result in JSON.
#[derive(Debug, Serialize)]
struct Report<'a> {
    ok: bool,
    file: &'a str,
    problems: &'a [Remark],
    /// What is lost in translation, and matters.
    warnings: &'a [Remark],
    /// Nothing when there are problems.
    toml: Option<&'a str>,
}
