//! What the simulator sees of a receive session, with the feature `sim` only. Layer: protocol.

use super::{Membership, ReceiveSession};

/// Where a receive session stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReceiveState {
    /// Next packet to deliver; zero until anything is heard.
    pub(crate) expected: u64,
    /// Something is missing.
    pub(crate) has_gaps: bool,
    /// It waits to be told where the session begins.
    pub(crate) is_joining: bool,
    pub(crate) is_guest: bool,
}

impl ReceiveSession {
    pub(crate) fn state(&self) -> ReceiveState {
        ReceiveState {
            expected: self.expected.unwrap_or_default(),
            has_gaps: self.gaps.is_open(),
            is_joining: !self.is_settled(),
            is_guest: self.membership == Membership::Guest,
        }
    }

    /// Whether the session takes no more memory than its settings allow.
    ///
    /// # Errors
    ///
    /// What is too much.
    pub(crate) fn check_bounds(&self) -> Result<(), String> {
        let (places, window) = (self.window.places(), self.settings.window_packets);
        // The start of a session can lie up to a window before what was heard first.
        if places > 2 * window as usize {
            return Err(format!("{places} places for a window of {window} packets"));
        }
        if !self.gaps.is_bounded() {
            return Err("too many ages of gaps".to_owned());
        }
        Ok(())
    }
}
