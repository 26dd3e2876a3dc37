//! Text that has to fit a column, and columns that have to fit a screen. Layer: bin. Pure functions.

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

/// Makes the widest of the columns that have names narrower, until all have `room`, but none of them narrower than
/// its least. False when that is not enough; then nothing has changed.
pub(crate) fn fit(widths: &mut [usize], names: &[(usize, usize)], room: usize) -> bool {
    let mut fitted = widths.to_vec();
    let mut excess = widths.iter().sum::<usize>().saturating_sub(room);
    while excess > 0 {
        let can_give = names.iter().filter(|(column, least)| fitted[*column] > *least);
        let Some((widest, _)) = can_give.max_by_key(|(column, _)| fitted[*column]) else {
            return false;
        };
        fitted[*widest] -= 1;
        excess -= 1;
    }
    widths.copy_from_slice(&fitted);
    true
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
    fn the_widest_names_give_way() {
        for (widths, room, fitted) in [
            ([14, 9, 27, 18], 68, Some([14, 9, 27, 18])),
            ([14, 9, 27, 18], 60, Some([14, 9, 19, 18])),
            ([14, 9, 27, 18], 55, Some([14, 9, 16, 16])),
            ([14, 9, 27, 18], 45, Some([12, 9, 12, 12])),
            ([14, 9, 27, 18], 44, None),
        ] {
            let mut found = widths;
            let is_enough = fit(&mut found, &[(0, 12), (2, 12), (3, 12)], room);
            assert_eq!(is_enough.then_some(found), fitted, "{room}");
            assert!(is_enough || found == widths);
        }
    }

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
