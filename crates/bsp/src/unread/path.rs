//! Paths of members for metric labels. A label never contains a person's name or number.

/// Longest path, in characters.
const LENGTH_MAX: usize = 64;

/// Number of digits from which a key may be a telephone number and is hidden.
const DIGITS_MIN: usize = 4;

/// Most different paths that are reported for one body; the rest is counted together. The limit also applies
/// to a process.
pub(crate) const PATHS_MAX: usize = 200;

/// One step of a path.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step<'t> {
    /// The member of an object, by its key as it appears in the text.
    Key(&'t str),
    /// The element of a list.
    Index(usize),
}

/// Appends a step: `.key`, or `[]`. A key that is not a plain word becomes `*`, because it may be data. A
/// hyphen becomes an underscore.
pub(crate) fn push(path: &mut String, step: Step<'_>) {
    match step {
        Step::Index(_) => path.push_str("[]"),
        Step::Key(key) => {
            if !path.is_empty() {
                path.push('.');
            }
            if is_plain(key) {
                path.extend(key.chars().map(|c| if c == '-' { '_' } else { c }));
            } else {
                path.push('*');
            }
        }
    }
    path.truncate(LENGTH_MAX);
}

fn is_plain(key: &str) -> bool {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let digits = key.bytes().filter(u8::is_ascii_digit).count();
    !key.is_empty() && key.bytes().all(is_known) && digits < DIGITS_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_contain_words_and_no_data() {
        for (steps, path) in [
            (&[Step::Key("location"), Step::Key("url")][..], "location.url"),
            (&[Step::Key("errors"), Step::Index(17), Step::Key("href")], "errors[].href"),
            (&[Step::Key("a"), Step::Index(0), Step::Index(1)], "a[][]"),
            (&[Step::Key("by_number"), Step::Key("4915112345"), Step::Key("x")], "by_number.*.x"),
            (&[Step::Key("abc123"), Step::Key("a1b2c3d4")], "abc123.*"),
            (&[Step::Key("Jane Doe"), Step::Key("ü"), Step::Key("\\u0034"), Step::Key("")], "*.*.*.*"),
            (&[Step::Key("app-id")], "app_id"),
        ] {
            let mut said = String::new();
            steps.iter().for_each(|step| push(&mut said, *step));
            assert_eq!(said, path);
        }
    }

    #[test]
    fn a_path_is_cut() {
        let mut path = String::new();
        for _ in 0..40 {
            push(&mut path, Step::Key("abc"));
        }
        assert_eq!(path.len(), LENGTH_MAX);
    }
}
