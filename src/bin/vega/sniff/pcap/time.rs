//! The times of captures. Layer: bin. Files say numbers; what no clock shows is no time.

use std::time::{Duration, SystemTime};

/// The last second of the year 9999: what can be written with four digits.
const MAX_SECONDS: u64 = 253_402_300_799;
const NANOSECONDS: u128 = 1_000_000_000;

/// Of pcap: seconds since 1970, and a fraction in microseconds or nanoseconds.
pub(super) fn of_pcap(seconds: u32, fraction: u32, has_nanoseconds: bool) -> Option<SystemTime> {
    let fraction = u64::from(fraction);
    let fraction = if has_nanoseconds {
        Duration::from_nanos(fraction)
    } else {
        Duration::from_micros(fraction)
    };
    after_1970(Duration::from_secs(seconds.into()).checked_add(fraction)?)
}

/// Of pcapng: ticks since 1970, of `10^-resolution` or, with the highest bit, `2^-resolution` seconds; and an
/// offset.
pub(super) fn of_pcapng(ticks: u64, resolution: u8, offset_seconds: i64) -> Option<SystemTime> {
    let exponent = u32::from(resolution & 0x7f);
    let is_binary = resolution & 0x80 != 0;
    let per_second =
        if is_binary { 1_u128.checked_shl(exponent) } else { 10_u128.checked_pow(exponent) };
    // Of ticks as short as that, there are not enough for a nanosecond.
    let per_second = per_second.unwrap_or(u128::MAX);
    let ticks = u128::from(ticks);
    let seconds = u64::try_from(ticks / per_second).ok()?.checked_add_signed(offset_seconds)?;
    // Below 2^64 * 10^9, and then below 10^9.
    let nanoseconds = (ticks % per_second) * NANOSECONDS / per_second;
    after_1970(Duration::new(seconds.min(MAX_SECONDS + 1), u32::try_from(nanoseconds).ok()?))
}

fn after_1970(time: Duration) -> Option<SystemTime> {
    if time.as_secs() > MAX_SECONDS { None } else { SystemTime::UNIX_EPOCH.checked_add(time) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nanoseconds(time: Option<SystemTime>) -> Option<u128> {
        time.map(|time| time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos())
    }

    #[test]
    fn ticks_of_every_length_are_times() {
        let time = |ticks, resolution, offset| nanoseconds(of_pcapng(ticks, resolution, offset));
        assert_eq!(time(1_500_000, 6, 0), Some(1_500_000_000));
        assert_eq!(time(1_500_000_000, 9, 10), Some(11_500_000_000));
        assert_eq!(time(3, 0, -1), Some(2_000_000_000));
        assert_eq!(time(3, 0x81, 0), Some(1_500_000_000));
        assert_eq!(time(u64::MAX, 0xc0, 0), Some(999_999_999), "almost 2^64 of 2^-64 seconds");
        assert_eq!(time(u64::MAX, 0xff, 0), Some(0));
        assert_eq!(time(u64::MAX, 0x7f, 0), Some(0));
    }

    #[test]
    fn what_no_clock_shows_is_no_time() {
        assert_eq!(of_pcapng(u64::MAX, 0, 0), None);
        assert_eq!(of_pcapng(u64::MAX, 0, 1), None);
        assert_eq!(of_pcapng(0, 6, -1), None);
        assert_eq!(of_pcapng(0, 6, i64::MIN), None);
        assert_eq!(of_pcapng(0, 6, i64::MAX), None);
    }

    #[test]
    fn times_of_pcap_are_right_whatever_the_fraction() {
        assert_eq!(nanoseconds(of_pcap(1, 5, false)), Some(1_000_005_000));
        assert_eq!(nanoseconds(of_pcap(1, 5, true)), Some(1_000_000_005));
        assert!(of_pcap(u32::MAX, u32::MAX, false).is_some());
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_ticks_never_panic(ticks: u64, resolution: u8, offset: i64) {
            if let Some(time) = of_pcapng(ticks, resolution, offset) {
                // Which panics for what it cannot show.
                humantime::format_rfc3339_nanos(time).to_string();
            }
        }
    }
}
