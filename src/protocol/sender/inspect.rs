//! What the simulator sees of a send session, with the feature `sim` only. Layer: protocol.

use super::{MAX_WELCOMES, SendSession};

impl SendSession {
    /// Whether what receivers have asked for takes no more memory than it may.
    ///
    /// # Errors
    ///
    /// What is too much.
    pub(crate) fn check_bounds(&self) -> Result<(), String> {
        if self.welcomes.len() > MAX_WELCOMES {
            return Err(format!("{} welcomes wait", self.welcomes.len()));
        }
        if !self.retransmit.is_bounded() {
            return Err("too many repairs wait".to_owned());
        }
        Ok(())
    }
}
