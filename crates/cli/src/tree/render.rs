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
    /// Columns there are; `None` where a line may be as long as it likes.
    pub width: Option<usize>,
}

const HEADER: [&str; 9] =
    ["NAME", "REPLICAS", "AVAILABLE", "READY", "UP TO DATE", "STATUS", "REASON", "SINCE", "MESSAGE"];

const STATUS: usize = 5;
const REASON: usize = 6;

/// What a line of a log that a message quotes starts with.
const QUOTE: &str = "| ";

/// Longest line of a message.
const WRAP: usize = 100;

struct Row {
    cells: [String; 8],
    message: String,
    /// The tree's lines below the name.
    below: String,
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
    let table: usize = widths.iter().map(|width| width + 1).sum();
    let message = rows.iter().flat_map(|row| wrap(&row.message, WRAP)).map(|line| line.chars().count()).max();
    let whole = table + message.unwrap_or_default().max(HEADER[8].len());
    if let Some(width) = style.width.filter(|width| *width < whole) {
        return narrow(&rows, &widths, width, style.paint);
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

/// Columns of a row: those at `columns`, padded.
fn cells(row: &Row, columns: &[usize], widths: &[usize; 8], paint: Paint) -> String {
    let cell = |at: usize| {
        let cell = &row.cells[at];
        let padding = " ".repeat(widths[at].saturating_sub(cell.chars().count()) + 1);
        let is_verdict = at == STATUS || at == REASON;
        let shown = match row.good {
            Some(true) if is_verdict => paint.good(cell),
            Some(false) if is_verdict && row.open => paint.open(cell),
            Some(false) if is_verdict => paint.bad(cell),
            Some(_) | None => cell.clone(),
        };
        shown + &padding
    };
    columns.iter().map(|at| cell(*at)).collect()
}

fn write_row(out: &mut String, row: &Row, widths: &[usize; 8], paint: Paint) {
    let line = cells(row, &[0, 1, 2, 3, 4, STATUS, REASON, 7], widths, paint);
    let indent = " ".repeat(widths.iter().map(|width| width + 1).sum());
    let messages = wrap(&row.message, WRAP);
    let mut messages = messages.iter();
    push(out, &(line + messages.next().map_or("", String::as_str)));
    for message in messages {
        push(out, &format!("{indent}{message}"));
    }
}

/// For narrow terminals: name, replicas and status; below them, what an object waits for.
fn narrow(rows: &[Row], widths: &[usize; 8], width: usize, paint: Paint) -> String {
    let mut out = String::new();
    for row in rows {
        push(&mut out, &cells(row, &[0, 1, STATUS], widths, paint));
        if row.good != Some(false) {
            continue;
        }
        let message = if row.message.is_empty() { &row.cells[REASON] } else { &row.message };
        let indent = format!("{}  ", row.below);
        for line in wrap(message, width.saturating_sub(indent.chars().count()).max(20)) {
            push(&mut out, &format!("{indent}{line}"));
        }
    }
    out
}

fn push(out: &mut String, line: &str) {
    out.push_str(line.trim_end());
    out.push('\n');
}

fn collect(branch: &Branch, first: &str, below: &str, style: Style, rows: &mut Vec<Row>) {
    let mark = if branch.children.is_empty() { "  " } else { "│ " };
    rows.push(Row { below: format!("{below}{mark}"), ..row(branch, first, style) });
    if style.conditions {
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
        message: main.filter(|main| !is_remark(main)).map(|main| main.message.clone()).unwrap_or_default(),
        below: String::new(),
        good: main.map(ShownCondition::is_good),
        open: main.is_some_and(|main| main.status == "Unknown"),
    }
}

/// Whether a message says nothing that anybody must know: the object is as it should be. Which machines stand
/// behind a line is no remark.
fn is_remark(main: &ShownCondition) -> bool {
    main.is_good() && !main.message.starts_with("See ")
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
        message: condition.message.clone(),
        below: indent.to_owned(),
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

/// Lines of at most `width` characters, broken between words. A line that quotes a log (`| …`) goes on as a quote.
fn wrap(message: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for line in message.lines() {
        let text = line.trim_start();
        let text = text.strip_prefix(QUOTE).unwrap_or(text);
        let indent = &line[..line.len() - text.len()];
        let mut current = indent.to_owned();
        for word in text.split(' ') {
            if current.len() > indent.len() && current.chars().count() + 1 + word.chars().count() > width {
                lines.push(std::mem::replace(&mut current, indent.to_owned()));
            }
            if current.len() > indent.len() {
                current.push(' ');
            }
            current.push_str(word);
        }
        lines.push(current);
    }
    lines
}
