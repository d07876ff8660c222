//! Patterns are RE2 in Kubernetes; the `regex` crate differs in a few escapes.

use regex::{Regex, RegexBuilder};

/// Compiles an RE2 pattern with RE2's meaning: `\d`, `\w`, `\s`, `\b` are
/// ASCII, and `[`, `&`, `~` are literals in a class.
pub(super) fn compile(source: &str) -> Result<Regex, Box<regex::Error>> {
    RegexBuilder::new(&translate(source)).size_limit(4 << 20).build().map_err(Box::new)
}

/// What is wrong with an RE2 pattern, in the words of Go's `regexp`.
pub(super) fn error(source: &str) -> Option<String> {
    if let Some((what, part)) = too_large(source) {
        return Some(format!("error parsing regexp: {what}: `{part}`"));
    }
    let error = compile(source).err()?;
    let text = error.to_string();
    let looks = ["(?=", "(?!", "(?<=", "(?<!"].into_iter().find(|look| source.contains(look));
    let (what, part) = if let Some(look) = looks {
        ("invalid or unsupported Perl syntax", look)
    } else if text.contains("unclosed group") {
        ("missing closing )", source)
    } else if text.contains("unopened group") {
        ("unexpected )", source)
    } else if text.contains("unclosed character class") {
        ("missing closing ]", source.rfind('[').map_or(source, |at| &source[at..]))
    } else if text.contains("repetition operator missing expression") {
        (
            "missing argument to repetition operator",
            source.find(['*', '+', '?']).map_or(source, |at| &source[at..=at]),
        )
    } else {
        return Some(format!("error parsing regexp: {text}"));
    };
    Some(format!("error parsing regexp: {what}: `{part}`"))
}

/// Longest pattern, bytes. Compiled, longer ones are beyond the limit in any
/// case: this is found out sooner.
const LONGEST: usize = 128 << 10;
/// How often a part of a pattern may be repeated, and how deeply groups may be
/// nested, in Go.
const MOST: u32 = 1000;

/// What Go refuses because it would take too much, where its message is the
/// same as for wrong syntax: what it is, and the part of the pattern.
fn too_large(source: &str) -> Option<(&'static str, &str)> {
    if source.len() > LONGEST {
        return Some(("expression too large", source));
    }
    // Of each open group, the largest product of repetitions in it.
    let mut groups = vec![1];
    let (mut last, mut class) = (1_u32, false);
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let all = rest;
        rest = &rest[c.len_utf8()..];
        match c {
            '\\' => rest = rest.char_indices().nth(1).map_or("", |(at, _)| &rest[at..]),
            ']' => class = false,
            _ if class => {}
            '[' => class = true,
            '(' if groups.len() >= MOST as usize => return Some(("expression nests too deeply", source)),
            '(' => groups.push(1),
            ')' => last = groups.pop()?,
            '{' if is_repetition(rest.chars()) => {
                let end = rest.find('}')?;
                let count = rest[..end].split(',').filter_map(|n| n.parse::<u32>().ok()).max();
                last = last.saturating_mul(count.unwrap_or(u32::MAX).max(1));
                if last > MOST {
                    return Some(("invalid repeat count", &all[..end + 2]));
                }
                rest = &rest[end + 1..];
                *groups.last_mut()? = groups.last()?.max(&last).to_owned();
                continue;
            }
            '*' | '+' | '?' => continue,
            _ => {}
        }
        if c != ')' {
            last = 1;
        } else if let Some(group) = groups.last_mut() {
            *group = last.max(*group);
        }
    }
    None
}

fn translate(source: &str) -> String {
    let mut out = String::with_capacity(source.len() + 16);
    let mut chars = source.chars().peekable();
    let mut class = false;
    // Whether the next character is the first of its class, where `]` is a literal.
    let mut first = false;
    while let Some(c) = chars.next() {
        let was_first = std::mem::take(&mut first);
        match c {
            '\\' => {
                let next = chars.next();
                escape(&mut out, next, class);
                // The braces of `\p{Greek}` and `\x{10FFFF}` are no repetition.
                if matches!(next, Some('p' | 'P' | 'x')) && chars.peek() == Some(&'{') {
                    out.extend(chars.by_ref().take_while(|c| *c != '}'));
                    out.push('}');
                }
            }
            '{' if !class && !is_repetition(chars.clone()) => out.push_str("\\{"),
            '[' if !class => {
                class = true;
                first = true;
                out.push('[');
                if chars.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
            }
            '[' if chars.peek() == Some(&':') => {
                out.push('[');
                for c in chars.by_ref() {
                    out.push(c);
                    if c == ']' {
                        break;
                    }
                }
            }
            '[' => out.push_str("\\["),
            ']' if class && was_first => out.push_str("\\]"),
            ']' if class => {
                class = false;
                out.push(']');
            }
            '&' | '~' if class => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

/// Whether what follows `{` makes it `{n}`, `{n,}` or `{n,m}`; else RE2 takes it literally.
fn is_repetition(rest: impl Iterator<Item = char>) -> bool {
    let inner: String = rest.take_while(|c| c.is_ascii_digit() || matches!(c, ',' | '}')).collect();
    let Some((bounds, _)) = inner.split_once('}') else { return false };
    let (from, to) = bounds.split_once(',').unwrap_or((bounds, ""));
    !from.is_empty() && !from.contains(',') && !to.contains(',')
}

fn escape(out: &mut String, next: Option<char>, class: bool) {
    match next {
        Some('d') => out.push_str(if class { "0-9" } else { "[0-9]" }),
        Some('D') => out.push_str("[^0-9]"),
        Some('w') => out.push_str(if class { "0-9A-Za-z_" } else { "[0-9A-Za-z_]" }),
        Some('W') => out.push_str("[^0-9A-Za-z_]"),
        Some('s') => out.push_str(if class { "\\t\\n\\x0c\\r " } else { "[\\t\\n\\x0c\\r ]" }),
        Some('S') => out.push_str("[^\\t\\n\\x0c\\r ]"),
        Some('b') => out.push_str("(?-u:\\b)"),
        Some('B') => out.push_str("(?-u:\\B)"),
        Some(c @ ('<' | '>')) => out.push(c),
        Some(c) => {
            out.push('\\');
            out.push(c);
        }
        None => out.push('\\'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_patterns_are_refused_in_the_words_of_go() {
        for (source, expected) in [
            ("a{1000}", ""),
            ("a{1001}", "invalid repeat count: `{1001}`"),
            ("b(a{2,1001})", "invalid repeat count: `{2,1001}`"),
            ("(a{1000}){2}", "invalid repeat count: `{2}`"),
            ("((a{10}b){10}c){10}", ""),
            ("((a{10}b){10}c){11}d", "invalid repeat count: `{11}`"),
            ("(a{1000}){1}a{1000}", ""),
            (r"[a{1001}]\{1001}{5}", ""),
            ("{1001", ""),
            ("(a*){1000}", ""),
        ] {
            let found = error(source).unwrap_or_default();
            assert_eq!(found.trim_start_matches("error parsing regexp: "), expected, "{source}");
        }
        let deep = format!("{}{}", "(".repeat(1001), ")".repeat(1001));
        assert!(
            error(&deep).unwrap().starts_with("error parsing regexp: expression nests too deeply: `((((")
        );
    }
}
