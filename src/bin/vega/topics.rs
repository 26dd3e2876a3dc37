//! topics
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}
pub(crate) fn run(
    _common: &crate::args::Common,
    _args: Args,
) -> anyhow::Result<std::process::ExitCode> {
    anyhow::bail!("not written yet")
}
