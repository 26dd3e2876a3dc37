//! Which known key a misspelt one is meant to be. Layer: config. Pure functions.

/// Longer keys are not compared with the known ones: the comparison is quadratic.
const MAX_COMPARED_CHARS: usize = 40;

/// The known key that `key` is most likely meant to be: at most two edits away, and less than
/// half of it.
pub(super) fn closest(key: &str, known: &[&str]) -> Option<String> {
    if key.chars().count() > MAX_COMPARED_CHARS {
        return None;
    }
    let distances = known.iter().map(|name| (edit_distance(key, name), *name));
    let (distance, name) = distances.min()?;
    (distance <= 2 && 2 * distance < name.len()).then(|| name.to_owned())
}

/// Levenshtein distance in characters.
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[row.len() - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_keys_are_suggested() {
        let known = ["ports", "streams", "ttl", "packet_bytes"];
        assert_eq!(closest("port", &known).as_deref(), Some("ports"));
        assert_eq!(closest("packet_byte", &known).as_deref(), Some("packet_bytes"));
        assert_eq!(closest("tll", &known).as_deref(), Some("ttl"));
        assert_eq!(closest("tcp", &known), None);
        assert_eq!(closest("colour", &known), None);
        assert_eq!(closest(&"x".repeat(1000), &known), None);
    }

    #[test]
    fn distances() {
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("same", "same"), 0);
    }
}
