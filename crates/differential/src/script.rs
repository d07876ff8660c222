//! The notation of scripts: steps of requests, like the `.http` files of editors.
//!
//! `docs/differential.md` describes it. Nothing here talks to a server.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::pick::{Condition, Pick};

/// A script: what one `.http` file says.
#[derive(Debug)]
pub struct Script {
    /// `area/name`.
    pub name: String,
    /// What it is about: the comment of its first lines.
    pub about: String,
    /// Fixtures whose objects are installed before the first step.
    pub fixtures: Vec<String>,
    /// Whether it has a namespace of its own.
    pub namespace: bool,
    /// What it does, in order.
    pub steps: Vec<Step>,
}

/// One step; its title names its answer.
#[derive(Debug)]
pub struct Step {
    /// Unique in the script.
    pub title: String,
    /// What is done.
    pub action: Action,
    /// What is recorded of the answer.
    pub show: Option<Vec<Show>>,
    /// Whether times are numbered by their order.
    pub times: bool,
    /// How long to wait before it.
    pub sleep: Duration,
}

/// What a step does.
#[derive(Debug)]
pub enum Action {
    /// A request and its answer.
    Request {
        /// The request.
        request: Request,
        /// Repeats the request until this holds of its answer.
        until: Option<Condition>,
    },
    /// Opens a stream of events under the step's title.
    Watch(Request),
    /// Takes the events that came on a stream.
    Events {
        /// The title of the step that opened it.
        stream: String,
        /// How many to wait for.
        count: usize,
        /// How long to wait for more.
        quiet: Duration,
    },
    /// Waits for the end of a stream.
    Closed {
        /// The title of the step that opened it.
        stream: String,
    },
    /// Takes the reviews that the webhooks of this script received.
    Reviews {
        /// How many to wait for.
        count: usize,
    },
}

/// A request as written, variables and all.
#[derive(Debug)]
pub struct Request {
    /// The HTTP method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Real headers, in order.
    pub headers: Vec<(String, String)>,
    /// Who asks.
    pub user: User,
    /// How the body is to be read.
    pub encoding: Encoding,
    /// The body as written; empty means none.
    pub body: String,
    /// Whether to speak HTTP/1.1 over a connection of its own.
    pub http1: bool,
}

/// Who asks.
#[derive(Debug, Clone)]
pub enum User {
    /// One of the users that both servers know: admin, alice or bob.
    Named(String),
    /// Nobody.
    Anonymous,
    /// The holder of a bearer token.
    Token(String),
    /// The holder of a client certificate.
    Certificate {
        /// Its common name.
        name: String,
        /// Its organisations.
        groups: Vec<String>,
    },
}

/// How a body is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// YAML becomes JSON where the content type is JSON; else as it is.
    Usual,
    /// Byte for byte.
    Raw,
    /// Base64, for binary bodies.
    Base64,
}

/// One part of an answer that is recorded.
#[derive(Debug, Clone)]
pub enum Show {
    /// The status line (it is recorded anyway).
    Status,
    /// The headers.
    Headers,
    /// A part of the body.
    Body(Pick),
}

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    /// When it is not written as the notation says; the message names the line.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let lines: Vec<&str> = text.lines().collect();
        let first = lines.iter().position(|line| line.starts_with("### ")).unwrap_or(lines.len());
        let (about, fixtures, namespace) = head(&lines[..first])?;
        let mut steps: Vec<Step> = Vec::new();
        let mut titles = BTreeSet::new();
        let mut at = first;
        while at < lines.len() {
            let end = (at + 1..lines.len()).find(|i| lines[*i].starts_with("### ")).unwrap_or(lines.len());
            let step = step(&lines[at..end]).with_context(|| format!("the step in line {}", at + 1))?;
            ensure!(titles.insert(step.title.clone()), "two steps are called {}", step.title);
            steps.push(step);
            at = end;
        }
        ensure!(!steps.is_empty(), "there is no step; a step begins with a line `### title`");
        Ok(Self { name: name.to_owned(), about, fixtures, namespace, steps })
    }

    /// Reads the file of a script; its name is that of the file and its folder.
    ///
    /// # Errors
    /// When the file cannot be read or is not a script.
    pub fn read(file: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let part = |path: Option<&std::ffi::OsStr>| path.map(|p| p.to_string_lossy().into_owned());
        let area = part(file.parent().and_then(Path::file_name)).context("a script lies in a folder")?;
        let stem = part(file.file_stem()).context("a script has a name")?;
        Self::parse(&format!("{area}/{stem}"), &text)
            .with_context(|| format!("cannot read {}", file.display()))
    }

    /// A word of this script alone, fit for DNS names: `{id}`, and the name of its namespace.
    pub fn id(&self) -> String {
        self.name.replace(['/', '_', '.'], "-")
    }
}

fn head(lines: &[&str]) -> Result<(String, Vec<String>, bool)> {
    let mut about = Vec::new();
    let mut fixtures = Vec::new();
    let mut namespace = true;
    for line in lines {
        if let Some(comment) = line.strip_prefix('#') {
            about.push(comment.trim());
        } else if let Some(names) = line.strip_prefix("@kinds ") {
            fixtures.extend(names.split_whitespace().map(str::to_owned));
        } else if line.trim() == "@namespace none" {
            namespace = false;
        } else {
            ensure!(line.trim().is_empty(), "{line:?} is neither a comment nor a known directive");
        }
    }
    ensure!(!about.is_empty(), "the first line must be a comment that says what the script is about");
    Ok((about.join(" "), fixtures, namespace))
}

/// The pseudo headers of a step.
#[derive(Default)]
struct Extras {
    show: Option<Vec<Show>>,
    until: Option<Condition>,
    sleep: Duration,
    times: bool,
    count: Option<usize>,
    quiet: Option<Duration>,
    user: Option<User>,
    encoding: Option<Encoding>,
    http1: bool,
}

impl Extras {
    /// Takes a pseudo header; false if it is a real one.
    fn take(&mut self, name: &str, value: &str) -> Result<bool> {
        match name {
            "As" => self.user = Some(user(value)?),
            "Body" => {
                self.encoding = Some(match value {
                    "raw" => Encoding::Raw,
                    "base64" => Encoding::Base64,
                    other => bail!("a body is raw or base64, not {other}"),
                });
            }
            "Count" => self.count = Some(value.parse().context("Count is a number")?),
            "Http" => {
                ensure!(value == "1.1", "Http is 1.1 or not given");
                self.http1 = true;
            }
            "Quiet" => self.quiet = Some(duration(value)?),
            "Show" => self.show = Some(show(value)?),
            "Sleep" => self.sleep = duration(value)?,
            "Times" => {
                ensure!(value == "keep order", "Times can only be told to `keep order`");
                self.times = true;
            }
            "Until" => self.until = Some(Condition::parse(value)?),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn step(lines: &[&str]) -> Result<Step> {
    let title = lines[0].trim_start_matches('#').trim().to_owned();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    ensure!(
        title.starts_with(|c: char| c.is_ascii_alphabetic()) && title.chars().all(plain),
        "the title {title:?} must consist of letters, digits and dashes"
    );
    let mut rest = lines[1..].iter().skip_while(|line| line.trim().is_empty() || line.starts_with('#'));
    let (method, path) = rest
        .next()
        .and_then(|line| line.trim().split_once(' '))
        .context("a step needs a line such as `GET /api/v1/namespaces`")?;
    let mut extras = Extras::default();
    let mut headers = Vec::new();
    for line in rest.by_ref() {
        if line.trim().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').with_context(|| format!("{line:?} is not a header"))?;
        if !extras.take(name.trim(), value.trim())? {
            headers.push((name.trim().to_owned(), value.trim().to_owned()));
        }
    }
    let mut body: String = rest.flat_map(|line| [line, "\n"]).collect();
    body.truncate(body.trim_end().len());
    let (show, times, sleep) = (extras.show.take(), extras.times, extras.sleep);
    let action = action(method, path.trim(), headers, body, extras)?;
    Ok(Step { title, action, show, times, sleep })
}

fn action(
    method: &str,
    path: &str,
    headers: Vec<(String, String)>,
    body: String,
    extras: Extras,
) -> Result<Action> {
    let stream = path.to_owned();
    let quiet = extras.quiet.unwrap_or(Duration::from_millis(300));
    let count = extras.count.unwrap_or(0);
    match method {
        "EVENTS" => return Ok(Action::Events { stream, count, quiet }),
        "CLOSED" => return Ok(Action::Closed { stream }),
        "REVIEWS" => return Ok(Action::Reviews { count }),
        _ => {}
    }
    ensure!(extras.count.is_none() && extras.quiet.is_none(), "Count and Quiet belong to EVENTS");
    ensure!(path.starts_with(['/', '{']), "the path {path:?} must begin with a slash");
    let request = Request {
        method: if method == "WATCH" { "GET".to_owned() } else { method.to_owned() },
        path: if method == "WATCH" { watched(path) } else { path.to_owned() },
        headers,
        user: extras.user.unwrap_or(User::Named("admin".to_owned())),
        encoding: extras.encoding.unwrap_or(Encoding::Usual),
        body,
        http1: extras.http1,
    };
    match method {
        "WATCH" => Ok(Action::Watch(request)),
        "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS" => {
            Ok(Action::Request { request, until: extras.until })
        }
        other => bail!("{other:?} is not a method"),
    }
}

/// The path of a watch says that it is one.
fn watched(path: &str) -> String {
    if path.contains("watch=") || path.contains("/watch/") {
        return path.to_owned();
    }
    format!("{path}{}watch=true", if path.contains('?') { '&' } else { '?' })
}

fn user(text: &str) -> Result<User> {
    let words: Vec<&str> = text.split_whitespace().collect();
    Ok(match words.as_slice() {
        ["anonymous"] => User::Anonymous,
        ["token", token] => User::Token((*token).to_owned()),
        ["certificate", name, groups @ ..] => User::Certificate {
            name: (*name).to_owned(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        },
        [name @ ("admin" | "alice" | "bob")] => User::Named((*name).to_owned()),
        _ => bail!("{text:?} is no user; write admin, alice, bob, anonymous, token … or certificate …"),
    })
}

fn show(text: &str) -> Result<Vec<Show>> {
    crate::pick::split(text, ',')
        .into_iter()
        .map(|part| match part.trim() {
            "status" => Ok(Show::Status),
            "headers" => Ok(Show::Headers),
            path => Ok(Show::Body(Pick::parse(path)?)),
        })
        .collect()
}

/// `300ms` or `2s`.
fn duration(text: &str) -> Result<Duration> {
    let number = |text: &str| text.parse::<u64>().with_context(|| format!("{text:?} is not a number"));
    if let Some(text) = text.strip_suffix("ms") {
        return Ok(Duration::from_millis(number(text)?));
    }
    let seconds =
        text.strip_suffix('s').with_context(|| format!("{text:?} is not a time such as 300ms or 2s"))?;
    Ok(Duration::from_secs(number(seconds)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_read() {
        let text = "# Creates a thing.\n@kinds things\n\n### create\nPOST /api/v1/x?a=b\nAs: alice\n\
                    Show: status,.spec\nX-Real: 1\n\nmetadata: {name: a}\n\n### again\nWATCH /api/v1/x\n\n\
                    ### take\nEVENTS again\nCount: 2\nQuiet: 50ms\n";
        let script = Script::parse("area/one", text).unwrap();
        assert_eq!((script.id().as_str(), script.about.as_str()), ("area-one", "Creates a thing."));
        assert_eq!(script.fixtures, ["things"]);
        let Action::Request { request, until: None } = &script.steps[0].action else { panic!() };
        assert_eq!(request.body, "metadata: {name: a}");
        assert_eq!(request.headers, [("X-Real".to_owned(), "1".to_owned())]);
        assert!(matches!(&request.user, User::Named(name) if name == "alice"));
        assert_eq!(script.steps[0].show.as_ref().map(Vec::len), Some(2));
        let Action::Events { stream, count: 2, quiet } = &script.steps[2].action else { panic!() };
        assert_eq!((stream.as_str(), *quiet), ("again", Duration::from_millis(50)));
    }

    #[test]
    fn what_is_not_a_script_is_refused() {
        for (text, why) in [
            ("### a\nGET /\n", "comment"),
            ("# x\n", "no step"),
            ("# x\n@wrong\n### a\nGET /\n", "directive"),
            ("# x\n### a\nGET /\n### a\nGET /\n", "two steps"),
            ("# x\n### a b\nGET /\n", "title"),
            ("# x\n### a\nFETCH /\n", "method"),
            ("# x\n### a\nGET x\n", "slash"),
            ("# x\n### a\nGET /\nAs: carol\n", "user"),
            ("# x\n### a\nGET /\nSleep: 3\n", "time"),
            ("# x\n### a\nGET /\nUntil: gone\n", "condition"),
        ] {
            let said = format!("{:#}", Script::parse("a/b", text).unwrap_err());
            assert!(said.contains(why), "{text:?}: {said}");
        }
    }
}
