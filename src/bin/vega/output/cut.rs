//! Text that has to fit a column of a screen. Layer: bin. Pure functions.

use ratatui::text::Span;

/// The text, or if it is too wide its beginning and its end around an ellipsis: names of topics differ
/// at their ends more often than in the middle. Width is counted in columns of a terminal.
pub(crate) fn cut(text: String, width: u16) -> String {
    let width = usize::from(width);
    if Span::raw(&text).width() <= width {
        return text;
    }
    let room = width.saturating_sub(1);
    let tail = room / 2;
    let head = prefix_of(text.chars(), room - tail);
    let tail = prefix_of(text.chars().rev(), tail);
    head.into_iter().chain(['…']).chain(tail.into_iter().rev()).collect()
}

/// So many of the first characters as fit.
fn prefix_of(characters: impl Iterator<Item = char>, width: usize) -> Vec<char> {
    let mut left = width;
    let fits = |character: &char| {
        let used = Span::raw(character.to_string()).width();
        left.checked_sub(used).inspect(|rest| left = *rest).is_some()
    };
    characters.take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginning_and_end_are_kept() {
        for (text, width, shown) in [
            ("prices.EURUSD", 13, "prices.EURUSD"),
            ("prices.EURUSD", 12, "prices…URUSD"),
            ("prices.EURUSD", 2, "p…"),
            ("prices.EURUSD", 1, "…"),
            ("漢字漢字", 8, "漢字漢字"),
            ("漢字漢字", 7, "漢…字"),
            ("", 0, ""),
        ] {
            assert_eq!(cut(text.to_owned(), width), shown, "{text} in {width}");
        }
    }
}
