//! request
#[derive(Debug, clap::Args)]
pub(crate) struct RequestArgs {}
#[derive(Debug, clap::Args)]
pub(crate) struct RespondArgs {}
pub(crate) fn request(
    _c: &crate::args::Common,
    _a: RequestArgs,
) -> anyhow::Result<std::process::ExitCode> {
    anyhow::bail!("not written yet")
}
pub(crate) fn respond(
    _c: &crate::args::Common,
    _a: RespondArgs,
) -> anyhow::Result<std::process::ExitCode> {
    anyhow::bail!("not written yet")
}
