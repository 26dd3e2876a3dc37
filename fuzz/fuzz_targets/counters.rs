//! Arbitrary bytes into `vega::fuzz::counters`; what they may not break is written there.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vega::fuzz::counters(bytes));
