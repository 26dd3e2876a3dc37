//! Percentile curves as SVG: latency over the number of nines, both logarithmic. Layer: bin. Text
//! in, text out.

use std::fmt::{self, Write};

use super::latency::Latency;
use crate::output::{BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, figure, level};

/// Points of a curve for each nine.
const STEPS_PER_NINE: u32 = 24;
/// Beyond so many nines, there is nothing to be seen in a run that ends the same day.
const MAX_NINES: u32 = 7;
const LABELS: [&str; MAX_NINES as usize + 1] =
    ["0 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %", "99.9999 %", "99.99999 %"];

/// Distributions that are drawn over each other.
pub(super) struct Chart<'a> {
    pub(super) title: String,
    /// Name and values; those without values are left out.
    pub(super) curves: Vec<(&'static str, &'a Latency)>,
}

/// From values to coordinates.
struct Scale {
    nines: u32,
    /// Powers of ten, in nanoseconds.
    low: i32,
    high: i32,
}

impl Scale {
    fn of(curves: &[&(&'static str, &Latency)]) -> Self {
        let least = curves.iter().map(|(_, latency)| latency.quantile_ns(0.0)).min();
        let most = curves.iter().map(|(_, latency)| latency.max_ns()).max();
        let count = curves.iter().map(|(_, latency)| latency.count()).max();
        let [least, most, count] = [least, most, count].map(|value| value.unwrap_or(1).max(1));
        let low = exponent(least);
        // A distribution of a single value has a height, too.
        let high = (exponent(most) + 1).max(low + 1);
        Self { nines: (count.ilog10() + 1).clamp(1, MAX_NINES), low, high }
    }

    fn x(&self, nines: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * nines / f64::from(self.nines)
    }

    fn y(&self, ns: f64) -> f64 {
        let share = (ns.log10() - f64::from(self.low)) / f64::from(self.high - self.low);
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share
    }
}

/// The power of ten at or below a value.
fn exponent(ns: u64) -> i32 {
    ns.ilog10().cast_signed()
}

impl fmt::Display for Chart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let curves: Vec<_> = self.curves.iter().filter(|(_, all)| all.count() > 0).collect();
        let scale = Scale::of(&curves);
        figure(f, &self.title, |f| {
            grid(f, &scale)?;
            for (index, (name, latency)) in curves.into_iter().enumerate() {
                curve(f, &scale, latency, index)?;
                // Curves rise to the right: the corner below their end is free.
                let (x, y) = (WIDTH - RIGHT - 66.0, HEIGHT - BOTTOM - 28.0 + 16.0 * index as f64);
                writeln!(
                    f,
                    r#"<path class="curve c{index}" d="M{x} {:.1}h18"/><text x="{}" y="{y}">{name}</text>"#,
                    y - 4.0,
                    x + 24.0
                )?;
            }
            Ok(())
        })
    }
}

fn grid(f: &mut fmt::Formatter<'_>, scale: &Scale) -> fmt::Result {
    let bottom = HEIGHT - BOTTOM;
    for (nines, label) in (0..=scale.nines).zip(LABELS) {
        let x = scale.x(f64::from(nines));
        writeln!(f, r#"<path class="grid" d="M{x:.1} {TOP}V{bottom}"/>"#)?;
        // At the edge, half of a centred label would be cut off; in a crowd, each second is enough.
        let anchor = if nines == scale.nines { "end" } else { "middle" };
        if scale.nines <= 4 || nines % 2 == scale.nines % 2 {
            let y = bottom + 16.0;
            writeln!(f, r#"<text x="{x:.1}" y="{y}" text-anchor="{anchor}">{label}</text>"#)?;
        }
    }
    for power in scale.low..=scale.high {
        let ns = 10_f64.powi(power);
        level(f, scale.y(ns), &duration(ns))?;
    }
    Ok(())
}

/// A power of ten with the unit that needs the fewest digits.
fn duration(ns: f64) -> String {
    let units = [(1e9, "s"), (1e6, "ms"), (1e3, "µs")];
    let unit = units.into_iter().find(|(unit, _)| ns >= *unit);
    let (unit, name) = unit.unwrap_or((1.0, "ns"));
    format!("{} {name}", ns / unit)
}

fn curve(
    f: &mut fmt::Formatter<'_>,
    scale: &Scale,
    latency: &Latency,
    index: usize,
) -> fmt::Result {
    let mut path = String::new();
    for step in 0..=scale.nines * STEPS_PER_NINE {
        let nines = f64::from(step) / f64::from(STEPS_PER_NINE);
        let rest = 10_f64.powf(-nines);
        // Where fewer than one value is left, the curve would only repeat its end.
        if rest * (latency.count() as f64) < 1.0 {
            break;
        }
        let ns = latency.quantile_ns(1.0 - rest).max(1) as f64;
        let command = if step == 0 { 'M' } else { 'L' };
        write!(path, "{command}{:.1} {:.1}", scale.x(nines), scale.y(ns))?;
    }
    writeln!(f, r#"<path class="curve c{index}" d="{path}"/>"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The coordinates of the first curve.
    fn points(svg: &str) -> Vec<(f64, f64)> {
        let (_, path) = svg.split_once(r#"<path class="curve c0" d=""#).unwrap();
        let path = path.split('"').next().unwrap();
        path.split(['M', 'L'])
            .skip(1)
            .map(|point| {
                let (x, y) = point.split_once(' ').unwrap();
                (x.parse().unwrap(), y.parse().unwrap())
            })
            .collect()
    }

    #[test]
    fn a_curve_rises_to_the_right_within_the_frame() {
        let mut latency = Latency::new();
        (1..=10_000).for_each(|ns| latency.record(100 * ns));
        let chart = Chart { title: "x".to_owned(), curves: vec![("vega", &latency)] };
        let points = points(&chart.to_string());
        assert!(points.len() > 4 * STEPS_PER_NINE as usize, "{points:?}");
        assert!(points.is_sorted_by(|a, b| a.0 < b.0 && a.1 >= b.1), "{points:?}");
        for (x, y) in points {
            assert!((LEFT..=WIDTH - RIGHT).contains(&x), "{x}");
            assert!((TOP..=HEIGHT - BOTTOM).contains(&y), "{y}");
        }
    }

    #[test]
    fn a_chart_of_little_or_nothing_has_finite_coordinates() {
        let empty = Latency::new();
        let mut single = Latency::new();
        single.record(1);
        for curves in [vec![], vec![("a", &empty)], vec![("a", &empty), ("b", &single)]] {
            let svg = Chart { title: String::new(), curves }.to_string();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn powers_of_ten_have_units() {
        let shown = [1.0, 100.0, 1e3, 1e5, 1e6, 1e10].map(duration);
        assert_eq!(shown, ["1 ns", "100 ns", "1 µs", "100 µs", "1 ms", "10 s"]);
    }
}
