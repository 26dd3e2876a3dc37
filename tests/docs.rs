//! Holds the documents to the code: what they cite exists, what they show works. Tests.

#[path = "docs/cited.rs"]
mod cited;
#[cfg(feature = "cli")]
#[path = "docs/commands.rs"]
mod commands;
#[path = "docs/datagrams.rs"]
mod datagrams;
#[path = "docs/markdown.rs"]
mod markdown;
