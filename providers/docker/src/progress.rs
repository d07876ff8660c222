//! How far a node's boot has come, and what to say about it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::Duration;

use regex::Regex;
use windlass_model::{Condition, Status, Time};

use crate::bootstrap::Plan;

/// Says whether the boot is done.
pub(crate) const STAGE: &str = "BootstrapCompleted";
/// Lines of the log that are quoted.
const LINES: usize = 10;
/// Bytes of the log that are quoted.
const BYTES: usize = 2 << 10;
/// Shortest line of a secret file that is masked: what is shorter is in every log.
const SHORTEST: usize = 12;
/// What stands in for a secret.
const MASK: &str = "<masked>";

/// How far a boot has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing was done yet: the machine starts.
    #[default]
    Waiting,
    /// This step is under way; the first is number 1.
    At(usize),
    /// All was done.
    Complete,
    /// This step failed, with this exit code.
    Failed(usize, i32),
    /// The container was stopped before all was done.
    Interrupted,
}

impl Progress {
    /// Reads a status file from its beginning.
    pub(crate) fn read(status: &str) -> Self {
        status.lines().fold(Self::Waiting, Self::next)
    }

    /// After one more line. What nobody understands changes nothing.
    pub(crate) fn next(self, line: &str) -> Self {
        let words: Vec<_> = line.split(' ').collect();
        let number = |word: &str| word.parse::<usize>().ok();
        match words.as_slice() {
            ["complete"] => Self::Complete,
            ["interrupted"] => Self::Interrupted,
            [step, "start" | "ok"] => number(step).map_or(self, Self::At),
            [step, "failed", code] => {
                number(step).map_or(self, |step| Self::Failed(step, code.parse().unwrap_or(1)))
            }
            _ => self,
        }
    }

    /// Whether it will never change again.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Complete | Self::Failed(..) | Self::Interrupted)
    }
}

/// What is known of one boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Boot {
    pub(crate) plan: Plan,
    pub(crate) progress: Progress,
    /// How the log ends, masked. Only read once the boot went wrong.
    pub(crate) log: String,
    /// When the container was made.
    pub(crate) since: Time,
}

impl Boot {
    /// From what lies in the container, by its names in the archive of the bootstrap folder.
    pub(crate) fn read(files: &BTreeMap<String, Vec<u8>>, since: Time) -> Option<Self> {
        let text = |name: &str| files.get(&format!("bootstrap/{name}")).map(|it| String::from_utf8_lossy(it));
        let mut plan: Plan = serde_json::from_str(&text("plan.json")?).ok()?;
        let progress = Progress::read(&text("state/status").unwrap_or_default());
        let secret = plan.steps.iter().filter(|step| step.secret);
        let mask = Mask::new(secret.filter_map(|step| text(&step.staged)).map(std::borrow::Cow::into_owned));
        for step in &mut plan.steps {
            step.text = mask.over(&step.text);
        }
        let log = tail(&mask.over(&text("state/log").unwrap_or_default()));
        Some(Self { plan, progress, log, since })
    }

    /// When it is too late.
    pub(crate) fn deadline(&self) -> Time {
        self.since.after(Duration::from_secs(self.plan.timeout_seconds))
    }

    /// Whether the end of the log matters now.
    pub(crate) fn needs_log(&self, now: Time) -> bool {
        self.log.is_empty()
            && match self.progress {
                Progress::Failed(..) | Progress::Interrupted => true,
                Progress::Waiting | Progress::At(_) => now >= self.deadline(),
                Progress::Complete => false,
            }
    }

    /// What to say.
    pub(crate) fn condition(&self, container: &str, running: bool, now: Time) -> Condition {
        let is = |status, reason: &'static str| Condition::new(STAGE, status, reason);
        let failed = |what: String| {
            is(Status::False, "BootstrapFailed").because(self.report(&what, container, running))
        };
        match &self.progress {
            Progress::Complete => is(Status::True, "Completed").because(self.ignored()),
            Progress::Failed(step, code) => {
                failed(format!("{} ended with exit code {code}", self.step(*step)))
            }
            Progress::Interrupted => failed("the container was stopped in the middle of it".to_owned()),
            Progress::At(step) if !running => {
                failed(format!("the container was stopped during {}", self.step(*step)))
            }
            Progress::Waiting if !running => is(Status::False, "WaitingForContainer"),
            Progress::Waiting | Progress::At(_) if now >= self.deadline() => {
                let at = match self.progress {
                    Progress::At(step) => format!("it is at {}", self.step(step)),
                    _ => "nothing has run; does the image run systemd?".to_owned(),
                };
                let limit = self.plan.timeout_seconds;
                let what = format!("it is not done after {limit} s: {at}");
                is(Status::False, "BootstrapTimedOut").because(self.report(&what, container, running))
            }
            Progress::Waiting => is(Status::False, "WaitingForBoot"),
            Progress::At(step) => is(Status::False, "WaitingForBootstrap").because(self.step(*step)),
        }
    }

    /// A step for people.
    fn step(&self, number: usize) -> String {
        let all = self.plan.steps.len();
        match number.checked_sub(1).and_then(|index| self.plan.steps.get(index)) {
            Some(step) => format!("`{}` (step {number} of {all})", step.text),
            None => format!("step {number} of {all}"),
        }
    }

    fn ignored(&self) -> String {
        if self.plan.ignored.is_empty() {
            return String::new();
        }
        format!("not done, as containers have no use for it: {}", self.plan.ignored.join(", "))
    }

    /// What went wrong, how the log ends, and what to do.
    fn report(&self, what: &str, container: &str, running: bool) -> String {
        let log = if self.log.is_empty() {
            "the log is empty".to_owned()
        } else {
            let quoted: Vec<_> = self.log.lines().map(|line| format!("  | {line}")).collect();
            format!("the log ends with:\n{}", quoted.join("\n"))
        };
        let see = if running {
            format!("`docker exec {container} cat {}/state/log` shows all of it", crate::bootstrap::FOLDER)
        } else {
            format!("`docker cp {container}:{}/state/log -` shows all of it", crate::bootstrap::FOLDER)
        };
        format!(
            "bootstrap failed: {what}; {log}\n{see}. Correct what it ran (mostly the KubeadmConfig), then delete the \
             Machine: bootstrap is never repeated"
        )
    }
}

/// The last lines of a log, without colours and other things that only terminals understand.
fn tail(log: &str) -> String {
    static TERMINAL: LazyLock<Regex> = LazyLock::new(|| {
        #[expect(clippy::expect_used, reason = "the expression is a constant")]
        Regex::new(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[@-_]|[\x00-\x08\x0b-\x1f\x7f]")
            .expect("the expression is valid")
    });
    let log = TERMINAL.replace_all(log, "");
    let lines: Vec<_> = log.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(LINES)..].join("\n");
    let cut = last.len().saturating_sub(BYTES);
    let start = (cut..=last.len()).find(|at| last.is_char_boundary(*at)).unwrap_or_default();
    last[start..].to_owned()
}

/// Hides secrets in texts.
pub(crate) struct Mask {
    /// Lines of secret files.
    known: BTreeSet<String>,
}

impl Mask {
    /// Hides what is in these files, beside what looks like a secret.
    pub(crate) fn new(files: impl IntoIterator<Item = String>) -> Self {
        let mut known = BTreeSet::new();
        for file in files {
            let lines = file.lines().map(str::trim).filter(|line| line.len() >= SHORTEST);
            // A value may be shown without its key, as in `token: …`.
            let words = lines.flat_map(|line| std::iter::once(line).chain(line.split([' ', '"', '\'', '='])));
            known.extend(words.filter(|word| word.len() >= SHORTEST).map(str::to_owned));
        }
        Self { known }
    }

    /// The text without secrets.
    pub(crate) fn over(&self, text: &str) -> String {
        static LOOKS: LazyLock<Regex> = LazyLock::new(|| {
            #[expect(clippy::expect_used, reason = "the expression is a constant")]
            Regex::new(concat!(
                r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\z)",
                r"|\b[a-z0-9]{6}\.[a-z0-9]{16}\b",
                // Keys of certificates, not hashes: those say what they are.
                r"|(?P<hash>sha256:)?\b[0-9a-f]{64}\b",
            ))
            .expect("the expression is valid")
        });
        let text = LOOKS.replace_all(text, |found: &regex::Captures<'_>| match found.name("hash") {
            Some(_) => found[0].to_owned(),
            None => MASK.to_owned(),
        });
        // The longest first: a part of a line must not uncover the rest of it.
        let mut known: Vec<_> = self.known.iter().filter(|secret| text.contains(secret.as_str())).collect();
        known.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        known.into_iter().fold(text.into_owned(), |text, secret| text.replace(secret, MASK))
    }
}

#[cfg(test)]
mod tests {
    use crate::bootstrap::Planned;

    use super::*;

    /// A boot of two files and a command, made at second 0 with five minutes of time, as it lies in a container.
    fn boot(status: &str, log: &str) -> Boot {
        let step = |text: &str, staged: &str, secret, slow| Planned {
            text: text.to_owned(),
            staged: staged.to_owned(),
            secret,
            slow,
        };
        let plan = Plan {
            timeout_seconds: 300,
            ignored: vec!["ntp".to_owned()],
            steps: vec![
                step("write /etc/key", "files/1", true, false),
                step("write /etc/open", "files/2", false, false),
                step("kubeadm join --token abcdef.0123456789abcdef", "commands/3", false, true),
            ],
        };
        let files = [
            ("plan.json", serde_json::to_vec(&plan).unwrap()),
            ("state/status", status.into()),
            ("state/log", log.into()),
            ("files/1", b"password: hunter2-hunter2\nshort\n".to_vec()),
            ("files/2", b"nothing to hide here\n".to_vec()),
        ];
        let files = files.map(|(name, content)| (format!("bootstrap/{name}"), content)).into();
        Boot::read(&files, Time::from_secs(0)).unwrap()
    }

    fn told(status: &str, log: &str, running: bool, seconds: i64) -> Condition {
        boot(status, log).condition("c1-a", running, Time::from_secs(seconds))
    }

    #[test]
    fn each_state_has_its_condition() {
        const JOIN: &str = "`kubeadm join --token <masked>` (step 3 of 3)";
        let at_join = "1 start\n1 ok\n2 start\n2 ok\n3 start\n";
        for (status, running, seconds, reason, says) in [
            ("", true, 1, "WaitingForBoot", String::new()),
            (
                "",
                true,
                300,
                "BootstrapTimedOut",
                "not done after 300 s: nothing has run; does the image".to_owned(),
            ),
            ("", false, 1, "WaitingForContainer", String::new()),
            (at_join, true, 299, "WaitingForBootstrap", JOIN.to_owned()),
            (at_join, true, 300, "BootstrapTimedOut", format!("not done after 300 s: it is at {JOIN}")),
            (at_join, false, 9, "BootstrapFailed", format!("the container was stopped during {JOIN}")),
            (
                "3 start\n3 failed 7\n",
                true,
                9,
                "BootstrapFailed",
                format!("{JOIN} ended with exit code 7; the log"),
            ),
            ("3 start\ninterrupted\n", true, 9, "BootstrapFailed", "stopped in the middle".to_owned()),
            (
                "3 ok\ncomplete\n",
                true,
                999,
                "Completed",
                "not done, as containers have no use for it: ntp".to_owned(),
            ),
            ("3 ok\ncomplete\n", false, 999, "Completed", String::new()),
            ("what is this\n3 start\nand this\n", true, 9, "WaitingForBootstrap", JOIN.to_owned()),
        ] {
            let condition = told(status, "", running, seconds);
            assert_eq!(condition.reason, reason, "{status:?}");
            assert_eq!(condition.is_true(), reason == "Completed", "{status:?}");
            assert!(condition.message.contains(&says), "{status:?}: {}", condition.message);
        }
    }

    #[test]
    fn a_failure_quotes_the_end_of_the_log_and_says_what_to_do() {
        let log: Vec<_> = (1..=20).map(|line| format!("line {line}")).collect();
        let message = told("3 failed 1\n", &log.join("\n"), true, 9).message;
        assert!(
            message.contains("the log ends with:\n  | line 11\n") && !message.contains("line 10\n"),
            "{message}"
        );
        assert!(message.contains("`docker exec c1-a cat /opt/windlass/bootstrap/state/log`"), "{message}");
        assert!(message.ends_with("delete the Machine: bootstrap is never repeated"), "{message}");
        let coloured = "\x1b[0;37mCGROUPS\x1b[0m: \x1b[0;32menabled\x1b[0m\r\n";
        let message = told("3 failed 1\n", coloured, true, 9).message;
        assert!(message.contains("  | CGROUPS: enabled\n"), "{message:?}");
        let message = told("3 failed 1\n", &"ä".repeat(BYTES), true, 9).message;
        assert!(message.len() < BYTES + 600, "{}", message.len());
    }

    #[test]
    fn the_log_is_read_only_where_it_matters() {
        for (status, seconds, needed) in [
            ("1 start\n", 9, false),
            ("1 start\n", 300, true),
            ("1 failed 1\n", 9, true),
            ("complete\n", 999, false),
        ] {
            assert_eq!(boot(status, "").needs_log(Time::from_secs(seconds)), needed, "{status:?}");
            assert!(!boot(status, "said").needs_log(Time::from_secs(seconds)));
        }
    }

    #[test]
    fn secrets_are_masked_and_nothing_else() {
        let hash = "a".repeat(64);
        let mask = Mask::new(["password: hunter2-hunter2\nshort\n  indented secret line\n".to_owned()]);
        for (text, shown) in [
            ("--token abcdef.0123456789abcdef now".to_owned(), "--token <masked> now"),
            (format!("--certificate-key {hash}"), "--certificate-key <masked>"),
            (format!("--discovery-token-ca-cert-hash sha256:{hash}"), "sha256:aaaa"),
            ("got hunter2-hunter2!".to_owned(), "got <masked>!"),
            ("> password: hunter2-hunter2".to_owned(), "> <masked>"),
            ("indented secret line".to_owned(), "<masked>"),
            ("short".to_owned(), "short"),
            (
                "a -----BEGIN RSA PRIVATE KEY-----\nxx\n-----END RSA PRIVATE KEY----- b".to_owned(),
                "a <masked> b",
            ),
            ("a -----BEGIN EC PRIVATE KEY-----\nxx".to_owned(), "a <masked>"),
            ("https://example.com/index.html".to_owned(), "https://example.com/index.html"),
        ] {
            let masked = mask.over(&text);
            assert!(masked.contains(shown), "{text} became {masked}");
        }
    }
}
