//! Text → pieces.

/// A stretch of text, or a variable and what to do with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Text(String),
    Variable { name: String, op: Op },
}

/// What happens to a value before it is inserted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Plain,
    Length,
    Case { upper: bool, all: bool },
    Default(Vec<Piece>),
    Substring { from: Vec<Piece>, length: Option<Vec<Piece>> },
    Trim { suffix: bool, longest: bool, glob: Vec<Piece> },
    Replace { place: Place, old: Vec<Piece>, new: Vec<Piece> },
}

/// Which occurrences a replacement means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    First,
    All,
    Prefix,
    Suffix,
}

impl Op {
    /// The arguments, which may hold variables of their own.
    pub fn arguments(&self) -> Vec<&[Piece]> {
        match self {
            Self::Plain | Self::Length | Self::Case { .. } => Vec::new(),
            Self::Default(default) => vec![default],
            Self::Substring { from, length } => {
                std::iter::once(from).chain(length).map(Vec::as_slice).collect()
            }
            Self::Trim { glob, .. } => vec![glob],
            Self::Replace { old, new, .. } => vec![old, new],
        }
    }
}

/// Where and why a template cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ParseError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub what: String,
}

/// Parses a whole template.
pub fn parse(text: &str) -> Result<Vec<Piece>, ParseError> {
    let mut parser = Parser { text, at: 0 };
    parser.pieces(&[], false)
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Parser<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn take(&mut self, prefix: &str) -> bool {
        let found = self.rest().starts_with(prefix);
        if found {
            self.at += prefix.len();
        }
        found
    }

    fn error<T>(&self, what: String) -> Result<T, ParseError> {
        let line = self.text[..self.at].bytes().filter(|byte| *byte == b'\n').count() + 1;
        Err(ParseError { line, what })
    }

    /// Pieces up to one of `ends` (not consumed) or, at the top level, the end of the text.
    fn pieces(&mut self, ends: &[char], inside: bool) -> Result<Vec<Piece>, ParseError> {
        let mut pieces = Vec::new();
        let mut text = String::new();
        while let Some(next) = self.rest().chars().next() {
            if ends.contains(&next) {
                break;
            }
            if self.take("$${") {
                text.push_str("${");
            } else if self.take("${") {
                if !text.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                }
                pieces.push(self.variable()?);
            } else {
                self.at += next.len_utf8();
                text.push(if inside && next == '\\' { self.escaped() } else { next });
            }
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Ok(pieces)
    }

    /// The character behind a backslash if that escapes it, else the backslash.
    fn escaped(&mut self) -> char {
        match self.rest().chars().next() {
            Some(next @ ('/' | '}' | '\\' | '$')) => {
                self.at += next.len_utf8();
                next
            }
            Some(_) | None => '\\',
        }
    }

    /// What follows `${`, up to and with the closing brace.
    fn variable(&mut self) -> Result<Piece, ParseError> {
        let start = self.at;
        let length = self.take("#");
        let name = self.name()?;
        let op = if length { Op::Length } else { self.op()? };
        if !self.take("}") {
            self.at = start;
            let shown = self.rest().lines().next().unwrap_or_default();
            return self.error(format!("`${{{shown}` is never closed"));
        }
        Ok(Piece::Variable { name, op })
    }

    fn name(&mut self) -> Result<String, ParseError> {
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let padded = self.rest();
        let trimmed = padded.trim_start_matches(' ');
        let end = trimmed.find(|c| !legal(c)).unwrap_or(trimmed.len());
        let name = &trimmed[..end];
        let after = trimmed[end..].trim_start_matches(' ');
        // Spaces belong to the name only in the plain, padded form.
        let rest = if after.starts_with('}') { after } else { &trimmed[end..] };
        let bad = name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || rest.starts_with(' ');
        if bad {
            let shown = padded.split(['}', '\n']).next().unwrap_or_default();
            return self.error(format!("`{shown}` is not a variable name"));
        }
        self.at += padded.len() - rest.len();
        Ok(name.to_owned())
    }

    fn op(&mut self) -> Result<Op, ParseError> {
        let brace = ['}'];
        if self.take(":=") || self.take(":-") || self.take("=") {
            return Ok(Op::Default(self.pieces(&brace, true)?));
        }
        for (sign, upper, all) in
            [("^^", true, true), ("^", true, false), (",,", false, true), (",", false, false)]
        {
            if self.take(sign) {
                return Ok(Op::Case { upper, all });
            }
        }
        for (sign, suffix, longest) in
            [("##", false, true), ("#", false, false), ("%%", true, true), ("%", true, false)]
        {
            if self.take(sign) {
                return Ok(Op::Trim { suffix, longest, glob: self.pieces(&brace, true)? });
            }
        }
        for (sign, place) in
            [("//", Place::All), ("/#", Place::Prefix), ("/%", Place::Suffix), ("/", Place::First)]
        {
            if self.take(sign) {
                let old = self.pieces(&['/', '}'], true)?;
                let new = if self.take("/") { self.pieces(&brace, true)? } else { Vec::new() };
                return Ok(Op::Replace { place, old, new });
            }
        }
        if self.rest().starts_with(':') && !self.rest().starts_with(":?") && !self.rest().starts_with(":+") {
            self.at += 1;
            let from = self.pieces(&[':', '}'], true)?;
            let length = if self.take(":") { Some(self.pieces(&brace, true)?) } else { None };
            return Ok(Op::Substring { from, length });
        }
        if self.rest().is_empty() || self.rest().starts_with('}') || self.rest().starts_with('\n') {
            return Ok(Op::Plain);
        }
        let sign: String = self.rest().chars().take_while(char::is_ascii_punctuation).take(2).collect();
        self.error(format!("`{sign}` is no operator here"))
    }
}
