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
    /// The configuration file of each peer.
    pub(super) peers: Vec<PathBuf>,
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
        pollers: [fn(&Load, Option<usize>) -> PollerSpec; 2],
    ) -> anyhow::Result<Self> {
        load.check(common.config.is_some())?;
        let cores = two_cores();
        let subscribers = load.subscribers as usize;
        let (own, peers, stage) = match &common.config {
            Some(path) => (common.load()?, vec![path.clone(); subscribers], None),
            None => {
                let stage = Stage::new("bench")?.with_packet_bytes(load.packet_size);
                let [own, peer] = pollers;
                let fault = load.loss.map_or_else(String::new, |p| format!("[fault]\nloss = {p}"));
                let own =
                    stage.configure("own", own(&load, cores.map(|cores| cores.own)), &fault)?;
                let peers =
                    subscriber_cores(subscribers).into_iter().zip(1..).map(|(core, number)| {
                        stage.configure(&format!("peer-{number}"), peer(&load, core), &fault)
                    });
                let peers = peers.collect::<anyhow::Result<_>>()?;
                (Config::from_file(&own)?, peers, Some(stage))
            }
        };
        check_routes(&own, &load)?;
        Ok(Self { load, cores, stop, own, peers, _stage: stage })
    }

    /// Starts the instance of this process.
    pub(super) fn start(&self) -> anyhow::Result<Instance> {
        Instance::builder()
            .name("vega-bench")
            .config(self.own.clone())
            .start()
            .context("cannot start")
    }

    /// Whether what is measured travels by IPv6, as what it is compared with then does.
    pub(super) fn is_ipv6(&self) -> anyhow::Result<bool> {
        let pings = self.load.pings();
        let topic = pings.first().context("no topic")?;
        Ok(self.own.route(topic)?.is_ipv6())
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

/// All topics have to travel by one template of the transport that is measured: then one poller
/// receives them.
fn check_routes(config: &Config, load: &Load) -> anyhow::Result<()> {
    let topics = load.pings();
    let mut first = None;
    for topic in &topics {
        let route = config.route(topic)?;
        let (template, wanted) = (route.template(), load.transport.name());
        if !load.transport.matches(route.transport()) {
            bail!("the configuration carries {topic} by template {template:?}, not by {wanted}");
        }
        if *first.get_or_insert(template) != template {
            bail!("the configuration carries topics of this run by more than one template");
        }
    }
    Ok(())
}

/// A core for each subscriber, beside the one of this process; none for any if they are too few.
fn subscriber_cores(subscribers: usize) -> Vec<Option<usize>> {
    let ids = core_affinity::get_core_ids().unwrap_or_default();
    match ids.get(1..=subscribers) {
        Some(ids) => ids.iter().map(|core| Some(core.id)).collect(),
        None => vec![None; subscribers],
    }
}

/// The first two cores that this process may use.
fn two_cores() -> Option<Cores> {
    let ids = core_affinity::get_core_ids()?;
    let [own, peer, ..] = ids.as_slice() else { return None };
    Some(Cores { own: own.id, peer: peer.id })
}

/// Tells people when figures are not worth much.
pub(super) fn remark_on_cores(subscribers: u32) {
    if two_cores().is_none() {
        note("fewer than two cores: nothing is pinned, and the figures say little");
    } else if subscriber_cores(subscribers as usize).contains(&None) {
        note("fewer cores than processes: subscribers share them, and block");
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
