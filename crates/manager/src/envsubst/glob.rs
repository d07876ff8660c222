//! Shell patterns in `${V#pattern}` and its kin: `*`, `?`, `[a-z]`, `[^x]`. A `*` crosses slashes, as in a shell's
//! parameter expansion.

/// Whether the whole of `text` matches `pattern`.
pub fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    inner(&pattern, &text)
}

fn inner(pattern: &[char], text: &[char]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some(('*', rest)), _) => (0..=text.len()).any(|taken| inner(rest, &text[taken..])),
        (Some(('?', rest)), Some((_, tail))) => inner(rest, tail),
        (Some(('[', rest)), Some((c, tail))) => match class(rest, *c) {
            Some((hit, rest)) => hit && inner(rest, tail),
            None => false,
        },
        (Some((literal, rest)), Some((c, tail))) => literal == c && inner(rest, tail),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// Whether `c` is in the class that follows `[`, and what follows the class; `None` if it is never closed.
fn class(pattern: &[char], c: char) -> Option<(bool, &[char])> {
    let (negated, mut rest) = match pattern.split_first() {
        Some(('^' | '!', rest)) => (true, rest),
        Some(_) | None => (false, pattern),
    };
    let mut hit = false;
    loop {
        rest = match rest {
            [']', tail @ ..] => return Some((hit != negated, tail)),
            [low, '-', high, tail @ ..] if *high != ']' => {
                hit |= (*low..=*high).contains(&c);
                tail
            }
            [one, tail @ ..] => {
                hit |= *one == c;
                tail
            }
            [] => return None,
        };
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("*.txt", "a.txt", true),
            ("*.txt", "d/a.txt", true),
            ("*/*.txt", "d/a.txt", true),
            ("a?c", "abc", true),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[a", "a", false),
            ("", "", true),
        ] {
            assert_eq!(super::matches(pattern, text), expected, "{pattern} on {text}");
        }
    }
}
