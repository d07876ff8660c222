//! Users of a machine.

use std::fmt::Write as _;

use windlass_model::Secret;

use super::shell::{quote, words};
use super::{BootstrapDataError, Result};

/// A user to make, or to complete if there is one of the name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// Name to log in with.
    pub name: String,
    /// The full name.
    pub comment: Option<String>,
    /// Home directory, if not the usual one.
    pub home: Option<String>,
    /// Whether the home directory is left out.
    pub no_home: bool,
    /// Whether it is a user of the system.
    pub system: bool,
    /// Its number, if not any.
    pub uid: Option<u32>,
    /// Its own group, if not one of its name.
    pub primary_group: Option<String>,
    /// Further groups; those that are missing are made.
    pub groups: Vec<String>,
    /// Login shell.
    pub shell: Option<String>,
    /// Days from the password's expiry until the account is closed.
    pub inactive: Option<String>,
    /// Hash of the password.
    pub password: Option<Secret<String>>,
    /// Whether logging in with the password is forbidden.
    pub lock_password: bool,
    /// What it may do with sudo, such as `ALL=(ALL) NOPASSWD:ALL`.
    pub sudo: Vec<String>,
    /// SSH public keys that may log in.
    pub ssh_authorized_keys: Vec<String>,
}

impl User {
    /// Refuses names that would be something else to the tools that make users.
    pub(super) fn checked(self) -> Result<Self> {
        let fine = |name: &str| {
            let odd = |c: char| c.is_control() || c.is_whitespace() || ":/,'\"\\$".contains(c);
            !name.is_empty() && !name.starts_with('-') && name.len() <= 64 && !name.contains(odd)
        };
        let groups = self.groups.iter().chain(&self.primary_group).map(|name| ("group", name));
        let odd = [("user", &self.name)].into_iter().chain(groups).find(|(_, name)| !fine(name));
        if let Some((of, name)) = odd {
            return Err(BootstrapDataError::Name { of, name: name.escape_debug().to_string() });
        }
        Ok(self)
    }

    /// A shell script that makes the user, as cloud-init would: an account that is there stays as it is,
    /// but password, keys and sudo rules are set. Secret because it holds the password's hash.
    pub fn script(&self) -> Secret<String> {
        let name = quote(&self.name);
        let mut script = String::from("set -eu\n");
        let mut line = |text: &str| {
            script.push_str(text);
            script.push('\n');
        };
        let groups: Vec<&str> = self.groups.iter().chain(&self.primary_group).map(String::as_str).collect();
        if !groups.is_empty() {
            let groups = words(groups);
            line(&format!(
                "for group in {groups}; do getent group \"$group\" >/dev/null || groupadd \"$group\"; done"
            ));
        }
        line(&format!("getent passwd {name} >/dev/null || {}", self.useradd()));
        if let Some(hash) = &self.password {
            let entry = quote(&format!("{}:{}", self.name, hash.expose()));
            line(&format!("printf '%s\\n' {entry} | chpasswd --encrypted"));
        }
        if self.lock_password {
            line(&format!("usermod --lock {name}"));
        }
        if !self.sudo.is_empty() {
            let file = "/etc/sudoers.d/90-cloud-init-users";
            let rules: Vec<_> = self.sudo.iter().map(|rule| format!("{} {rule}", self.name)).collect();
            let rules = words(rules.iter().map(String::as_str));
            line(&format!("mkdir -p /etc/sudoers.d\nprintf '%s\\n' {rules} >>{file}\nchmod 0440 {file}"));
        }
        if !self.ssh_authorized_keys.is_empty() {
            let keys = words(self.ssh_authorized_keys.iter().map(String::as_str));
            line(&format!(
                "ssh=$(getent passwd {name} | cut -d: -f6)/.ssh\nmkdir -p \"$ssh\"\n\
                 printf '%s\\n' {keys} >>\"$ssh/authorized_keys\"\n\
                 chmod 0700 \"$ssh\"\nchmod 0600 \"$ssh/authorized_keys\"\n\
                 chown -R {name}:\"$(id -gn {name})\" \"$ssh\""
            ));
        }
        Secret::new(script)
    }

    fn useradd(&self) -> String {
        let mut call = String::from("useradd");
        let mut option = |name: &str, value: Option<&str>| {
            if let Some(value) = value {
                // Writing to a String does not fail.
                let _ = write!(call, " --{name} {}", quote(value));
            }
        };
        option("comment", self.comment.as_deref());
        option("home-dir", self.home.as_deref());
        option("gid", self.primary_group.as_deref());
        option("groups", (!self.groups.is_empty()).then(|| self.groups.join(",")).as_deref());
        option("shell", self.shell.as_deref());
        option("inactive", self.inactive.as_deref());
        option("uid", self.uid.map(|uid| uid.to_string()).as_deref());
        call.push_str(if self.no_home { " --no-create-home" } else { " --create-home" });
        if self.system {
            call.push_str(" --system");
        }
        format!("{call} {}", quote(&self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_makes_the_user() {
        let user = User {
            name: "ann".to_owned(),
            comment: Some("Ann O'Neil".to_owned()),
            groups: vec!["sudo".to_owned(), "docker".to_owned()],
            shell: Some("/bin/bash".to_owned()),
            password: Some(Secret::new("$6$salt$hash".to_owned())),
            lock_password: true,
            sudo: vec!["ALL=(ALL) NOPASSWD:ALL".to_owned()],
            ssh_authorized_keys: vec!["ssh-ed25519 AAAA ann@home".to_owned()],
            ..User::default()
        };
        assert!(!format!("{user:?}").contains("salt"));
        assert_eq!(
            user.script().expose().lines().collect::<Vec<_>>(),
            [
                "set -eu",
                "for group in sudo docker; do getent group \"$group\" >/dev/null || groupadd \"$group\"; done",
                r"getent passwd ann >/dev/null || useradd --comment 'Ann O'\''Neil' --groups sudo,docker --shell /bin/bash --create-home ann",
                r"printf '%s\n' 'ann:$6$salt$hash' | chpasswd --encrypted",
                "usermod --lock ann",
                "mkdir -p /etc/sudoers.d",
                r"printf '%s\n' 'ann ALL=(ALL) NOPASSWD:ALL' >>/etc/sudoers.d/90-cloud-init-users",
                "chmod 0440 /etc/sudoers.d/90-cloud-init-users",
                "ssh=$(getent passwd ann | cut -d: -f6)/.ssh",
                "mkdir -p \"$ssh\"",
                r#"printf '%s\n' 'ssh-ed25519 AAAA ann@home' >>"$ssh/authorized_keys""#,
                "chmod 0700 \"$ssh\"",
                "chmod 0600 \"$ssh/authorized_keys\"",
                "chown -R ann:\"$(id -gn ann)\" \"$ssh\"",
            ]
        );
    }

    #[test]
    fn names_that_are_options_or_fields_are_refused() {
        for name in ["", "-r", "a:b", "a b", "../x", "a\n"] {
            let user = User { name: name.to_owned(), ..User::default() };
            assert!(matches!(user.checked(), Err(BootstrapDataError::Name { of: "user", .. })), "{name}");
        }
        let user = User { name: "a".to_owned(), groups: vec!["-x".to_owned()], ..User::default() };
        assert_eq!(user.checked().unwrap_err().to_string(), "`-x` cannot be the name of a group");
    }
}
