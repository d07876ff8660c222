//! What is different, step by step, readable.

use std::fmt::Write as _;

use similar::{ChangeTag, TextDiff};

use crate::answer::Recorded;

/// How many lines around a difference are shown.
const AROUND: usize = 3;

/// A step that was answered differently.
#[derive(Debug)]
pub struct Difference {
    /// The title of the step.
    pub step: String,
    /// `-` what the real server said, `+` what ours said.
    pub diff: String,
}

/// The steps that differ.
pub fn differences(recorded: &[Recorded], played: &[Recorded]) -> Vec<Difference> {
    let mut found = Vec::new();
    for (title, expected) in recorded {
        match played.iter().find(|(other, _)| other == title) {
            Some((_, said)) if said == expected => {}
            Some((_, said)) => found.push(Difference { step: title.clone(), diff: diff(expected, said) }),
            None => {
                found
                    .push(Difference { step: title.clone(), diff: "  the script has no such step\n".into() });
            }
        }
    }
    for (title, _) in played {
        if !recorded.iter().any(|(other, _)| other == title) {
            found.push(Difference { step: title.clone(), diff: "  was never recorded\n".into() });
        }
    }
    found
}

fn diff(expected: &str, said: &str) -> String {
    let diff = TextDiff::from_lines(expected, said);
    let mut text = String::new();
    for (index, group) in diff.grouped_ops(AROUND).iter().enumerate() {
        if index > 0 {
            text.push_str("    ⋯\n");
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let sign = match change.tag() {
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
                ChangeTag::Equal => ' ',
            };
            let _ = writeln!(text, "  {sign} {}", change.value().trim_end_matches('\n'));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_shown_by_step() {
        let said = |text: &str| vec![("a".to_owned(), text.to_owned()), ("b".to_owned(), "x\n".to_owned())];
        assert!(differences(&said("1\n2\n"), &said("1\n2\n")).is_empty());
        let found = differences(&said("1\n2\n"), &said("1\n3\n"));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].step.as_str(), found[0].diff.as_str()), ("a", "    1\n  - 2\n  + 3\n"));
        assert_eq!(differences(&said("1\n")[..1], &said("1\n")).len(), 1);
    }
}
