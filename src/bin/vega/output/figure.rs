//! The frame of a figure in SVG: its size, its title, its grid. Layer: bin. Text in, text out.

use std::fmt;

use super::Escaped;

/// Size of a figure, and the margins around what is drawn, which labels need.
pub(crate) const WIDTH: f64 = 460.0;
pub(crate) const HEIGHT: f64 = 260.0;
pub(crate) const LEFT: f64 = 62.0;
pub(crate) const RIGHT: f64 = 16.0;
pub(crate) const TOP: f64 = 14.0;
pub(crate) const BOTTOM: f64 = 36.0;

/// A figure with a title, and what `draw` puts into it.
pub(crate) fn figure(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    draw: impl FnOnce(&mut fmt::Formatter<'_>) -> fmt::Result,
) -> fmt::Result {
    let title = Escaped(title);
    writeln!(f, "<figure><figcaption>{title}</figcaption>")?;
    writeln!(f, r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">"#)?;
    draw(f)?;
    writeln!(f, "</svg></figure>")
}

/// A horizontal line of the grid, with what it stands for.
pub(crate) fn level(f: &mut fmt::Formatter<'_>, y: f64, label: &str) -> fmt::Result {
    let (x, right) = (LEFT - 6.0, WIDTH - RIGHT);
    writeln!(f, r#"<path class="grid" d="M{LEFT} {y:.1}H{right}"/>"#)?;
    writeln!(f, r#"<text x="{x}" y="{:.1}" text-anchor="end">{label}</text>"#, y + 4.0)
}
