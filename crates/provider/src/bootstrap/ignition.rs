//! Ignition 2.x and 3.x, as far as a container can do what they ask for.
//!
//! The order is Ignition's: groups and users, directories, files, links, then units. Upstream's bootstrap
//! provider puts kubeadm into a unit, `kubeadm.service`, which a machine starts when it has booted; here it
//! is started last and waited for, and what it said is copied to where it was started.

use std::collections::BTreeMap;

use serde::Deserialize;
use windlass_model::Secret;

use super::content::{Unpacker, checked};
use super::{Boot, BootstrapDataError, Command, File, Result, Step, User, shell};

/// The unit that runs kubeadm (Cluster API's bootstrap provider).
const KUBEADM: &str = "kubeadm.service";
/// Where units are.
const UNITS: &str = "/etc/systemd/system";

/// Reads an Ignition document.
pub(super) fn parse(text: &str) -> Result<Boot> {
    let invalid = |error: serde_json::Error| BootstrapDataError::Ignition { line: error.line() };
    let Versioned { ignition } = serde_json::from_str(text).map_err(invalid)?;
    let major = ignition.version.split('.').next().unwrap_or_default();
    if !matches!(major, "2" | "3") {
        let version = ignition.version.chars().take(32).collect();
        return Err(BootstrapDataError::IgnitionVersion { version });
    }
    let document: Document = serde_json::from_str(text).map_err(invalid)?;
    let mut boot = Boot::default();
    document.ignored(&mut boot.ignored);
    boot.steps.extend(document.passwd.groups.iter().map(Group::step).collect::<Result<Vec<_>>>()?);
    for account in document.passwd.users {
        if account.should_exist.unwrap_or(true) {
            boot.steps.push(Step::User(account.user()?));
        }
    }
    document.storage.steps(&mut boot.steps)?;
    document.systemd.steps(&mut boot)?;
    Ok(boot)
}

#[derive(Deserialize)]
struct Versioned {
    ignition: Version,
}

#[derive(Deserialize)]
struct Version {
    version: String,
}

/// What is not read; only the names matter.
type Others = BTreeMap<String, serde_json::Value>;

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    ignition: Meta,
    #[serde(default)]
    storage: Storage,
    #[serde(default)]
    systemd: Systemd,
    #[serde(default)]
    passwd: Passwd,
    #[serde(flatten)]
    others: Others,
}

#[derive(Default, Deserialize)]
struct Meta {
    #[serde(default)]
    config: BTreeMap<String, serde_json::Value>,
}

impl Document {
    /// The names of what is not done.
    fn ignored(&self, ignored: &mut Vec<String>) {
        let remote = self.ignition.config.iter().filter(|(_, value)| {
            let empty = |value: &serde_json::Value| {
                value.as_array().is_some_and(Vec::is_empty)
                    || value.as_object().is_some_and(serde_json::Map::is_empty)
            };
            !value.is_null() && !empty(value)
        });
        ignored.extend(remote.map(|(name, _)| format!("ignition.config.{name}")));
        ignored.extend(self.storage.others.keys().map(|name| format!("storage.{name}")));
        ignored.extend(self.others.keys().cloned());
    }
}

#[derive(Default, Deserialize)]
struct Storage {
    #[serde(default)]
    directories: Vec<Entry>,
    #[serde(default)]
    files: Vec<Entry>,
    #[serde(default)]
    links: Vec<Entry>,
    #[serde(flatten)]
    others: Others,
}

/// A file, directory or link.
#[derive(Deserialize)]
struct Entry {
    path: String,
    filesystem: Option<String>,
    mode: Option<u32>,
    #[serde(default)]
    user: Owner,
    #[serde(default)]
    group: Owner,
    contents: Option<Resource>,
    append: Option<Append>,
    target: Option<String>,
    #[serde(default)]
    hard: bool,
}

#[derive(Default, Deserialize)]
struct Owner {
    name: Option<String>,
    id: Option<u32>,
}

impl Owner {
    fn text(&self) -> Option<String> {
        self.name.clone().filter(|name| !name.is_empty()).or_else(|| self.id.map(|id| id.to_string()))
    }
}

#[derive(Default, Deserialize)]
struct Resource {
    source: Option<String>,
    compression: Option<String>,
}

/// 2.x: whether the contents are appended. 3.x: what is appended.
#[derive(Deserialize)]
#[serde(untagged)]
enum Append {
    Whether(bool),
    Parts(Vec<Resource>),
}

impl Resource {
    fn content(&self, path: &str, unpacker: &mut Unpacker) -> Result<Vec<u8>> {
        let gzip = match self.compression.as_deref().unwrap_or_default() {
            "" => false,
            "gzip" => true,
            other => {
                return Err(BootstrapDataError::file(path, format!("has the unknown compression `{other}`")));
            }
        };
        match self.source.as_deref().map(str::trim).unwrap_or_default() {
            "" => Ok(Vec::new()),
            source => unpacker.data_url(path, source, gzip),
        }
    }
}

impl Storage {
    fn steps(&self, steps: &mut Vec<Step>) -> Result<()> {
        let mut unpacker = Unpacker::new();
        for directory in &self.directories {
            steps.push(run(directory.checked(Vec::new(), false)?.install()));
        }
        for entry in &self.files {
            entry.write(&mut unpacker, steps)?;
        }
        for link in &self.links {
            let path = link.checked(Vec::new(), false)?.path;
            let target = link.target.clone().unwrap_or_default();
            let how = if link.hard { "-fT" } else { "-sfT" };
            steps.push(run(["ln", how, "--", &target, &path].map(str::to_owned).to_vec()));
        }
        Ok(())
    }
}

fn run(argv: Vec<String>) -> Step {
    Step::Run(Command::Argv(argv))
}

impl Entry {
    fn owner(&self) -> Option<String> {
        match (self.user.text(), self.group.text()) {
            (None, None) => None,
            (Some(user), None) => Some(user),
            (user, Some(group)) => Some(format!("{}:{group}", user.unwrap_or_else(|| "root".to_owned()))),
        }
    }

    fn checked(&self, content: Vec<u8>, append: bool) -> Result<File> {
        if let Some(other) = self.filesystem.as_deref().filter(|name| !matches!(*name, "" | "root")) {
            return Err(BootstrapDataError::file(&self.path, format!("is for the filesystem `{other}`")));
        }
        checked(File { path: self.path.clone(), content, owner: self.owner(), mode: self.mode, append })
    }

    fn write(&self, unpacker: &mut Unpacker, steps: &mut Vec<Step>) -> Result<()> {
        let whole =
            self.contents.as_ref().map(|contents| contents.content(&self.path, unpacker)).transpose()?;
        let (appends, parts) = match &self.append {
            Some(Append::Whether(appends)) => (*appends, &[][..]),
            Some(Append::Parts(parts)) => (false, parts.as_slice()),
            None => (false, &[][..]),
        };
        // Without contents a file is made if it is not there, and its owner set.
        let first = appends || whole.is_none();
        steps.push(Step::Write(self.checked(whole.unwrap_or_default(), first)?));
        for part in parts {
            let content = part.content(&self.path, unpacker)?;
            steps.push(Step::Write(self.checked(content, true)?));
        }
        Ok(())
    }
}

impl File {
    /// The call that makes a directory of this name, owner and mode.
    fn install(&self) -> Vec<String> {
        let mut call = vec!["install".to_owned(), "-d".to_owned()];
        call.push(format!("--mode={:04o}", self.mode.unwrap_or(0o755)));
        if let Some(owner) = &self.owner {
            let (user, group) = owner.split_once(':').unwrap_or((owner, ""));
            call.push(format!("--owner={user}"));
            if !group.is_empty() {
                call.push(format!("--group={group}"));
            }
        }
        call.extend(["--".to_owned(), self.path.clone()]);
        call
    }
}

#[derive(Default, Deserialize)]
struct Systemd {
    #[serde(default)]
    units: Vec<Unit>,
}

#[derive(Deserialize)]
struct Unit {
    name: String,
    enabled: Option<bool>,
    /// 2.x, of old.
    #[serde(default)]
    enable: bool,
    #[serde(default)]
    mask: bool,
    contents: Option<String>,
    #[serde(default)]
    dropins: Vec<Dropin>,
}

#[derive(Deserialize)]
struct Dropin {
    name: String,
    contents: Option<String>,
}

impl Systemd {
    fn steps(self, boot: &mut Boot) -> Result<()> {
        let (mut masked, mut started, mut kubeadm) = (Vec::new(), Vec::new(), false);
        let any = !self.units.is_empty();
        for unit in self.units {
            unit.check()?;
            if unit.is_mount() {
                // Mounts disks by label, and containers have no disks of their own.
                boot.ignored.push(format!("systemd unit {}", unit.name));
                continue;
            }
            unit.write(&mut boot.steps)?;
            match (unit.mask, unit.enabled.unwrap_or(unit.enable)) {
                (true, _) => masked.push(unit.name),
                (false, true) if unit.name == KUBEADM => kubeadm = true,
                (false, true) => started.push(unit.name),
                (false, false) => {}
            }
        }
        if any {
            boot.steps.push(run(vec!["systemctl".to_owned(), "daemon-reload".to_owned()]));
        }
        if !masked.is_empty() {
            let names = shell::words(masked.iter().map(String::as_str));
            boot.steps.push(Step::Run(Command::Shell(format!("systemctl mask {names}"))));
        }
        if !started.is_empty() {
            // A machine boots on without a unit that is missing or fails, and says so in its log. The jobs
            // are queued, so that a unit that asks to come before kubeadm's does.
            let names = shell::words(started.iter().map(String::as_str));
            let start = format!("systemctl enable --now --no-block {names} || true");
            boot.steps.push(Step::Run(Command::Shell(start)));
        }
        if kubeadm {
            boot.steps.push(Step::Run(Command::Shell(start_and_tell(KUBEADM))));
        }
        Ok(())
    }
}

/// Starts a unit that ends by itself, waits for that, and prints what it printed.
fn start_and_tell(unit: &str) -> String {
    format!(
        "systemctl start {unit}\n\
         code=$?\n\
         journalctl --unit={unit} --boot --no-pager --output=cat\n\
         exit $code\n"
    )
}

impl Unit {
    fn check(&self) -> Result<()> {
        let fine = |name: &str| {
            !name.is_empty()
                && !name.starts_with(['-', '.'])
                && !name.contains(|c: char| c == '/' || c.is_control())
        };
        match self.dropins.iter().map(|dropin| &dropin.name).chain([&self.name]).find(|name| !fine(name)) {
            Some(name) => Err(BootstrapDataError::Name { of: "unit", name: name.escape_debug().to_string() }),
            None => Ok(()),
        }
    }

    fn is_mount(&self) -> bool {
        [".mount", ".automount", ".swap"].iter().any(|kind| self.name.ends_with(kind))
    }

    fn write(&self, steps: &mut Vec<Step>) -> Result<()> {
        let mut write = |path: String, content: &str| -> Result<()> {
            let content = content.as_bytes().to_vec();
            steps.push(Step::Write(checked(File { path, content, mode: Some(0o644), ..File::default() })?));
            Ok(())
        };
        if let Some(contents) = self.contents.as_deref().filter(|contents| !contents.is_empty()) {
            write(format!("{UNITS}/{}", self.name), contents)?;
        }
        for dropin in &self.dropins {
            let contents = dropin.contents.as_deref().unwrap_or_default();
            write(format!("{UNITS}/{}.d/{}", self.name, dropin.name), contents)?;
        }
        Ok(())
    }
}

#[derive(Default, Deserialize)]
struct Passwd {
    #[serde(default)]
    users: Vec<Account>,
    #[serde(default)]
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    name: String,
    gid: Option<u32>,
    #[serde(default)]
    system: bool,
}

impl Group {
    fn step(&self) -> Result<Step> {
        let named = User { name: self.name.clone(), ..User::default() };
        named.checked().map_err(|_| BootstrapDataError::Name {
            of: "group",
            name: self.name.escape_debug().to_string(),
        })?;
        let mut call = vec!["groupadd".to_owned(), "--force".to_owned()];
        call.extend(self.gid.map(|gid| format!("--gid={gid}")));
        call.extend(self.system.then(|| "--system".to_owned()));
        call.push(self.name.clone());
        Ok(run(call))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Account {
    name: String,
    should_exist: Option<bool>,
    password_hash: Option<String>,
    #[serde(default)]
    ssh_authorized_keys: Vec<String>,
    uid: Option<u32>,
    gecos: Option<String>,
    home_dir: Option<String>,
    #[serde(default)]
    no_create_home: bool,
    primary_group: Option<String>,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    system: bool,
    shell: Option<String>,
}

impl Account {
    fn user(self) -> Result<User> {
        let text = |value: Option<String>| value.filter(|value| !value.is_empty());
        let user = User {
            name: self.name,
            comment: text(self.gecos),
            home: text(self.home_dir),
            no_home: self.no_create_home,
            system: self.system,
            uid: self.uid,
            primary_group: text(self.primary_group),
            groups: self.groups,
            shell: text(self.shell),
            inactive: None,
            password: text(self.password_hash).map(Secret::new),
            lock_password: false,
            sudo: Vec::new(),
            ssh_authorized_keys: self.ssh_authorized_keys,
        };
        user.checked()
    }
}
