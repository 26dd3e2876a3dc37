//! `vega request` and `vega respond`. Layer: bin.

mod ask;
mod body;
mod collector;
mod respond;

pub(crate) use ask::{RequestArgs, request};
pub(crate) use respond::{RespondArgs, respond};
