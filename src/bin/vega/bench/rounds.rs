//! What all rounds of a run share, and how a run is split into rounds. Layer: bin; owned by the
//! commanding thread.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use vega::{Config, Instance};

use super::goal::Goal;
use super::load::Load;
use crate::args::Common;
use crate::output::{note, progress};
use crate::signals::StopFlag;
use crate::stage::{PollerSpec, Stage};

/// Rounds of the engine, and as many of the baseline. Enough for a disturbance of a second to hit
/// both, few enough for the start of processes not to matter.
const ROUNDS: u32 = 5;
/// What is measured when neither a count nor a duration is asked for.
const DEFAULT_DURATION: Duration = Duration::from_secs(5);

/// What all rounds of a run share.
pub(crate) struct Bench {
    pub(super) load: Load,
    pub(super) cores: Option<Cores>,
    pub(super) stop: StopFlag,
    /// The configuration of this process.
    own: Config,
    /// The configuration file of the peer.
    pub(super) peer: PathBuf,
    /// Absent when the user's own configuration is measured.
    _stage: Option<Stage>,
}

/// A core for each process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    pub(super) own: usize,
    pub(super) peer: usize,
}

impl Bench {
    /// `pollers` says how this process and the peer poll, given the core that each of them has.
    ///
    /// # Errors
    ///
    /// What cannot be measured, and what is wrong with the configuration.
    pub(super) fn prepare(
        common: &Common,
        load: Load,
        stop: StopFlag,
        pollers: [fn(Option<usize>) -> PollerSpec; 2],
    ) -> anyhow::Result<Self> {
        load.check(common.config.is_some())?;
        let cores = two_cores();
        let (own, peer, stage) = match &common.config {
            Some(path) => (common.load()?, path.clone(), None),
            None => {
                let stage = Stage::new("bench")?;
                let [own, peer] = pollers;
                let fault = load.loss.map_or_else(String::new, |p| format!("[fault]\nloss = {p}"));
                let own = stage.configure("own", own(cores.map(|cores| cores.own)), &fault)?;
                let peer = stage.configure("peer", peer(cores.map(|cores| cores.peer)), &fault)?;
                (Config::from_file(&own)?, peer, Some(stage))
            }
        };
        let topic = load.transport.topic("ping");
        let route = own.route(&topic)?;
        if !load.transport.matches(route.transport()) {
            let (wanted, template) = (load.transport.name(), route.template());
            bail!("the configuration carries {topic} by template {template:?}, not by {wanted}");
        }
        Ok(Self { load, cores, stop, own, peer, _stage: stage })
    }

    /// Starts the instance of this process.
    pub(super) fn start(&self) -> anyhow::Result<Instance> {
        Instance::builder()
            .name("vega-bench")
            .config(self.own.clone())
            .start()
            .context("cannot start")
    }

    /// Splits what is to be measured into rounds: one, or several when they alternate with those
    /// of a baseline.
    pub(super) fn rounds(
        &self,
        mut round: impl FnMut(Goal) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let rounds = if self.load.baseline { ROUNDS } else { 1 };
        let whole = match (self.load.count, self.load.duration) {
            (Some(count), _) => Goal::Count(count),
            (None, duration) => Goal::Duration(duration.unwrap_or(DEFAULT_DURATION)),
        };
        let what = format!("{} {} B", self.load.transport.name(), self.load.size);
        let bar = progress(what, Some(rounds.into()));
        let result = whole.split(rounds).try_for_each(|goal| {
            round(goal)?;
            bar.inc(1);
            Ok(())
        });
        bar.finish_and_clear();
        result
    }
}

/// The first two cores that this process may use.
fn two_cores() -> Option<Cores> {
    let ids = core_affinity::get_core_ids()?;
    let [own, peer, ..] = ids.as_slice() else { return None };
    Some(Cores { own: own.id, peer: peer.id })
}

/// Tells people when figures are not worth much.
pub(super) fn remark_on_cores() {
    if two_cores().is_none() {
        note("fewer than two cores: nothing is pinned, and the figures say little");
    }
}

/// Keeps the current thread on its core, if it has one.
pub(super) fn pin(core: Option<usize>) {
    if let Some(id) = core
        && !core_affinity::set_for_current(core_affinity::CoreId { id })
    {
        tracing::warn!(core = id, "cannot pin a measuring thread to this core");
    }
}
