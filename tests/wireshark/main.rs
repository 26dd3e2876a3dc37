//! The Wireshark dissector `tools/wireshark/vega.lua`, run by `tshark`. Tests. Without `tshark` they say
//! SKIPPED.
//!
//! | module | what |
//! |---|---|
//! | `seeds` | packets as the code writes them, from `fuzz/corpus`: every kind, every field, every byte |
//! | `hostile` | altered, cut and made-up packets: no error of the script, and all of them are shown |
//! | `live` | what instances and a daemon say to each other on loopback, captured by `dumpcap` |
//! | `sniff` | what `vega sniff --pcap` reads in the same captures, field by field |
//! | `tshark` | capture files, the program, and what it prints |

#![allow(clippy::unwrap_used, reason = "a test says no by panicking")]

mod hostile;
#[cfg(target_os = "linux")]
mod live;
mod seeds;
#[cfg(feature = "cli")]
mod sniff;
#[cfg(target_os = "linux")]
#[allow(dead_code, unused_imports, reason = "shared with `tests/acceptance`")]
#[path = "../acceptance/support/mod.rs"]
mod support;
mod tshark;
