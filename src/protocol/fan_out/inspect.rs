//! What the simulator sees of a fan-out, with the feature `sim` only. Layer: protocol.

use super::FanOut;

impl<D> FanOut<D> {
    /// Packets that have been sent for the first time, on whichever lane was the first.
    pub(crate) const fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether what receivers have asked for takes no more memory than it may.
    ///
    /// # Errors
    ///
    /// What is too much.
    pub(crate) fn check_bounds(&self) -> Result<(), String> {
        self.lanes.iter().try_for_each(|lane| lane.session.check_bounds())
    }
}
