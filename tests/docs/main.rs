//! Holds the documents to the code: what they cite exists, what they show works. Tests.
//!
//! | module | holds |
//! |---|---|
//! | `cited` | links, cited sections, counters, code map, named tests, snippets, test vectors |
//! | `commands` | command lines to the program |
//! | `guide` | pages of the guide to the index, and to what runs their programs |
//! | `datagrams` | the example datagrams of the wire protocol to a running instance |

#![allow(clippy::unwrap_used, reason = "a test says no by panicking")]

mod cited;
#[cfg(feature = "cli")]
mod commands;
mod datagrams;
mod guide;
mod markdown;
