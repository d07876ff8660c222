//! Conditions made of other conditions: summary, aggregate, mirror (as Cluster API v1beta2 merges them).
//!
//! In every merge an *issue* outweighs *unknown*, which outweighs *info*: one bad part makes the whole
//! bad, and the message names the parts that count, as an indented list that nests when a summary of
//! summaries is made.

use std::fmt::Write as _;

use windlass_model::{Condition, Polarity, Status};

/// Messages that an aggregate spells out.
const MESSAGES: usize = 3;
/// Objects that a line of an aggregate names.
const NAMES: usize = 3;

/// Reasons of a merged condition by what decided it.
#[derive(Debug, Clone, Copy)]
pub struct Reasons {
    /// At least one part is bad.
    pub issue: &'static str,
    /// No part is bad and at least one unknown.
    pub unknown: &'static str,
    /// Neither.
    pub info: &'static str,
}

/// What a part says, in the order of weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    Issue,
    Unknown,
    Info,
}

fn weigh(status: Status, polarity: Polarity) -> Weight {
    match (status, polarity) {
        (Status::Unknown, _) => Weight::Unknown,
        (Status::True, Polarity::Positive) | (Status::False, Polarity::Negative) => Weight::Info,
        (Status::False, Polarity::Positive) | (Status::True, Polarity::Negative) => Weight::Issue,
    }
}

fn merged(
    kind: &'static str,
    weight: Weight,
    polarity: Polarity,
    reasons: Reasons,
    message: String,
) -> Condition {
    let (status, reason) = match (weight, polarity) {
        (Weight::Issue, Polarity::Positive) => (Status::False, reasons.issue),
        (Weight::Issue, Polarity::Negative) => (Status::True, reasons.issue),
        (Weight::Unknown, _) => (Status::Unknown, reasons.unknown),
        (Weight::Info, Polarity::Positive) => (Status::True, reasons.info),
        (Weight::Info, Polarity::Negative) => (Status::False, reasons.info),
    };
    Condition::new(kind, status, reason).because(message)
}

/// One of several conditions of an object, on its way into a summary.
#[derive(Debug, Clone)]
pub struct Part<'a> {
    /// What the line of the message begins with: the condition's type, or a name for several.
    pub label: &'a str,
    /// The condition, if it has been reported.
    pub condition: Option<&'a Condition>,
    /// Whether `True` is good.
    pub polarity: Polarity,
    /// Leave it out while nobody reports it.
    pub optional: bool,
    /// Trouble with it is expected at present and worth no more than a note.
    pub excused: bool,
    /// Says instead of the condition's own message.
    pub message: Option<&'a str>,
}

impl<'a> Part<'a> {
    /// A part of positive polarity that has to be reported.
    pub fn new(label: &'a str, condition: Option<&'a Condition>) -> Self {
        Self {
            label,
            condition,
            polarity: Polarity::Positive,
            optional: false,
            excused: false,
            message: None,
        }
    }

    /// `True` is bad news.
    #[must_use]
    pub fn negative(mut self) -> Self {
        self.polarity = Polarity::Negative;
        self
    }

    /// Left out while nobody reports it.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    fn weight(&self) -> Weight {
        let weight = self.condition.map_or(Weight::Unknown, |one| weigh(one.status, self.polarity));
        if self.excused { Weight::Info } else { weight }
    }

    fn text(&self) -> &str {
        let Some(condition) = self.condition else { return "Condition not yet reported" };
        let own = self.message.unwrap_or(&condition.message);
        // Conditions of older providers carry everything in the reason.
        if own.is_empty() && self.weight() != Weight::Info { &condition.reason } else { own }
    }
}

/// One condition that stands for several of the same object.
pub fn summary(kind: &'static str, parts: &[Part<'_>], reasons: Reasons) -> Condition {
    let counted: Vec<&Part<'_>> =
        parts.iter().filter(|part| part.condition.is_some() || !part.optional).collect();
    let weight = counted.iter().map(|part| part.weight()).min().unwrap_or(Weight::Info);
    let shown = |part: &&&Part<'_>| (part.weight() == Weight::Info) == (weight == Weight::Info);
    let lines: Vec<String> = counted
        .iter()
        .filter(shown)
        .filter(|part| !part.text().is_empty())
        .map(|part| bullet(part.label, part.text()))
        .collect();
    merged(kind, weight, Polarity::Positive, reasons, lines.join("\n"))
}

/// `* label: text`, or a list or several lines indented below the label.
fn bullet(label: &str, text: &str) -> String {
    if text.starts_with("* ") || text.contains('\n') {
        format!("* {label}:\n  {}", text.replace('\n', "\n  "))
    } else {
        format!("* {label}: {text}")
    }
}

/// The same condition of one of many objects, on its way into an aggregate.
#[derive(Debug, Clone)]
pub struct Source<'a> {
    /// Kind of the object.
    pub kind: &'a str,
    /// Name of the object.
    pub name: &'a str,
    /// Control plane objects are named first.
    pub control_plane: bool,
    /// The condition, if it has been reported.
    pub condition: Option<&'a Condition>,
}

/// Objects that say the same.
struct Line<'a> {
    text: String,
    weight: Weight,
    kind: &'a str,
    control_plane: bool,
    names: Vec<&'a str>,
}

/// What an aggregate is made of, the objects aside.
#[derive(Debug, Clone, Copy)]
pub struct Aggregate {
    /// Type of the merged condition.
    pub kind: &'static str,
    /// Type of the objects' conditions.
    pub of: &'static str,
    /// Whether `True` is good, of both.
    pub polarity: Polarity,
    /// Reasons of the merged condition.
    pub reasons: Reasons,
}

/// One condition that stands for the same one of many objects; the caller says what none of them means.
pub fn aggregate(what: Aggregate, sources: &[Source<'_>]) -> Condition {
    let mut lines: Vec<Line<'_>> = Vec::new();
    for source in sources {
        let weight = source.condition.map_or(Weight::Unknown, |one| weigh(one.status, what.polarity));
        let text = match source.condition {
            None => format!("Condition {} not yet reported", what.of),
            Some(one) if one.message.is_empty() && weight != Weight::Info => one.reason.to_string(),
            Some(one) => one.message.clone(),
        };
        let same =
            |line: &&mut Line<'_>| line.text == text && line.weight == weight && line.kind == source.kind;
        if let Some(line) = lines.iter_mut().find(same) {
            line.names.push(source.name);
            line.control_plane |= source.control_plane;
        } else {
            let (kind, control_plane) = (source.kind, source.control_plane);
            lines.push(Line { text, weight, kind, control_plane, names: vec![source.name] });
        }
    }
    let weight = lines.iter().map(|line| line.weight).min().unwrap_or(Weight::Info);
    lines.retain(|line| !line.text.is_empty() && (line.weight == Weight::Info) == (weight == Weight::Info));
    lines.sort_by_key(|line| (!line.control_plane, line.weight, std::cmp::Reverse(line.names.len())));
    merged(what.kind, weight, what.polarity, what.reasons, render(&mut lines))
}

fn render(lines: &mut [Line<'_>]) -> String {
    let mut text = String::new();
    for (at, line) in lines.iter_mut().enumerate() {
        if at == MESSAGES {
            break;
        }
        line.names.sort_unstable();
        let plural = if line.names.len() == 1 { "" } else { "s" };
        let more = line.names.len().saturating_sub(NAMES);
        let mut label =
            format!("{}{plural} {}", line.kind, line.names[..line.names.len().min(NAMES)].join(", "));
        if more > 0 {
            let _ = write!(label, ", ... ({more} more)");
        }
        let _ = writeln!(text, "{}", bullet(&label, &line.text));
    }
    let mut others = std::collections::BTreeMap::<(Weight, &str), usize>::new();
    for line in lines.iter().skip(MESSAGES) {
        *others.entry((line.weight, line.kind)).or_default() += line.names.len();
    }
    for ((weight, kind), count) in others {
        let plural = if count == 1 { "" } else { "s" };
        let what = match weight {
            Weight::Issue => "other issues",
            Weight::Unknown => "status unknown",
            Weight::Info => "additional info",
        };
        let _ = writeln!(text, "And {count} {kind}{plural} with {what}");
    }
    text.trim_end().to_owned()
}

/// Another object's condition under a type of our own; `fallback` where it is not reported.
pub fn mirror(kind: &'static str, source: Option<&Condition>, fallback: Condition) -> Condition {
    let Some(source) = source else { return fallback };
    if source.reason.is_empty() {
        let message = format!("Condition {} has no reason", source.kind);
        return Condition::new(kind, Status::Unknown, "InvalidConditionReported").because(message);
    }
    Condition { kind: kind.into(), ..source.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REASONS: Reasons = Reasons { issue: "NotReady", unknown: "ReadyUnknown", info: "Ready" };

    /// `Kind=True: message`, `Kind!` for one that is not reported; `~` before it makes it negative, `?`
    /// optional, `.` excused.
    fn conditions(text: &str) -> Vec<(String, Option<Condition>, String)> {
        let parse = |line: &str| {
            let marks: String = line.chars().take_while(|letter| "~?.".contains(*letter)).collect();
            let rest = &line[marks.len()..];
            if let Some(kind) = rest.strip_suffix('!') {
                return (kind.to_owned(), None, marks);
            }
            let (kind, rest) = rest.split_once('=').unwrap();
            let (status, message) = rest.split_once(": ").unwrap_or((rest, ""));
            let condition = Condition::new(kind.to_owned(), Status::parse(status), "Because");
            (kind.to_owned(), Some(condition.because(message.replace('|', "\n"))), marks)
        };
        text.split("; ").map(parse).collect()
    }

    #[track_caller]
    fn check_summary(text: &str, expected: &str) {
        let conditions = conditions(text);
        let parts: Vec<_> = conditions
            .iter()
            .map(|(label, condition, marks)| Part {
                polarity: if marks.contains('~') { Polarity::Negative } else { Polarity::Positive },
                optional: marks.contains('?'),
                excused: marks.contains('.'),
                ..Part::new(label, condition.as_ref())
            })
            .collect();
        let merged = summary("Ready", &parts, REASONS);
        let told = format!("{} {} {}", merged.status.as_str(), merged.reason, merged.message);
        assert_eq!(told.trim_end(), expected.replace('|', "\n"), "{text}");
    }

    #[test]
    fn summaries_name_what_counts() {
        check_summary("A=True; B=True", "True Ready");
        check_summary("A=True; B=False: b is bad", "False NotReady * B: b is bad");
        check_summary("A=Unknown: who knows; B=False: bad", "False NotReady * A: who knows|* B: bad");
        check_summary("A=True; B!", "Unknown ReadyUnknown * B: Condition not yet reported");
        check_summary("A=True; ?B!", "True Ready");
        check_summary("~Deleting=True: going; A=True", "False NotReady * Deleting: going");
        check_summary("~Deleting=False; A=True: well", "True Ready * A: well");
        check_summary(".A=False: gone; B=False: bad", "False NotReady * B: bad");
        check_summary("A=False", "False NotReady * A: Because");
        check_summary("A=False: * B: b|* C: c; D=False: d", "False NotReady * A:|  * B: b|  * C: c|* D: d");
        check_summary("A=False: exit 1|the log; D=False: d", "False NotReady * A:|  exit 1|  the log|* D: d");
    }

    #[track_caller]
    fn check_aggregate(polarity: Polarity, text: &str, expected: &str) {
        let conditions = conditions(text);
        let sources: Vec<_> = conditions
            .iter()
            .map(|(name, condition, marks)| Source {
                kind: "Machine",
                name,
                control_plane: marks.contains('.'),
                condition: condition.as_ref(),
            })
            .collect();
        let what = Aggregate { kind: "MachinesReady", of: "Ready", polarity, reasons: REASONS };
        let merged = aggregate(what, &sources);
        let told = format!("{} {} {}", merged.status.as_str(), merged.reason, merged.message);
        assert_eq!(told.trim_end(), expected.replace('|', "\n"), "{text}");
    }

    #[test]
    fn aggregates_group_what_says_the_same() {
        let check = |text, expected| check_aggregate(Polarity::Positive, text, expected);
        check("a=True; b=True", "True Ready");
        check("a=False: bad; b=True", "False NotReady * Machine a: bad");
        check("b=False: bad; a=False: bad", "False NotReady * Machines a, b: bad");
        check(
            "a!; b=False: * X: x|* Y: y",
            "False NotReady * Machine b:|  * X: x|  * Y: y|* Machine a: Condition Ready not yet reported",
        );
        check("a=False: 1; b=False: 2; c=False: 2", "False NotReady * Machines b, c: 2|* Machine a: 1");
        check(".z=Unknown: 1; b=False: 2", "False NotReady * Machine z: 1|* Machine b: 2");
        check(
            "a=False: x; b=False: x; c=False: x; d=False: x; e=False: x",
            "False NotReady * Machines a, b, c, ... (2 more): x",
        );
        check(
            "a=False: 1; b=False: 2; c=False: 3; d=False: 4; e!",
            "False NotReady * Machine a: 1|* Machine b: 2|* Machine c: 3|And 1 Machine with other issues|\
             And 1 Machine with status unknown",
        );
        check_aggregate(Polarity::Negative, "a=True: up; b=False", "True NotReady * Machine a: up");
        check_aggregate(Polarity::Negative, "a=False; b=False", "False Ready");
    }

    #[test]
    fn mirrors_copy_or_fall_back() {
        let fallback = Condition::new("InfrastructureReady", Status::False, "NotReady");
        let ready = Condition::new("Ready", Status::True, "Fine").because("as can be");
        let mirrored = mirror("InfrastructureReady", Some(&ready), fallback.clone());
        assert_eq!((mirrored.kind.as_ref(), mirrored.reason.as_ref()), ("InfrastructureReady", "Fine"));
        assert_eq!(mirror("InfrastructureReady", None, fallback.clone()), fallback);
        let empty = Condition::new("Ready", Status::True, "");
        assert_eq!(mirror("InfrastructureReady", Some(&empty), fallback).reason, "InvalidConditionReported");
    }
}
