//! `vega pub` and `vega sub`. Layer: bin.

mod arrival;
mod pace;
mod printer;
mod publish;
mod source;
mod subscribe;

pub(crate) use publish::{PubArgs, publish};
pub(crate) use subscribe::{SubArgs, subscribe};
