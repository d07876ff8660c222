//! Makes equal what differs from run to run in what clients print.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use regex::{Captures, Regex};

/// What a pattern's text becomes.
const REPLACED: [(&str, &str); 14] = [
    // Ours alone says that nothing runs workloads; a real server does not know that.
    (r"^! .*windlass: nothing runs .*\n", ""),
    // A client that is done says so of its watches, or does not: nobody waits for them.
    (r"^! .*watch stream: context canceled.*\n", ""),
    // Where the server and the files are.
    (r"(https://)?127\.0\.0\.1:\d+", "<server>"),
    // Signed anew each time.
    (r"eyJ[A-Za-z0-9_-]+\.eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", "<token>"),
    // The time of the run: RFC 3339, RFC 1123, and as Helm writes it.
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", "<time>"),
    (r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}", "<time>"),
    (r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun) [A-Z][a-z]{2} +\d+ \d\d:\d\d:\d\d \d{4}", "<time>"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ [+-]\d{4} UTC *", "<time>"),
    (r"UPDATED +", "UPDATED "),
    // In descriptions of custom objects.
    (r"Resource Version: +\d+", "Resource Version: <rv>"),
    // What the client logs: time, process, line.
    (r"^(! )?([IWEF])\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ [a-z_]+\.go:\d+\]", "$1$2 <log>]"),
    // How long ago something was, and the blanks that follow in a table.
    (r"(^|[ \t(])(\d+[dhm])*\d+(ms|[smhd])( ago)?[ \t]+", "${1}<age>   "),
    (r"(^|[ \t(])(\d+[dhm])*\d+(\.\d+)?(ms|µs|[smhd])( ago)?($|\))", "${1}<age>$6"),
    (r"[ \t]+$", ""),
];

/// What one play has seen.
#[derive(Debug)]
pub struct Normaliser {
    replaced: Vec<(Regex, &'static str)>,
    uid: Regex,
    revision: Regex,
    folder: String,
    uids: BTreeMap<String, usize>,
    revisions: BTreeMap<String, usize>,
}

impl Normaliser {
    /// For commands that run in `folder`.
    ///
    /// # Errors
    /// Never: the patterns are tested.
    pub fn new(folder: &Path) -> Result<Self> {
        let replaced = REPLACED
            .into_iter()
            .map(|(pattern, with)| Ok((Regex::new(&format!("(?m){pattern}"))?, with)))
            .collect::<Result<_>>()?;
        Ok(Self {
            replaced,
            uid: Regex::new(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")?,
            revision: Regex::new(r#"(resourceVersion\\?"?[:=] ?\\?")(\d+)(\\?")"#)?,
            folder: folder.display().to_string(),
            uids: BTreeMap::new(),
            revisions: BTreeMap::new(),
        })
    }

    /// The text of one command.
    pub fn apply(&mut self, text: &str) -> String {
        let mut text = text.replace(&self.folder, "<folder>");
        text =
            number(&self.uid, &mut self.uids, &text, |found, uids| format!("<uid:{}>", nth(uids, &found[0])));
        text = number(&self.revision, &mut self.revisions, &text, |found, revisions| {
            format!("{}<rv:{}>{}", &found[1], nth(revisions, &found[2]), &found[3])
        });
        for (pattern, with) in &self.replaced {
            text = pattern.replace_all(&text, *with).into_owned();
        }
        text
    }
}

fn number(
    pattern: &Regex,
    seen: &mut BTreeMap<String, usize>,
    text: &str,
    with: impl Fn(&Captures<'_>, &mut BTreeMap<String, usize>) -> String,
) -> String {
    pattern.replace_all(text, |found: &Captures<'_>| with(found, seen)).into_owned()
}

/// The number of a text: by first appearance.
fn nth(seen: &mut BTreeMap<String, usize>, text: &str) -> usize {
    let next = seen.len() + 1;
    *seen.entry(text.to_owned()).or_insert(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_run_to_run_is_made_equal() {
        let mut normaliser = Normaliser::new(Path::new("/tmp/x")).unwrap();
        for (text, expected) in [
            ("a   1      3m2s", "a   1      <age>"),
            ("a   3s    b", "a   <age>   b"),
            ("a   12s   b", "a   <age>   b"),
            ("resourceVersion: \"12\"", "resourceVersion: \"<rv:1>\""),
            ("resourceVersion=\"12\"", "resourceVersion=\"<rv:1>\""),
            ("\"resourceVersion\": \"13\"", "\"resourceVersion\": \"<rv:2>\""),
            ("uid: 11111111-2222-3333-4444-555555555555", "uid: <uid:1>"),
            ("https://127.0.0.1:4000/api", "<server>/api"),
            ("at /tmp/x/a  ", "at <folder>/a"),
            ("Sat, 21 Nov 2026 19:51:00 +0000", "<time>"),
            ("creationTimestamp: \"2026-11-21T19:51:00Z\"", "creationTimestamp: \"<time>\""),
            ("E1121 19:51:00.123456   12 memcache.go:265] x", "E <log>] x"),
            ("size 5 of 10Mi", "size 5 of 10Mi"),
        ] {
            assert_eq!(normaliser.apply(text), expected, "{text}");
        }
    }
}
