//! The `vega` command line. It sees only the public API of the library.
fn main() {}
