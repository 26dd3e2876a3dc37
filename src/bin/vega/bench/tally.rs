//! What the engines of both processes counted while they were measured. Layer: bin. Plain data.
//!
//! A counter that explains a figure is added here, and is then in every report.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};
use vega::{Counter, Instance};

/// Counters of one process, or the sums of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    /// Datagrams dropped on purpose, those of discovery and feedback among them.
    pub(crate) faults_dropped: u64,
    /// Data packets that never came, whatever the reason.
    pub(crate) packets_lost: u64,
    /// Data packets sent again.
    pub(crate) retransmits: u64,
    /// Requests for them.
    pub(crate) naks: u64,
}

impl Tally {
    /// What an instance has counted since its start, the warm-up included.
    pub(crate) fn of(instance: &Instance) -> Self {
        let counters = instance.counters();
        Self {
            faults_dropped: counters.get(Counter::FaultsDropped),
            packets_lost: counters.get(Counter::PacketsLost),
            retransmits: counters.get(Counter::Retransmits),
            naks: counters.get(Counter::NaksSent),
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.faults_dropped += other.faults_dropped;
        self.packets_lost += other.packets_lost;
        self.retransmits += other.retransmits;
        self.naks += other.naks;
    }
}
