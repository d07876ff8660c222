//! From the text of a template to its nodes.

use super::{Action, DEPTH, FUNCTIONS, Node, Operand, Pipe, TemplateError, Value};

/// A piece of the text.
enum Piece<'a> {
    Text(&'a str),
    Action(&'a str),
}

/// What ends a list of nodes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// The end of the text.
    Text,
    /// `{{ end }}`.
    End,
    /// `{{ else }}`, or `{{ else if … }}`.
    Else,
}

pub(super) fn parse(template: &str) -> Result<Vec<Node>, TemplateError> {
    let pieces = pieces(template)?;
    let mut parser = Parser { pieces: pieces.into_iter(), condition: None };
    let (nodes, end) = parser.nodes(0)?;
    match end {
        Stop::Text => Ok(nodes),
        Stop::End => Err(wrong(" end ", "there is no if before it")),
        Stop::Else => Err(wrong(" else ", "there is no if before it")),
    }
}

fn wrong(action: &str, why: &'static str) -> TemplateError {
    TemplateError::Wrong { action: action.to_owned(), why }
}

/// Cuts the text at its actions, trims where marks say so, and drops comments.
fn pieces(template: &str) -> Result<Vec<Piece<'_>>, TemplateError> {
    let mut pieces = Vec::new();
    let (mut rest, mut trims) = (template, false);
    loop {
        let (text, after) = match rest.find("{{") {
            Some(start) => (&rest[..start], Some(&rest[start + 2..])),
            None => (rest, None),
        };
        let text = if trims { text.trim_start() } else { text };
        let Some(after) = after else {
            pieces.push(Piece::Text(text));
            return Ok(pieces);
        };
        let end = action_end(after).ok_or(TemplateError::Open)?;
        let inner = &after[..end];
        rest = &after[end + 2..];
        // As in Go, a dash trims only if white space separates it from the action.
        let (inner, trims_left) = match inner.strip_prefix('-') {
            Some(rest) if rest.starts_with(char::is_whitespace) => (rest, true),
            _ => (inner, false),
        };
        let (inner, trims_right) = match inner.strip_suffix('-') {
            Some(rest) if rest.ends_with(char::is_whitespace) => (rest, true),
            _ => (inner, false),
        };
        pieces.push(Piece::Text(if trims_left { text.trim_end() } else { text }));
        trims = trims_right;
        if !inner.trim().starts_with("/*") {
            pieces.push(Piece::Action(inner));
        }
    }
}

/// Where an action ends: at the first `}}` that stands in no comment and in no literal.
fn action_end(text: &str) -> Option<usize> {
    let start = text.trim_start_matches(|c: char| c == '-' || c.is_whitespace());
    if start.starts_with("/*") {
        let comment = text.find("*/")? + 2;
        return Some(comment + text[comment..].find("}}")?);
    }
    let mut at = 0;
    while let Some(next) = text[at..].chars().next() {
        match next {
            '"' | '`' => at += literal(&text[at..])?.1,
            '}' if text[at..].starts_with("}}") => return Some(at),
            other => at += other.len_utf8(),
        }
    }
    None
}

/// The literal that a text begins with, and its length in bytes.
fn literal(text: &str) -> Option<(String, usize)> {
    let quote = text.chars().next()?;
    let mut value = String::new();
    let mut letters = text.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            end if end == quote => return Some((value, at + 1)),
            '\\' if quote == '"' => value.push(match letters.next()?.1 {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                other @ ('"' | '\\' | '\'') => other,
                _ => return None,
            }),
            '\n' if quote == '"' => return None,
            other => value.push(other),
        }
    }
    None
}

struct Parser<'a> {
    pieces: std::vec::IntoIter<Piece<'a>>,
    /// The condition of the `else if` that has just been read.
    condition: Option<Action>,
}

impl Parser<'_> {
    /// Nodes until something ends them.
    fn nodes(&mut self, depth: usize) -> Result<(Vec<Node>, Stop), TemplateError> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let written = match piece {
                Piece::Text("") => continue,
                Piece::Text(text) => {
                    nodes.push(Node::Text(text.to_owned()));
                    continue;
                }
                Piece::Action(written) => written,
            };
            let (word, rest) = first_word(written);
            match word {
                "if" if depth == DEPTH => return Err(wrong(written, "it stands too deep in other ifs")),
                "if" => {
                    let condition = action(written, rest)?;
                    nodes.push(self.condition(condition, depth + 1)?);
                }
                "end" if rest.is_empty() => return Ok((nodes, Stop::End)),
                "else" if rest.is_empty() => return Ok((nodes, Stop::Else)),
                "else" => {
                    let (word, rest) = first_word(rest);
                    if word != "if" {
                        return Err(wrong(written, "after else stands nothing or an if"));
                    }
                    self.condition = Some(action(written, rest)?);
                    return Ok((nodes, Stop::Else));
                }
                "end" => return Err(wrong(written, "it takes nothing")),
                _ => nodes.push(Node::Print(action(written, written)?)),
            }
        }
        Ok((nodes, Stop::Text))
    }

    /// What follows an `if`, up to its `end`.
    fn condition(&mut self, first: Action, depth: usize) -> Result<Node, TemplateError> {
        let mut branches = Vec::new();
        let mut condition = first;
        loop {
            let (nodes, end) = self.nodes(depth)?;
            branches.push((condition, nodes));
            match (end, self.condition.take()) {
                (Stop::Text, _) => return Err(TemplateError::NoEnd),
                (Stop::End, _) => return Ok(Node::If { branches, otherwise: Vec::new() }),
                (Stop::Else, Some(next)) => condition = next,
                (Stop::Else, None) => break,
            }
        }
        let (otherwise, end) = self.nodes(depth)?;
        match end {
            Stop::End => Ok(Node::If { branches, otherwise }),
            Stop::Text => Err(TemplateError::NoEnd),
            Stop::Else => Err(wrong(" else ", "there is no if before it")),
        }
    }
}

fn first_word(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

fn action(written: &str, pipeline: &str) -> Result<Action, TemplateError> {
    let mut reader = Reader { written, rest: pipeline };
    let pipe = reader.pipe(0)?;
    if reader.rest.is_empty() {
        Ok(Action { written: written.to_owned(), pipe })
    } else {
        Err(wrong(written, "a parenthesis does not begin"))
    }
}

struct Reader<'a> {
    written: &'a str,
    rest: &'a str,
}

impl Reader<'_> {
    /// A pipeline, up to its end or a closing parenthesis.
    fn pipe(&mut self, depth: usize) -> Result<Pipe, TemplateError> {
        if depth == DEPTH {
            return Err(wrong(self.written, "parentheses stand too deep in each other"));
        }
        let (mut pipe, mut command) = (Pipe::new(), Vec::new());
        loop {
            self.rest = self.rest.trim_start();
            let next = self.rest.chars().next();
            match next {
                None | Some(')' | '|') if command.is_empty() => {
                    return Err(wrong(self.written, "something is missing"));
                }
                None | Some(')') => {
                    pipe.push(command);
                    return Ok(pipe);
                }
                Some('|') => {
                    self.rest = &self.rest[1..];
                    pipe.push(std::mem::take(&mut command));
                }
                Some(_) => command.push(self.operand(depth)?),
            }
        }
    }

    fn operand(&mut self, depth: usize) -> Result<Operand, TemplateError> {
        let unserved = || TemplateError::Unserved(self.written.to_owned());
        if let Some(inner) = self.rest.strip_prefix('(') {
            self.rest = inner;
            let pipe = self.pipe(depth + 1)?;
            self.rest = self
                .rest
                .strip_prefix(')')
                .ok_or_else(|| wrong(self.written, "a parenthesis does not end"))?;
            return Ok(Operand::Inner(pipe));
        }
        if self.rest.starts_with(['"', '`']) {
            let (value, length) = literal(self.rest).ok_or_else(unserved)?;
            self.rest = &self.rest[length..];
            return Ok(Operand::Value(Value::Text(value)));
        }
        let end = self.rest.find(|c: char| c.is_whitespace() || "()|\"`".contains(c));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        let operand = match word {
            ".controlPlane.version" => Operand::Version,
            "true" => Operand::Value(Value::Truth(true)),
            "false" => Operand::Value(Value::Truth(false)),
            other => match (FUNCTIONS.iter().find(|name| **name == other), other.parse()) {
                (Some(name), _) => Operand::Function(name),
                (None, Ok(number)) => Operand::Value(Value::Number(number)),
                (None, Err(_)) => return Err(unserved()),
            },
        };
        self.rest = rest;
        Ok(operand)
    }
}
