//! Tree → text, in clusterctl's columns.

use jiff::Timestamp;

use super::{Branch, ShownCondition};
use crate::output::Paint;

/// How to write the tree.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Colour or not.
    pub paint: Paint,
    /// The moment that ages count from.
    pub now: Timestamp,
    /// Whether to list every condition.
    pub conditions: bool,
}

const HEADER: [&str; 9] =
    ["NAME", "REPLICAS", "AVAILABLE", "READY", "UP TO DATE", "STATUS", "REASON", "SINCE", "MESSAGE"];

/// Longest line of a message.
const WRAP: usize = 100;

struct Row {
    cells: [String; 8],
    message: Vec<String>,
    /// `None` for headings.
    good: Option<bool>,
    open: bool,
}

/// The whole tree as a table.
pub fn text(tree: &Branch, style: Style) -> String {
    let mut rows = Vec::new();
    collect(tree, "", "", style, &mut rows);
    let mut widths: [usize; 8] = std::array::from_fn(|at| HEADER[at].chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(&row.cells) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    let header: Vec<_> =
        HEADER[..8].iter().zip(widths).map(|(cell, width)| format!("{cell:width$} ")).collect();
    push(&mut out, &style.paint.strong(&format!("{}{}", header.concat(), HEADER[8])));
    for row in &rows {
        write_row(&mut out, row, &widths, style.paint);
    }
    out
}

fn write_row(out: &mut String, row: &Row, widths: &[usize; 8], paint: Paint) {
    let mut line = String::new();
    for (at, (cell, width)) in row.cells.iter().zip(widths).enumerate() {
        let padding = " ".repeat(width.saturating_sub(cell.chars().count()) + 1);
        let is_verdict = at == 5 || at == 6;
        let shown = match row.good {
            Some(true) if is_verdict => paint.good(cell),
            Some(false) if is_verdict && row.open => paint.open(cell),
            Some(false) if is_verdict => paint.bad(cell),
            Some(_) | None => cell.clone(),
        };
        line.push_str(&shown);
        line.push_str(&padding);
    }
    let indent = " ".repeat(widths.iter().map(|width| width + 1).sum());
    let mut messages = row.message.iter();
    line.push_str(messages.next().map_or("", String::as_str));
    push(out, &line);
    for message in messages {
        push(out, &format!("{indent}{message}"));
    }
}

fn push(out: &mut String, line: &str) {
    out.push_str(line.trim_end());
    out.push('\n');
}

fn collect(branch: &Branch, first: &str, below: &str, style: Style, rows: &mut Vec<Row>) {
    rows.push(row(branch, first, style));
    if style.conditions {
        let mark = if branch.children.is_empty() { "  " } else { "│ " };
        rows.extend(
            branch
                .conditions
                .iter()
                .map(|condition| condition_row(condition, &format!("{below}{mark}  "), style)),
        );
    }
    for (at, child) in branch.children.iter().enumerate() {
        let last = at + 1 == branch.children.len();
        let (mark, space) = if last { ("└─", "  ") } else { ("├─", "│ ") };
        collect(child, &format!("{below}{mark}"), &format!("{below}{space}"), style, rows);
    }
}

fn row(branch: &Branch, indent: &str, style: Style) -> Row {
    let number = |value: Option<i64>| value.map(|value| value.to_string()).unwrap_or_default();
    let replicas = match (branch.replicas.replicas, branch.replicas.desired) {
        (Some(is), Some(wanted)) => format!("{is}/{wanted}"),
        (None, Some(wanted)) => format!("0/{wanted}"),
        (Some(is), None) => is.to_string(),
        (None, None) => String::new(),
    };
    let mark = if branch.deleting { "!! DELETED !! " } else { "" };
    let main = branch.main.as_ref();
    let field = |of: fn(&ShownCondition) -> &str| main.map(of).unwrap_or_default().to_owned();
    Row {
        cells: [
            format!("{indent}{mark}{}", branch.name),
            replicas,
            number(branch.replicas.available),
            number(branch.replicas.ready),
            number(branch.replicas.up_to_date),
            field(|main| &main.status),
            field(|main| &main.reason),
            main.map(|main| age(&main.last_transition_time, style.now)).unwrap_or_default(),
        ],
        message: main.map(|main| wrap(&main.message)).unwrap_or_default(),
        good: main.map(ShownCondition::is_good),
        open: main.is_some_and(|main| main.status == "Unknown"),
    }
}

fn condition_row(condition: &ShownCondition, indent: &str, style: Style) -> Row {
    let empty = String::new;
    Row {
        cells: [
            format!("{indent}{}", condition.r#type),
            empty(),
            empty(),
            empty(),
            empty(),
            condition.status.clone(),
            condition.reason.clone(),
            age(&condition.last_transition_time, style.now),
        ],
        message: wrap(&condition.message),
        good: Some(condition.is_good()),
        open: condition.status == "Unknown",
    }
}

/// `45s`, `3m`, `7h`, `12d`, as kubectl shows ages.
fn age(time: &str, now: Timestamp) -> String {
    let Ok(time) = time.parse::<Timestamp>() else { return String::new() };
    let seconds = now.duration_since(time).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Lines of at most [`WRAP`] characters, broken between words.
fn wrap(message: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for line in message.lines() {
        let mut current = String::new();
        for word in line.split(' ') {
            if !current.is_empty() && current.chars().count() + 1 + word.chars().count() > WRAP {
                lines.push(std::mem::take(&mut current));
            }
            if !current.is_empty() {
                current.push(' ');
            }
            current.push_str(word);
        }
        lines.push(current);
    }
    lines
}
