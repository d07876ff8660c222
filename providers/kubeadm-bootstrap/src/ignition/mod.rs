//! Ignition 2.3: what a host without cloud-init (Flatcar Container Linux) is told to write and to run.
//!
//! A unit runs a script once: the user's commands, kubeadm, the user's commands. Names of units and files are
//! upstream's, whose users write drop-ins for them. What the spec adds in the language of Container Linux
//! ([`container_linux`]) is appended last and wins.

mod container_linux;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use windlass_api::bootstrap::{DiskSetup, Encoding, Filesystem, KubeadmConfigSpec, Ntp, Partition, User};
use windlass_model::Secret;

pub use container_linux::Mistake;

use crate::cloud_init::compact;
use crate::host::{HostFile, SENTINEL, Verb};
use crate::render::RenderError;

/// kubeadm's configuration. Its absence tells that kubeadm has run: the script moves it away.
const CONFIG: &str = "/etc/kubeadm.yml";
/// What [`UNIT`] runs.
const SCRIPT: &str = "/etc/kubeadm.sh";
/// The unit that runs kubeadm.
const UNIT: &str = "[Unit]
Description=kubeadm
# Once: when kubeadm has succeeded, its configuration is moved away.
ConditionPathExists=/etc/kubeadm.yml
After=network.target
[Service]
Type=oneshot
ExecStart=/bin/bash /etc/kubeadm.sh
[Install]
WantedBy=multi-user.target
";

/// sshd's configuration as Flatcar has it, but for who may log in with a password.
const SSHD: &str = "Subsystem sftp internal-sftp
ClientAliveInterval 180
UseDNS no
UsePAM yes
PrintLastLog no
PrintMotd no
";

/// Whom the host's time server answers: hosts may ask for the time, and nothing else.
const NTP_RESTRICTIONS: &str = "
restrict default nomodify nopeer noquery notrap limited kod
restrict 127.0.0.1
restrict [::1]
";

/// The whole of the bootstrap data, and what is odd about the additional configuration (if it is not strict,
/// which makes an error of it). `users` come with their passwords resolved.
pub(crate) fn render(
    spec: &KubeadmConfigSpec,
    users: &[User],
    files: &[HostFile],
    verb: Verb,
    kubeadm: &str,
) -> Result<(Secret<Vec<u8>>, Vec<String>), RenderError> {
    if !spec.boot_commands.is_empty() {
        return Err(unserved("bootCommands", "use preKubeadmCommands"));
    }
    let mut units = vec![unit("kubeadm.service", Some(UNIT))];
    if keeps_time(&spec.ntp) {
        units.push(unit("ntpd.service", None));
    }
    units.extend(mounts(spec)?);
    let mut storage = Map::new();
    let mut optional = |name: &str, list: Vec<Value>| {
        if !list.is_empty() {
            storage.insert(name.to_owned(), Value::Array(list));
        }
    };
    optional("disks", disks(&spec.disk_setup)?);
    optional("filesystems", filesystems(&spec.disk_setup)?);
    optional("files", all_files(spec, users, files, verb, kubeadm)?);
    let mut document = json!({
        "ignition": { "version": "2.3.0" },
        "storage": storage,
        "systemd": { "units": units },
    });
    if !users.is_empty() {
        document["passwd"] = json!({ "users": users.iter().map(user).collect::<Result<Vec<_>, _>>()? });
    }
    let additional = &spec.ignition.container_linux_config;
    let mut oddities = Vec::new();
    if let Some(text) = &additional.additional_config {
        let strict = additional.strict == Some(true);
        let converted = container_linux::convert(text.expose(), strict).map_err(RenderError::Additional)?;
        append(&mut document, converted.config);
        oddities = converted.oddities;
    }
    let bytes = serde_json::to_vec(&document).map_err(|_| RenderError::Encode)?;
    Ok((Secret::new(bytes), oddities))
}

fn unserved(field: impl Into<String>, instead: &'static str) -> RenderError {
    RenderError::Ignition { field: field.into(), instead }
}

/// As Ignition 2 appends a config to another: lists grow, what is inside objects likewise, and of two other
/// values the later one counts.
fn append(base: &mut Value, more: Value) {
    match (base, more) {
        (Value::Object(base), Value::Object(more)) => {
            for (name, value) in more {
                match base.get_mut(&name) {
                    Some(known) => append(known, value),
                    None => {
                        base.insert(name, value);
                    }
                }
            }
        }
        (Value::Array(base), Value::Array(more)) => base.extend(more),
        (base, more) => *base = more,
    }
}

fn unit(name: &str, contents: Option<&str>) -> Value {
    compact([
        ("name", Some(json!(name))),
        ("enabled", Some(json!(true))),
        ("contents", contents.map(|text| json!(text))),
    ])
}

fn keeps_time(ntp: &Ntp) -> bool {
    ntp.enabled.unwrap_or(!ntp.servers.is_empty())
}

/// A mount unit for each line: device or label, where, and then the options.
fn mounts(spec: &KubeadmConfigSpec) -> Result<Vec<Value>, RenderError> {
    let labelled: BTreeMap<&str, &str> = spec
        .disk_setup
        .filesystems
        .iter()
        .filter_map(|entry| Some((entry.label.as_deref()?, entry.device.as_str())))
        .collect();
    let mut units = Vec::new();
    for (at, line) in spec.mounts.iter().enumerate() {
        let [what, place, options @ ..] = line.as_slice() else {
            return Err(unserved(format!("mounts[{at}]"), "name a file system and where to mount it"));
        };
        let label = what.strip_prefix("LABEL=").unwrap_or(what);
        let device = match labelled.get(label) {
            Some(device) => *device,
            None if what.starts_with('/') => what,
            None => {
                return Err(unserved(
                    format!("mounts[{at}][0]"),
                    "give the label of one of diskSetup.filesystems, or a device",
                ));
            }
        };
        let options =
            if options.is_empty() { String::new() } else { format!("Options={}\n", options.join(",")) };
        let contents = format!(
            "[Unit]\nDescription=Mount {label}\n\n[Mount]\nWhat={device}\nWhere={place}\n{options}\n[Install]\nWantedBy=multi-user.target\n"
        );
        units.push(unit(&format!("{}.mount", escaped(place)), Some(&contents)));
    }
    Ok(units)
}

/// A path as systemd writes it into names of units (systemd.unit(5), "string escaping"); systemd refuses a
/// mount unit whose name is not its path.
fn escaped(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() {
        return "-".to_owned();
    }
    let mut name = String::new();
    for (at, byte) in parts.join("/").bytes().enumerate() {
        match byte {
            b'/' => name.push('-'),
            b'.' if at == 0 => name.push_str("\\x2e"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'_' | b'.' => name.push(char::from(byte)),
            other => {
                let _ = write!(name, "\\x{other:02x}");
            }
        }
    }
    name
}

fn disks(setup: &DiskSetup) -> Result<Vec<Value>, RenderError> {
    let disk = |(at, partition): (usize, &Partition)| {
        let Partition { device, layout, disk_layout, overwrite, table_type: _ } = partition;
        let all = match disk_layout.as_slice() {
            [] => *layout == Some(true),
            [one] if one.percentage == 100 => true,
            _ => {
                return Err(unserved(
                    format!("diskSetup.partitions[{at}].diskLayout"),
                    "Ignition knows no percentages: use layout, or storage.disks in ignition.containerLinuxConfig.additionalConfig",
                ));
            }
        };
        Ok(compact([
            ("device", Some(json!(device))),
            ("wipeTable", overwrite.map(|overwrite| json!(overwrite))),
            ("partitions", all.then(|| json!([{}]))),
        ]))
    };
    setup.partitions.iter().enumerate().map(disk).collect()
}

fn filesystems(setup: &DiskSetup) -> Result<Vec<Value>, RenderError> {
    let filesystem = |(at, entry): (usize, &Filesystem)| {
        let Filesystem { device, filesystem, label, partition, overwrite, replace_fs, extra_opts } = entry;
        for (field, value) in [("partition", partition), ("replaceFS", replace_fs)] {
            if value.is_some() {
                return Err(unserved(format!("diskSetup.filesystems[{at}].{field}"), "remove it"));
            }
        }
        let text = |value: &Option<String>| value.as_ref().map(|value| json!(value));
        let mount = compact([
            ("device", Some(json!(device))),
            ("format", Some(json!(filesystem))),
            ("wipeFilesystem", overwrite.map(|overwrite| json!(overwrite))),
            ("label", text(label)),
            ("options", (!extra_opts.is_empty()).then(|| json!(extra_opts))),
        ]);
        Ok(compact([("name", text(label)), ("mount", Some(mount))]))
    };
    setup.filesystems.iter().enumerate().map(filesystem).collect()
}

fn user(user: &User) -> Result<Value, RenderError> {
    let User {
        name,
        gecos,
        groups,
        home_dir,
        inactive,
        shell,
        passwd,
        passwd_from: _,
        primary_group,
        // Both are files.
        lock_password: _,
        sudo: _,
        ssh_authorized_keys,
    } = user;
    if *inactive == Some(true) {
        return Err(unserved(format!("users[{name}].inactive"), "leave the user out"));
    }
    let text = |value: &Option<String>| value.as_ref().map(|value| json!(value));
    let groups = groups.as_ref().map(|groups| {
        let list: Vec<&str> = groups.split(',').map(str::trim).filter(|group| !group.is_empty()).collect();
        json!(list)
    });
    Ok(compact([
        ("name", Some(json!(name))),
        ("gecos", text(gecos)),
        ("groups", groups),
        ("homeDir", text(home_dir)),
        ("shell", text(shell)),
        ("passwordHash", passwd.as_ref().map(|passwd| json!(passwd.expose()))),
        ("primaryGroup", text(primary_group)),
        ("sshAuthorizedKeys", (!ssh_authorized_keys.is_empty()).then(|| json!(ssh_authorized_keys))),
    ]))
}

fn all_files(
    spec: &KubeadmConfigSpec,
    users: &[User],
    files: &[HostFile],
    verb: Verb,
    kubeadm: &str,
) -> Result<Vec<Value>, RenderError> {
    let mut all = Vec::new();
    for user in users {
        if let Some(sudo) = &user.sudo {
            let line = format!("{} {sudo}\n", user.name);
            all.push(HostFile::root(format!("/etc/sudoers.d/{}", user.name), "0600", line));
        }
    }
    let with_password: Vec<&str> = users
        .iter()
        .filter(|user| user.lock_password == Some(false))
        .map(|user| user.name.as_str())
        .collect();
    if !with_password.is_empty() {
        let users = with_password.join(",");
        let content = format!("{SSHD}\nMatch User {users}\n  PasswordAuthentication yes\n");
        all.push(HostFile::root("/etc/ssh/sshd_config", "0600", content));
    }
    all.extend(files.iter().cloned());
    all.push(HostFile::root(SCRIPT, "0700", script(spec, verb)));
    all.push(HostFile::root(CONFIG, "0600", kubeadm));
    if keeps_time(&spec.ntp) && !spec.ntp.servers.is_empty() {
        let servers = spec.ntp.servers.join("\nserver ");
        all.push(HostFile::root("/etc/ntp.conf", "0644", format!("server {servers}\n{NTP_RESTRICTIONS}")));
    }
    all.iter().map(file).collect()
}

/// The commands in order; the first that fails ends it, and the unit.
fn script(spec: &KubeadmConfigSpec, verb: Verb) -> String {
    let command = verb.command(CONFIG, spec.verbosity);
    let success = format!("mkdir -p /run/cluster-api && echo success > {SENTINEL}");
    let aside = format!("mv {CONFIG} /tmp/");
    let before = spec.pre_kubeadm_commands.iter().map(String::as_str);
    let after = spec.post_kubeadm_commands.iter().map(String::as_str);
    let own = [command.as_str(), &success, &aside];
    let lines: Vec<&str> =
        ["#!/bin/bash", "set -e"].into_iter().chain(before).chain(own).chain(after).collect();
    format!("{}\n", lines.join("\n"))
}

fn file(file: &HostFile) -> Result<Value, RenderError> {
    let HostFile { path, owner, permissions, encoding, append, content } = file;
    let mode = match permissions {
        None => 0o644,
        Some(digits) => u32::from_str_radix(digits, 8).map_err(|_| {
            unserved(format!("files[{path}].permissions"), "write octal digits, such as 0640")
        })?,
    };
    let bytes = content.expose();
    let decoded = match (encoding, std::str::from_utf8(bytes)) {
        (None, _) | (Some(Encoding::Base64), Err(_)) => None,
        (Some(Encoding::Base64), Ok(text)) => {
            let packed: String = text.split_whitespace().collect();
            let decoded = STANDARD.decode(packed);
            Some(
                decoded
                    .map_err(|_| unserved(format!("files[{path}].content"), "it is no base64: encode it"))?,
            )
        }
        (Some(Encoding::Gzip | Encoding::GzipBase64), _) => {
            return Err(unserved(format!("files[{path}].encoding"), "use base64 or plain text"));
        }
    };
    // As upstream: `user:group`, either of which may be missing.
    let (user, group) = match owner.as_deref().map(|owner| owner.split_once(':').unwrap_or((owner, ""))) {
        Some((user, group)) => (named(user), named(group)),
        None => (None, None),
    };
    Ok(compact([
        ("filesystem", Some(json!("root"))),
        ("path", Some(json!(path))),
        ("user", user),
        ("group", group),
        ("append", append.then(|| json!(true))),
        ("mode", Some(json!(mode))),
        ("contents", Some(json!({ "source": data_url(decoded.as_deref().unwrap_or(bytes)) }))),
    ]))
}

fn named(name: &str) -> Option<Value> {
    let name = name.trim();
    (!name.is_empty()).then(|| json!({ "name": name }))
}

/// Content as a URL (RFC 2397): text can be read with a little practice, the rest is in base64.
pub(super) fn data_url(content: &[u8]) -> String {
    if std::str::from_utf8(content).is_err() {
        return format!("data:;base64,{}", STANDARD.encode(content));
    }
    let mut url = String::from("data:,");
    for &byte in content {
        match byte {
            // What RFC 2396 calls unreserved.
            b'a'..=b'z'
            | b'A'..=b'Z'
            | b'0'..=b'9'
            | b'-'
            | b'_'
            | b'.'
            | b'!'
            | b'~'
            | b'*'
            | b'\''
            | b'('
            | b')' => url.push(char::from(byte)),
            other => {
                let _ = write!(url, "%{other:02X}");
            }
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_units_are_named_as_systemd_names_them() {
        for (path, name) in [
            ("/", "-"),
            ("/var/lib/etcd", "var-lib-etcd"),
            ("/var//lib/etcd/", "var-lib-etcd"),
            ("/srv/my-data", "srv-my\\x2ddata"),
            ("/.hidden", "\\x2ehidden"),
            ("/a b", "a\\x20b"),
        ] {
            assert_eq!(escaped(path), name, "{path}");
        }
    }

    #[test]
    fn content_becomes_a_url() {
        assert_eq!(data_url(b""), "data:,");
        assert_eq!(data_url("ö = (a/b)\n".as_bytes()), "data:,%C3%B6%20%3D%20(a%2Fb)%0A");
        assert_eq!(data_url(&[0xff, 0x00]), "data:;base64,/wA=");
    }

    #[test]
    fn of_two_values_the_later_counts_and_lists_grow() {
        let mut base = json!({ "a": { "list": [1], "text": "old", "kept": true } });
        append(&mut base, json!({ "a": { "list": [2], "text": "new" }, "b": {} }));
        assert_eq!(base, json!({ "a": { "list": [1, 2], "text": "new", "kept": true }, "b": {} }));
    }
}
