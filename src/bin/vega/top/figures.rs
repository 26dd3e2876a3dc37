//! Figures as they fit into a few characters. Layer: bin. Pure functions.

/// What a cell shows, and is sorted by.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Text(String),
    /// A number of things, or of things in a second.
    Number(f64),
    /// Nanoseconds.
    Time(f64),
    /// A part of the whole, from 0 to 1.
    Share(f64),
    /// There is none, or it is not known yet.
    Nothing,
}

impl Cell {
    /// For sorting: text by its letters, everything else by its size, nothing last.
    pub(super) fn key(&self) -> (f64, &str) {
        match self {
            Self::Text(text) => (0.0, text),
            Self::Number(value) | Self::Time(value) | Self::Share(value) => (*value, ""),
            Self::Nothing => (-1.0, ""),
        }
    }

    pub(super) fn shown(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(value) => number(*value),
            Self::Time(ns) => time(*ns),
            Self::Share(share) => format!("{:.0}%", share * 100.0),
            Self::Nothing => "-".to_owned(),
        }
    }
}

/// At most six characters.
fn number(value: f64) -> String {
    const UNITS: [(f64, &str); 4] = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")];
    for (from, unit) in UNITS {
        if value >= from * 0.9995 {
            let scale = if unit == "k" { 1e3 } else { from };
            return format!("{}{unit}", three_digits(value / scale));
        }
    }
    if value == 0.0 || value >= 99.5 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        three_digits(value)
    }
}

/// At most seven characters.
fn time(ns: f64) -> String {
    const UNITS: [(f64, &str); 3] = [(1e9, "s"), (1e6, "ms"), (1e3, "us")];
    for (from, unit) in UNITS {
        if ns >= from * 0.9995 {
            return format!("{}{unit}", three_digits(ns / from));
        }
    }
    format!("{ns:.0}ns")
}

fn three_digits(value: f64) -> String {
    match value {
        ..9.995 => format!("{value:.2}"),
        9.995..99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        for (value, shown) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (3.0, "3"),
            (42.25, "42.2"),
            (9876.0, "9876"),
            (12_345.0, "12.3k"),
            (999_950.0, "1.00M"),
            (21_000_000.0, "21.0M"),
            (7.5e12, "7.50T"),
        ] {
            assert_eq!(Cell::Number(value).shown(), shown);
            assert!(shown.len() <= 6);
        }
        for (ns, shown) in [(0.0, "0ns"), (350.0, "350ns"), (8_700.0, "8.70us"), (1.5e9, "1.50s")] {
            assert_eq!(Cell::Time(ns).shown(), shown);
        }
        assert_eq!(Cell::Share(0.256).shown(), "26%");
        assert_eq!(Cell::Nothing.shown(), "-");
    }

    #[test]
    fn what_is_not_known_comes_after_what_is_small() {
        assert!(Cell::Nothing.key() < Cell::Number(0.0).key());
        assert!(Cell::Text("a".to_owned()).key() < Cell::Text("b".to_owned()).key());
    }
}
