//! Pieces → text.

use std::collections::BTreeSet;

use super::glob;
use super::parse::{Op, Piece, Place};

type Lookup<'l> = &'l dyn Fn(&str) -> Option<String>;

/// Renders pieces; names without value or default end up in `missing`.
pub fn pieces(pieces: &[Piece], value: Lookup<'_>, missing: &mut BTreeSet<String>) -> String {
    let mut out = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Variable { name, op } => out.push_str(&variable(name, op, value, missing)),
        }
    }
    out
}

fn variable(name: &str, op: &Op, value: Lookup<'_>, missing: &mut BTreeSet<String>) -> String {
    let given = value(name);
    if let Op::Default(default) = op {
        return given.filter(|text| !text.is_empty()).unwrap_or_else(|| pieces(default, value, missing));
    }
    let Some(given) = given else {
        missing.insert(name.to_owned());
        return String::new();
    };
    let mut argument = |argument: &[Piece]| pieces(argument, value, missing);
    match op {
        Op::Plain | Op::Default(_) => given,
        Op::Length => given.chars().count().to_string(),
        Op::Case { upper, all } => case(&given, *upper, *all),
        Op::Substring { from, length } => {
            let (from, length) = (argument(from), length.as_deref().map(argument));
            substring(&given, &from, length.as_deref())
        }
        Op::Trim { suffix, longest, glob } => trim(&given, &argument(glob), *suffix, *longest),
        Op::Replace { place, old, new } => {
            let (old, new) = (argument(old), argument(new));
            replace(&given, *place, &old, &new)
        }
    }
}

fn case(text: &str, upper: bool, all: bool) -> String {
    let turn = |part: &str| if upper { part.to_uppercase() } else { part.to_lowercase() };
    if all {
        return turn(text);
    }
    let end = text.chars().next().map_or(0, char::len_utf8);
    format!("{}{}", turn(&text[..end]), &text[end..])
}

/// Positions count characters; whatever is no number leaves the text as it is.
fn substring(text: &str, from: &str, length: Option<&str>) -> String {
    let length = length.map_or(Ok(usize::MAX), |length| length.trim().parse());
    let (Ok(from), Ok(length)) = (from.trim().parse(), length) else { return text.to_owned() };
    text.chars().skip(from).take(length).collect()
}

/// Cuts the shortest or longest prefix (or suffix) that matches the pattern.
fn trim(text: &str, pattern: &str, suffix: bool, longest: bool) -> String {
    let cuts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    // Ascending length of the part that would go.
    let mut cuts: Vec<usize> = if suffix { cuts.rev().collect() } else { cuts.collect() };
    if longest {
        cuts.reverse();
    }
    for cut in cuts {
        let (head, tail) = text.split_at(cut);
        let (gone, kept) = if suffix { (tail, head) } else { (head, tail) };
        if !gone.is_empty() && glob::matches(pattern, gone) {
            return kept.to_owned();
        }
    }
    text.to_owned()
}

fn replace(text: &str, place: Place, old: &str, new: &str) -> String {
    if old.is_empty() {
        return text.to_owned();
    }
    match place {
        Place::First => text.replacen(old, new, 1),
        Place::All => text.replace(old, new),
        Place::Prefix => {
            text.strip_prefix(old).map_or_else(|| text.to_owned(), |rest| format!("{new}{rest}"))
        }
        Place::Suffix => {
            text.strip_suffix(old).map_or_else(|| text.to_owned(), |rest| format!("{rest}{new}"))
        }
    }
}
