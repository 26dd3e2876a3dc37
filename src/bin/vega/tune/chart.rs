//! How topics are distributed, as bars in SVG. Layer: bin. Text in, text out.

use std::fmt::{self, Write};

use crate::output::{BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, figure, level};

/// Bars that can be told apart; with more of them, neighbours are joined.
const MAX_BARS: usize = 96;
/// No bar is wider than this: one alone would be a wall.
const MAX_BAR_WIDTH: f64 = 48.0;
/// Lines of the grid at most.
const MAX_LEVELS: u32 = 5;

/// Bars side by side, and perhaps what they should be, as a curve.
#[derive(Debug)]
pub(super) struct Bars {
    pub(super) title: String,
    /// Under the axis.
    pub(super) axis: String,
    /// Labels of the first and the last bar.
    pub(super) ends: (String, String),
    pub(super) values: Vec<f64>,
    /// One for each bar, if there are any, and what they are.
    pub(super) expected: Vec<f64>,
    pub(super) expected_name: &'static str,
}

impl Bars {
    /// The values, with neighbours joined until there are few enough: their mean.
    fn joined(values: &[f64]) -> Vec<f64> {
        let each = values.len().div_ceil(MAX_BARS).max(1);
        let mean = |some: &[f64]| some.iter().sum::<f64>() / some.len() as f64;
        values.chunks(each).map(mean).collect()
    }
}

impl fmt::Display for Bars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bars, curve) = (Self::joined(&self.values), Self::joined(&self.expected));
        let most = bars.iter().chain(&curve).copied().fold(0.0, f64::max);
        let step = step(most);
        let top = (most / step).ceil().max(1.0) * step;
        let y = |value: f64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top;
        let width = ((WIDTH - LEFT - RIGHT) / bars.len().max(1) as f64).min(MAX_BAR_WIDTH);
        let x = |index: usize| LEFT + width * index as f64;
        figure(f, &self.title, |f| {
            let mut value = 0.0;
            while value <= top {
                level(f, y(value), &format!("{value}"))?;
                value += step;
            }
            // A hair between bars, unless they are no wider than that themselves.
            let gap = if width > 3.0 { 1.0 } else { 0.0 };
            for (index, bar) in bars.iter().enumerate().filter(|(_, bar)| **bar > 0.0) {
                let (x, y) = (x(index) + gap / 2.0, y(*bar));
                let (width, height) = (width - gap, HEIGHT - BOTTOM - y);
                writeln!(
                    f,
                    r#"<rect class="bar" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"/>"#
                )?;
            }
            self.curve(f, &curve, |index| x(index) + width / 2.0, y)?;
            self.labels(f, x(bars.len()))
        })
    }
}

impl Bars {
    fn curve(
        &self,
        f: &mut fmt::Formatter<'_>,
        values: &[f64],
        x: impl Fn(usize) -> f64,
        y: impl Fn(f64) -> f64,
    ) -> fmt::Result {
        if values.is_empty() {
            return Ok(());
        }
        let mut path = String::new();
        for (index, value) in values.iter().enumerate() {
            let command = if index == 0 { 'M' } else { 'L' };
            write!(path, "{command}{:.1} {:.1}", x(index), y(*value))?;
        }
        // A curve of one point would not be seen.
        if values.len() == 1 {
            path.push_str("h16");
        }
        writeln!(f, r#"<path class="curve c1" d="{path}"/>"#)?;
        let (x, y) = (WIDTH - RIGHT - 92.0, TOP + 8.0);
        let name = self.expected_name;
        writeln!(f, r#"<path class="curve c1" d="M{x} {:.1}h18"/>"#, y - 4.0)?;
        writeln!(f, r#"<text x="{}" y="{y}">{name}</text>"#, x + 24.0)
    }

    /// `end` is where the last bar ends.
    fn labels(&self, f: &mut fmt::Formatter<'_>, end: f64) -> fmt::Result {
        let ((first, last), axis) = (&self.ends, &self.axis);
        let (right, near, far) = (WIDTH - RIGHT, HEIGHT - BOTTOM + 14.0, HEIGHT - BOTTOM + 29.0);
        let middle = f64::midpoint(LEFT, right);
        writeln!(f, r#"<text x="{LEFT}" y="{near}">{first}</text>"#)?;
        if first != last {
            writeln!(f, r#"<text x="{end:.1}" y="{near}" text-anchor="end">{last}</text>"#)?;
        }
        writeln!(f, r#"<text x="{middle}" y="{far}" text-anchor="middle">{axis}</text>"#)
    }
}

/// A round distance between lines of the grid: 1, 2 or 5 times a power of ten, at least 1, because
/// topics and places are whole.
fn step(most: f64) -> f64 {
    let mut power = 1.0;
    loop {
        for factor in [1.0, 2.0, 5.0] {
            if most / (factor * power) <= f64::from(MAX_LEVELS) {
                return factor * power;
            }
        }
        power *= 10.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bars(values: &[f64], expected: &[f64]) -> String {
        Bars {
            title: "a < b".to_owned(),
            axis: "topics".to_owned(),
            ends: ("0".to_owned(), "9".to_owned()),
            values: values.to_vec(),
            expected: expected.to_vec(),
            expected_name: "expected",
        }
        .to_string()
    }

    #[test]
    fn bars_stand_within_the_frame_and_as_high_as_they_are() {
        let svg = bars(&[10.0, 0.0, 5.0], &[]);
        let heights: Vec<f64> = svg
            .split("height=\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next()?.parse().ok())
            .collect();
        let full = HEIGHT - TOP - BOTTOM;
        assert_eq!(heights, [full, full / 2.0], "{svg}");
        assert!(svg.contains("a &lt; b") && !svg.contains("expected"), "{svg}");
    }

    #[test]
    fn little_and_much_have_finite_coordinates() {
        for count in [0, 1, 2, 95, 96, 97, 10_000] {
            let svg = bars(&vec![3.0; count], &vec![2.5; count]);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            assert!(svg.matches("<rect").count() <= MAX_BARS);
            assert!(svg.matches("<rect").count() >= count.min(MAX_BARS / 2));
        }
    }

    #[test]
    fn the_grid_has_few_and_round_lines() {
        assert_eq!(
            [0.0, 3.0, 5.0, 6.0, 11.0, 40.0, 9_999.0].map(step),
            [1.0, 1.0, 1.0, 2.0, 5.0, 10.0, 2_000.0]
        );
    }
}
