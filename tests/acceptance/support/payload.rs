//! Payloads that prove themselves: a number, and bytes that follow from it. Tests.

/// `bytes` bytes that begin with `number`, as far as there is room, and go on with what only this
/// number and length give.
pub(crate) fn numbered(number: u64, bytes: usize) -> Vec<u8> {
    let mut payload = Vec::with_capacity(bytes + 8);
    payload.extend_from_slice(&number.to_le_bytes());
    let mut state = number ^ ((bytes as u64) << 32);
    while payload.len() < bytes {
        state = mixed(state);
        payload.extend_from_slice(&state.to_le_bytes());
    }
    payload.truncate(bytes);
    payload
}

/// A size for the payload of this number: most are small, each doubling is half as frequent, and
/// one of a few thousand has 64 KiB.
pub(crate) fn mixed_bytes(number: u64) -> usize {
    const SMALLEST: usize = 16;
    const DOUBLINGS: u32 = 12;
    let random = mixed(number);
    let smallest = SMALLEST << random.trailing_zeros().min(DOUBLINGS);
    let more = ((random >> 32) % smallest as u64) as usize;
    (smallest + more).min(SMALLEST << DOUBLINGS)
}

/// The number of a payload of at least eight bytes; `None` when a single bit of it is wrong.
pub(crate) fn number_of(payload: &[u8]) -> Option<u64> {
    let number = u64::from_le_bytes(*payload.first_chunk()?);
    (payload == numbered(number, payload.len())).then_some(number)
}

/// The next number of a sequence without visible pattern (splitmix64).
pub(crate) fn mixed(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[test]
fn a_payload_proves_itself() {
    for bytes in [8, 9, 1000] {
        let mut payload = numbered(77, bytes);
        assert_eq!(payload.len(), bytes);
        assert_eq!(number_of(&payload), Some(77));
        payload[bytes - 1] ^= 1;
        assert_ne!(number_of(&payload), Some(77), "{bytes}");
    }
    assert_eq!(numbered(5, 3), [5, 0, 0]);
}

#[test]
fn sizes_are_mixed() {
    let sizes: Vec<_> = (0..100_000).map(mixed_bytes).collect();
    assert_eq!((sizes.iter().min(), sizes.iter().max()), (Some(&16), Some(&(64 << 10))));
    assert!(sizes.iter().filter(|bytes| **bytes < 64).count() > sizes.len() / 2);
}
