//! Errors with the places they are at, printed as cel-go prints them.

use std::sync::Arc;

use kube_cel::cel::common::ast::SourceInfo;

use super::infer::Wrong;
use super::macros::Numbers;
use super::{parser, single_negations};

/// What is printed as at most this many errors.
const MOST: usize = 100;

/// All errors of an expression, by their places.
pub(super) fn printed(text: &str, wrong: Vec<Wrong>, numbers: &Numbers) -> String {
    let places = Places::of(text);
    let more = wrong.len().saturating_sub(MOST);
    let mut found: Vec<((usize, usize), String)> = wrong
        .into_iter()
        .take(MOST)
        .map(|(id, message)| (places.find(text, numbers.origin(id)), message))
        .collect();
    found.sort_by_key(|(place, _)| *place);
    let mut lines: Vec<String> =
        found.into_iter().map(|((line, column), message)| one(text, line, column, &message)).collect();
    if more > 0 {
        lines.push(format!("{more} more errors were truncated"));
    }
    lines.join("\n")
}

/// One error; `line` counts from one, `column` from zero.
fn one(text: &str, line: usize, column: usize, message: &str) -> String {
    let mut out = format!("ERROR: <input>:{line}:{}: {message}", column + 1);
    let Some(source) = text.split('\n').nth(line.saturating_sub(1)) else { return out };
    let source = source.replace('\t', " ");
    let wide = |c: Option<char>| c.is_some_and(|c| !c.is_ascii());
    out.push_str("\n | ");
    out.push_str(&source);
    out.push_str("\n | ");
    out.extend(source.chars().take(column).map(|c| if wide(Some(c)) { '\u{ff0e}' } else { '.' }));
    out.push(if wide(source.chars().nth(column)) { '\u{ff3e}' } else { '^' });
    out
}

/// Where the parts of an expression stand.
struct Places {
    info: Option<Arc<SourceInfo>>,
}

/// Before the expression, so that every number is greater by one.
const BEFORE: &str = "[";
/// Behind the expression: a macro that is wrong.
const BEHIND: &str = "\n,has(0)]";

impl Places {
    /// The parser tells places only with errors, so it is given one, behind
    /// the expression.
    fn of(text: &str) -> Self {
        let told = parser().parse(&single_negations(&format!("{BEFORE}{text}{BEHIND}"))).err();
        let info = told.and_then(|told| told.errors.into_iter().find_map(|error| error.source_info));
        Self { info }
    }

    fn find(&self, text: &str, id: u64) -> (usize, usize) {
        let offset = self.info.as_ref().and_then(|info| info.offset_for(id + 1));
        let Some((offset, _)) = offset else { return (1, 0) };
        let before = text.get(..(offset as usize).saturating_sub(BEFORE.len())).unwrap_or_default();
        let (lines, column) =
            before.rsplit_once('\n').map_or((0, before.chars().count()), |(above, last)| {
                (above.matches('\n').count() + 1, last.chars().count())
            });
        (lines + 1, column)
    }
}
