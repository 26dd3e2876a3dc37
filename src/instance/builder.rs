//! Describes an instance before it starts. Layer: instance.

use std::fmt;

use super::{Instance, StartError};
use crate::config::Config;
use crate::engine::Engine;
use crate::listener::InstanceListener;

/// What an [`Instance`] is to be like. Made by [`Instance::builder`].
#[must_use = "an instance runs only after `start`"]
pub struct InstanceBuilder {
    name: String,
    config: Config,
    receiver_tag: u32,
    listener: Box<dyn InstanceListener>,
}

impl InstanceBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: String::new(),
            config: Config::default(),
            receiver_tag: 0,
            listener: Box::new(()),
        }
    }

    /// A name for people: peers and tools show it. Need not be unique. At most 255 bytes travel.
    /// Default: empty.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The configuration. Default: [`Config::default`], everything on loopback.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Makes the instance one of the receivers that publishers with `flow_control = "tagged:N"` wait
    /// for. Default: 0, none of them.
    pub fn receiver_tag(mut self, tag: u32) -> Self {
        self.receiver_tag = tag;
        self
    }

    /// Hears of peers and matches. Default: nobody.
    pub fn listener(mut self, listener: impl InstanceListener) -> Self {
        self.listener = Box::new(listener);
        self
    }

    /// Opens the sockets, starts the threads, and announces the instance.
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing is left running.
    pub fn start(self) -> Result<Instance, StartError> {
        let engine = Engine::start(&self.name, self.config, self.receiver_tag, self.listener)?;
        Ok(Instance { engine })
    }
}

impl fmt::Debug for InstanceBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstanceBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}
