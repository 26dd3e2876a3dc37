//! Sessions, sans-IO: no socket, no clock, no thread, no lock. Layer: protocol, above `wire`.
//!
//! A [`sender::SendSession`] belongs to a lane of a publication, a [`receiver::ReceiveSession`] to an
//! endpoint that hears it. Both are plain values with the same contract:
//!
//! * `handle_*` takes an input and, where time matters, `now`;
//! * `poll_*` gives an output until there is none;
//! * `next_deadline` says when `handle_timeout` has to be called next; a send session, which the
//!   conductor visits at every tick until it `is_settled`, needs none.
//!
//! [`fan_out::FanOut`] moves packets from one ring along its lanes: one to a group, or one to each
//! receiver. Where bytes leave it is an [`lane::Outlet`]: a socket, or a virtual one. Production and
//! simulation drive the same objects.
//!
//! [`delivery::Delivery`] turns frames in order into messages and exact losses. Shared-memory
//! rings use it alone: they lose nothing on the way and need no session.

pub(crate) mod assemble;
pub(crate) mod delivery;
pub(crate) mod fan_out;
pub(crate) mod flow_control;
pub(crate) mod lane;
mod loss;
pub(crate) mod receiver;
pub(crate) mod retransmit;
pub(crate) mod sender;
pub(crate) mod timing;
mod window;
