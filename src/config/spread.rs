//! How names spread over addresses, ports and streams: part of the protocol, since every instance
//! computes the same place for a topic. Layer: config. Pure functions.
//!
//! Each choice has its own hash, XXH3-64 of the bytes with a seed per choice (seed 0 is the topic
//! hash of `id`). One hash for all of them would tie the choices together and leave most
//! combinations unused. A hash `h` picks item `(h * n) >> 64` of a range of `n`, in 128-bit
//! arithmetic.
//!
//! | bytes hashed | seed 1: address | seed 2: port | seed 3: stream | seed 4: control port |
//! |---|---|---|---|---|
//! | a topic's UTF-8 | multicast | multicast; preferred for unicast | of both | - |
//! | an instance id (16 bytes) | - | preferred for responses | for responses | preferred |
//!
//! Test vectors with the default ranges; the unicast port is the preferred one:
//!
//! | topic | topic hash | group | port | stream | unicast port |
//! |---|---|---|---|---|---|
//! | `prices.EURUSD` | `68f1c4a565112984` | 239.255.0.17 | 35007 | 8 | 35061 |
//! | `orders` | `a88ccdc9fa4974fb` | 239.255.0.16 | 35007 | 2 | 35069 |
//! | `a` | `e6c632b61e964e1f` | 239.255.0.18 | 35007 | 7 | 35069 |
//! | `Größe/λ` | `69b219cfeefe9c06` | 239.255.0.13 | 35006 | 1 | 35040 |
//!
//! | instance id | response port | response stream | control port |
//! |---|---|---|---|
//! | bytes 0, 1, 2 to 15 | 35006 | 7 | 35049 |

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What a hash chooses; the value is the seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Address = 1,
    Port = 2,
    Stream = 3,
    /// Not `Port`: the response and the control socket of one instance would contend for the same
    /// ports where their ranges overlap.
    ControlPort = 4,
}

impl Choice {
    /// Uniform over 64 bits, and independent of the other choices for the same bytes.
    pub(super) fn hash(self, bytes: &[u8]) -> u64 {
        xxh3_64_with_seed(bytes, self as u64)
    }
}
