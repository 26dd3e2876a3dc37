//! pubsub
#[derive(Debug, clap::Args)]
pub(crate) struct PubArgs {}
#[derive(Debug, clap::Args)]
pub(crate) struct SubArgs {}
pub(crate) fn publish(
    _c: &crate::args::Common,
    _a: PubArgs,
) -> anyhow::Result<std::process::ExitCode> {
    anyhow::bail!("not written yet")
}
pub(crate) fn subscribe(
    _c: &crate::args::Common,
    _a: SubArgs,
) -> anyhow::Result<std::process::ExitCode> {
    anyhow::bail!("not written yet")
}
