//! What is put into a container before it starts, so that the node bootstraps itself: a script, what it
//! needs, and a unit that runs it once.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use windlass_provider::bootstrap::{Boot, Command, File, Step};

/// Where all of it is in the container: neither in `/var`, a volume, nor in `/run` or `/tmp`, which start empty.
pub(crate) const FOLDER: &str = "/opt/windlass/bootstrap";
/// The unit.
const UNIT: &str = "etc/systemd/system/windlass-bootstrap.service";
/// What makes systemd start it.
const WANTED: &str = "etc/systemd/system/multi-user.target.wants/windlass-bootstrap.service";
/// Permissions of a file that names none, as cloud-init has it.
const MODE: u32 = 0o644;
/// What anybody but the owner may do.
const OTHERS: u32 = 0o077;

/// What a node will do, for people. It stays in the container, so that a restarted Windlass knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// How long all of it may take, in seconds.
    pub(crate) timeout_seconds: u64,
    /// What the data asks for and nobody does.
    pub(crate) ignored: Vec<String>,
    /// The steps; the first one is number 1.
    pub(crate) steps: Vec<Planned>,
}

/// One step for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Planned {
    /// What is done, on one line. A command may name secrets: mask it before it is shown.
    pub(crate) text: String,
    /// What it reads, below [`FOLDER`].
    pub(crate) staged: String,
    /// What it reads is nobody else's business: it must be masked wherever it shows up.
    pub(crate) secret: bool,
    /// Whether it takes time: a command, not a file.
    pub(crate) slow: bool,
}

/// Everything that goes into the container. No Debug: it holds secrets.
pub(crate) struct Staging {
    pub(crate) plan: Plan,
    script: String,
    /// Name below [`FOLDER`] to content.
    files: BTreeMap<String, Vec<u8>>,
}

impl Staging {
    /// For a boot, after these images (names of files that are uploaded besides) were loaded.
    pub(crate) fn new(boot: &Boot, images: &[String], timeout: Duration) -> Self {
        let plan = Plan { timeout_seconds: timeout.as_secs(), ignored: boot.ignored.clone(), steps: vec![] };
        let mut staging = Self { plan, script: String::new(), files: BTreeMap::new() };
        for (index, image) in images.iter().enumerate() {
            let staged = image_file(index);
            let text = format!("load the image {image}");
            staging.add("load", "", Planned { text, staged, secret: false, slow: true });
        }
        for step in &boot.steps {
            staging.step(step);
        }
        staging
    }

    fn step(&mut self, step: &Step) {
        let number = self.plan.steps.len() + 1;
        let text = one_line(&step.display());
        match step {
            Step::Write(file) => {
                let staged = format!("files/{number}");
                self.files.insert(staged.clone(), file.content.clone());
                let others = file.mode.unwrap_or(MODE) & OTHERS;
                let secret = others == 0 || holds_key(&file.content);
                self.add("write", &arguments(file), Planned { text, staged, secret, slow: false });
            }
            Step::Run(command) => self.command(number, script(command), text, false),
            Step::User(user) => self.command(number, user.script().into_exposed(), text, true),
        }
    }

    fn command(&mut self, number: usize, script: String, text: String, secret: bool) {
        let staged = format!("commands/{number}");
        self.files.insert(staged.clone(), script.into_bytes());
        self.add("run", "", Planned { text, staged, secret, slow: true });
    }

    fn add(&mut self, how: &str, arguments: &str, step: Planned) {
        let number = self.plan.steps.len() + 1;
        let space = if arguments.is_empty() { "" } else { " " };
        // Writing to a String does not fail.
        let _ = writeln!(self.script, "    step {number} {how} {}{space}{arguments}", step.staged);
        self.plan.steps.push(step);
    }

    /// The script that runs all steps.
    pub(crate) fn script(&self) -> String {
        include_str!("bootstrap/run.sh").replace("#STEPS#\n", &self.script)
    }

    /// The archive to unpack at the container's root.
    pub(crate) fn archive(&self) -> std::io::Result<Vec<u8>> {
        let mut archive = Archive::new();
        let folder = FOLDER.trim_start_matches('/');
        archive.folder("opt/windlass", 0o755)?;
        archive.folder("opt/windlass/images", 0o700)?;
        for below in ["", "/files", "/commands", "/state"] {
            archive.folder(&format!("{folder}{below}"), 0o700)?;
        }
        // There from the beginning, so that it can be watched.
        archive.file(&format!("{folder}/state/status"), 0o600, b"")?;
        archive.file(&format!("{folder}/run"), 0o700, self.script().as_bytes())?;
        let plan = serde_json::to_vec(&self.plan)?;
        archive.file(&format!("{folder}/plan.json"), 0o600, &plan)?;
        for (name, content) in &self.files {
            archive.file(&format!("{folder}/{name}"), 0o600, content)?;
        }
        archive.file(UNIT, 0o644, include_bytes!("bootstrap/unit.service"))?;
        archive.link(WANTED, "../windlass-bootstrap.service")?;
        archive.finish()
    }
}

/// Where an image to load is, seen from [`FOLDER`]: beside it, for it is large, and the folder is read whole.
fn image_file(index: usize) -> String {
    format!("../images/{index}.tar")
}

/// The same from the container's root.
pub(crate) fn image_path(index: usize) -> String {
    format!("opt/windlass/images/{index}.tar")
}

/// A tar archive in which everything belongs to root.
pub(crate) struct Archive(tar::Builder<Vec<u8>>);

impl Archive {
    pub(crate) fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn header(kind: tar::EntryType, mode: u32, size: usize) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size as u64);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header
    }

    fn folder(&mut self, path: &str, mode: u32) -> std::io::Result<()> {
        let mut header = Self::header(tar::EntryType::Directory, mode, 0);
        self.0.append_data(&mut header, format!("{path}/"), std::io::empty())
    }

    pub(crate) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> std::io::Result<()> {
        let mut header = Self::header(tar::EntryType::Regular, mode, content.len());
        self.0.append_data(&mut header, path, content)
    }

    fn link(&mut self, path: &str, to: &str) -> std::io::Result<()> {
        let mut header = Self::header(tar::EntryType::Symlink, 0o777, 0);
        self.0.append_link(&mut header, path, to)
    }

    pub(crate) fn finish(self) -> std::io::Result<Vec<u8>> {
        self.0.into_inner()
    }

    /// The header of a file that follows in pieces.
    pub(crate) fn file_header(path: &str, mode: u32, size: u64) -> std::io::Result<Vec<u8>> {
        let mut header = Self::header(tar::EntryType::Regular, mode, 0);
        header.set_size(size);
        header.set_path(path)?;
        header.set_cksum();
        Ok(header.as_bytes().to_vec())
    }
}

/// Arguments of the script's `write` after the staged file.
fn arguments(file: &File) -> String {
    let how = if file.append { "append" } else { "replace" };
    let owner = file.owner.as_deref().filter(|owner| !owner.is_empty()).unwrap_or("root:root");
    format!("{} {:04o} {} {how}", quote(&file.path), file.mode.unwrap_or(MODE), quote(owner))
}

/// A command as a script of its own.
fn script(command: &Command) -> String {
    match command {
        Command::Shell(text) => format!("{text}\n"),
        Command::Argv(words) => {
            let words: Vec<_> = words.iter().map(|word| quote(word)).collect();
            format!("exec {}\n", words.join(" "))
        }
    }
}

/// A word for the shell.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Whether a content is or holds a private key, whatever its permissions say.
fn holds_key(content: &[u8]) -> bool {
    let needle = b"PRIVATE KEY-----";
    content.windows(needle.len()).any(|window| window == needle)
}

/// A text of several lines or of great length, for one line.
fn one_line(text: &str) -> String {
    const LONGEST: usize = 160;
    let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() > LONGEST {
        line = line.chars().take(LONGEST - 1).chain(['…']).collect();
    }
    line
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::process;

    use windlass_provider::bootstrap::User;

    use super::*;

    fn file(path: &str, content: &str, mode: Option<u32>, append: bool) -> Step {
        let (path, content) = (path.to_owned(), content.as_bytes().to_vec());
        Step::Write(File { path, content, owner: None, mode, append })
    }

    fn shell(text: &str) -> Step {
        Step::Run(Command::Shell(text.to_owned()))
    }

    fn boot(steps: Vec<Step>) -> Boot {
        Boot { steps, ignored: vec![] }
    }

    const TIMEOUT: Duration = Duration::from_mins(5);

    #[test]
    fn the_script_has_a_line_for_each_step() {
        let user = User { name: "ann".to_owned(), ..User::default() };
        let steps = vec![
            file("/etc/it's", "x", Some(0o600), true),
            Step::Run(Command::Argv(vec!["echo".to_owned(), "a b".to_owned()])),
            shell("kubeadm init\necho more"),
            Step::User(user),
        ];
        let staging = Staging::new(&boot(steps), &["nginx:1".to_owned()], TIMEOUT);
        assert_eq!(
            staging.script,
            "    step 1 load ../images/0.tar\n    \
                 step 2 write files/2 '/etc/it'\\''s' 0600 'root:root' append\n    \
                 step 3 run commands/3\n    step 4 run commands/4\n    step 5 run commands/5\n"
        );
        assert_eq!(staging.files["commands/3"], b"exec 'echo' 'a b'\n");
        let told: Vec<_> = staging.plan.steps.iter().map(|step| (step.text.as_str(), step.secret)).collect();
        assert_eq!(
            told,
            [
                ("load the image nginx:1", false),
                ("write /etc/it's", true),
                ("echo a b", false),
                ("kubeadm init …", false),
                ("create the user ann", true),
            ]
        );
    }

    #[test]
    fn the_archive_is_roots_and_nobody_else_can_read_it() {
        let staging = Staging::new(&boot(vec![file("/x", "secret", None, false)]), &[], TIMEOUT);
        let archive = staging.archive().unwrap();
        let mut seen = Vec::new();
        for entry in tar::Archive::new(&*archive).entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
            seen.push(format!("{:o} {}", header.mode().unwrap(), entry.path().unwrap().display()));
        }
        for expected in [
            "700 opt/windlass/bootstrap/",
            "600 opt/windlass/bootstrap/files/1",
            "600 opt/windlass/bootstrap/plan.json",
            "644 etc/systemd/system/windlass-bootstrap.service",
        ] {
            assert!(seen.contains(&expected.to_owned()), "{expected} is not in {seen:?}");
        }
    }

    /// Runs the script for steps in a folder that stands for the container; says what status, log and exit
    /// code are. The second run is a restart of the container.
    fn run(folder: &std::path::Path, steps: Vec<Step>) -> (String, String, i32) {
        let here = folder.join("bootstrap");
        let staging = Staging::new(&boot(steps), &[], TIMEOUT);
        for below in ["state", "files", "commands"] {
            fs::create_dir_all(here.join(below)).unwrap();
        }
        for (name, content) in &staging.files {
            fs::write(here.join(name), content).unwrap();
        }
        let owner = process::Command::new("id").arg("-u").output().unwrap().stdout;
        let owner = format!("'{}'", String::from_utf8(owner).unwrap().trim());
        let script = staging.script().replace(FOLDER, here.to_str().unwrap()).replace("'root:root'", &owner);
        fs::write(here.join("run"), script).unwrap();
        let done = process::Command::new("/bin/sh").arg(here.join("run")).output().unwrap();
        let read = |name: &str| fs::read_to_string(here.join("state").join(name)).unwrap_or_default();
        (read("status"), read("log"), done.status.code().unwrap())
    }

    #[test]
    fn steps_are_done_in_order_and_only_once() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("etc/a b/it's");
        let path = target.to_str().unwrap();
        let steps = || {
            vec![
                file(path, "one\n", Some(0o640), false),
                file(path, "two\n", Some(0o640), true),
                shell(&format!("cat '{}' && echo said", path.replace('\'', r"'\''"))),
            ]
        };
        let (status, log, code) = run(folder.path(), steps());
        assert_eq!(status, "1 start\n1 ok\n2 start\n2 ok\n3 start\n3 ok\ncomplete\n");
        assert_eq!((log.as_str(), code), ("one\ntwo\nsaid\n", 0));
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(!folder.path().join("bootstrap/files").exists(), "what was staged is left");

        fs::write(&target, "changed").unwrap();
        let (again, _, code) = run(folder.path(), steps());
        assert_eq!((again, code), (status, 0), "a restart runs nothing");
        assert_eq!(fs::read_to_string(&target).unwrap(), "changed");
    }

    #[test]
    fn a_failing_step_is_the_last_one() {
        let folder = tempfile::tempdir().unwrap();
        let steps = vec![shell("echo before"), shell("echo why >&2; exit 7"), shell("echo after")];
        let (status, log, code) = run(folder.path(), steps);
        assert_eq!(status, "1 start\n1 ok\n2 start\n2 failed 7\n");
        assert_eq!((log.as_str(), code), ("before\nwhy\n", 7));
    }

    #[test]
    fn a_boot_that_was_cut_off_says_so_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("bootstrap/state")).unwrap();
        fs::write(folder.path().join("bootstrap/state/started"), "").unwrap();
        let (status, log, _) = run(folder.path(), vec![shell("echo again")]);
        assert_eq!((status.as_str(), log.as_str()), ("interrupted\n", ""));
    }
}
