//! Durations, sizes and probabilities as people write them: `"500ms"`, `"64KiB"`, `"1%"`. Layer:
//! config. Pure functions.

use std::fmt;
use std::time::Duration;

use super::error::Fault;

/// From the largest to the smallest, so that formatting takes the first unit that divides.
const DURATION_UNITS: [(&str, u64); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

const SIZE_UNITS: [(&str, u64); 4] =
    [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// How often something happens, as a share of all times. Exact to one in a billion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Probability(u32);

impl Probability {
    /// What [`Probability::parts`] counts of.
    pub(crate) const WHOLE: u32 = 1_000_000_000;

    /// # Errors
    ///
    /// `OutOfRange` unless the fraction is between 0 and 1.
    pub(super) fn from_fraction(fraction: f64) -> Result<Self, Fault> {
        if !(0.0..=1.0).contains(&fraction) {
            return Err(Fault::OutOfRange);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and the whole, which fits"
        )]
        Ok(Self((fraction * f64::from(Self::WHOLE)).round() as u32))
    }

    /// How many times of [`Probability::WHOLE`].
    pub(crate) const fn parts(self) -> u32 {
        self.0
    }
}

/// In per cent, as configuration files have it.
impl fmt::Display for Probability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.0) / f64::from(Self::WHOLE / 100))
    }
}

/// Reads a number of per cent: `"1%"`, `"0.5%"`.
///
/// # Errors
///
/// `NotA` for other text, `OutOfRange` beyond 100 %.
pub(super) fn parse_percent(text: &str) -> Result<Probability, Fault> {
    const EXPECTED: Fault =
        Fault::NotA("probability: a fraction such as 0.01, or per cent such as \"1%\"");
    let is_number = |text: &&str| text.starts_with(|c: char| c.is_ascii_digit());
    let number = text.strip_suffix('%').filter(is_number).ok_or(EXPECTED)?;
    Probability::from_fraction(number.parse::<f64>().map_err(|_| EXPECTED)? / 100.0)
}

/// Reads a whole number and a unit: `ns`, `us`, `ms`, `s`, `m` or `h`.
///
/// # Errors
///
/// `NotA` for other text, `OutOfRange` beyond 2^64 nanoseconds (584 years).
pub(super) fn parse_duration(text: &str) -> Result<Duration, Fault> {
    const EXPECTED: Fault =
        Fault::NotA("duration: a whole number and a unit (ns, us, ms, s, m, h), such as \"500ms\"");
    parse(text, &DURATION_UNITS, EXPECTED).map(Duration::from_nanos)
}

/// Reads a whole number and a unit: `B`, `KiB`, `MiB` or `GiB`; returns bytes.
///
/// # Errors
///
/// `NotA` for other text, `OutOfRange` beyond 2^64 bytes.
pub(super) fn parse_size(text: &str) -> Result<u64, Fault> {
    const EXPECTED: Fault = Fault::NotA(
        "size: bytes, or a whole number and a unit (B, KiB, MiB, GiB), such as \"1MiB\"",
    );
    parse(text, &SIZE_UNITS, EXPECTED)
}

/// The shortest exact text that [`parse_duration`] reads back.
pub(super) fn format_duration(duration: Duration) -> String {
    format(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX), &DURATION_UNITS)
}

/// The shortest exact text that [`parse_size`] reads back; plain bytes carry no unit.
pub(super) fn format_size(bytes: u64) -> String {
    let text = format(bytes, &SIZE_UNITS);
    let plain = text.strip_suffix('B').filter(|number| !number.ends_with('i'));
    plain.unwrap_or(&text).to_owned()
}

fn parse(text: &str, units: &[(&str, u64)], expected: Fault) -> Result<u64, Fault> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = &text[..text.len() - unit.len()];
    match units.iter().find(|(name, _)| *name == unit) {
        Some((_, factor)) if !number.is_empty() => number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(*factor))
            .ok_or(Fault::OutOfRange),
        _ => Err(expected),
    }
}

fn format(value: u64, units: &[(&str, u64)]) -> String {
    let divides = |factor| value > 0 && value.is_multiple_of(factor);
    let unit = units.iter().find(|(_, factor)| divides(*factor)).or_else(|| units.last());
    unit.map_or_else(String::new, |(name, factor)| format!("{}{name}", value / factor))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_unit_is_read() {
        for (text, nanos) in [
            ("250ns", 250),
            ("10us", 10_000),
            ("500ms", 500_000_000),
            ("1s", 1_000_000_000),
            ("2m", 120_000_000_000),
            ("1h", 3_600_000_000_000),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
        for (text, bytes) in [("7B", 7), ("64KiB", 65_536), ("1MiB", 1 << 20), ("2GiB", 2 << 30)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", "s", "5", "1.5s", "-1s", "1 s", "1S", "1sec", "1µs", "ms5"] {
            assert!(matches!(parse_duration(text), Err(Fault::NotA(_))), "{text}");
        }
        for text in ["", "KiB", "5", "1KB", "1k", "1.5MiB", "-1B"] {
            assert!(matches!(parse_size(text), Err(Fault::NotA(_))), "{text}");
        }
        assert_eq!(parse_duration("99999999999h"), Err(Fault::OutOfRange));
        assert_eq!(parse_size("99999999999999999999B"), Err(Fault::OutOfRange));
    }

    #[test]
    fn formatting_takes_the_largest_exact_unit() {
        assert_eq!(format_duration(Duration::from_secs(90)), "90s");
        assert_eq!(format_duration(Duration::from_secs(120)), "2m");
        assert_eq!(format_duration(Duration::ZERO), "0ns");
        assert_eq!(format_size(65_536), "64KiB");
        assert_eq!(format_size(1408), "1408");
        assert_eq!(format_size(0), "0");
    }

    #[test]
    fn probabilities_are_exact_and_within_their_range() {
        for (text, parts) in
            [("0%", 0), ("1%", 10_000_000), ("0.1%", 1_000_000), ("7%", 70_000_000)]
        {
            let probability = parse_percent(text).unwrap();
            assert_eq!(probability.parts(), parts, "{text}");
            assert_eq!(probability.to_string(), text);
        }
        assert_eq!(Probability::from_fraction(1.0), parse_percent("100%"));
        assert_eq!(Probability::from_fraction(0.01), parse_percent("1%"));
        for fraction in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert_eq!(Probability::from_fraction(fraction), Err(Fault::OutOfRange), "{fraction}");
        }
        assert_eq!(parse_percent("101%"), Err(Fault::OutOfRange));
        for text in ["", "%", "1", "0.01", "-1%", "1 %", "nan%", "inf%", "1%%"] {
            assert!(matches!(parse_percent(text), Err(Fault::NotA(_))), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_formatted_is_read_back(value: u64) {
            let duration = Duration::from_nanos(value);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
            let text = format_size(value);
            prop_assert_eq!(text.parse().or_else(|_| parse_size(&text)), Ok(value));
        }
    }
}
