//! cloud-config: what a host is told to write and to run.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use windlass_api::bootstrap::{DiskSetup, Encoding, KubeadmConfigSpec, Partition, TableType, User};
use windlass_model::Secret;

use crate::host::{HostFile, SENTINEL, Verb};
use crate::yaml;

/// Exists so that its directory does before kubeadm runs.
const PLACEHOLDER: &str = "/run/cluster-api/placeholder";
/// kubeadm's configuration for `init`.
pub(crate) const INIT_CONFIG: &str = "/run/kubeadm/kubeadm.yaml";
/// kubeadm's configuration for `join`.
pub(crate) const JOIN_CONFIG: &str = "/run/kubeadm/kubeadm-join-config.yaml";

/// The whole of the bootstrap data. `users` come with their passwords resolved.
pub(crate) fn cloud_config(
    spec: &KubeadmConfigSpec,
    users: &[User],
    files: &[HostFile],
    verb: Verb,
    kubeadm: &str,
) -> Secret<Vec<u8>> {
    let path = match verb {
        Verb::Init => INIT_CONFIG,
        Verb::Join => JOIN_CONFIG,
    };
    let own = [
        HostFile::root(path, "0640", kubeadm),
        HostFile::root(PLACEHOLDER, "0640", "This file makes its directory exist before kubeadm runs.\n"),
    ];
    let command = format!("{} && echo success > {SENTINEL}", verb.command(path, spec.verbosity));
    let commands: Vec<&String> =
        spec.pre_kubeadm_commands.iter().chain([&command]).chain(&spec.post_kubeadm_commands).collect();

    let mut document = Map::new();
    document.insert("write_files".to_owned(), files.iter().chain(&own).map(file).collect());
    document.insert("runcmd".to_owned(), json!(commands));
    let mut optional = |key: &str, value: Value, present: bool| {
        if present {
            document.insert(key.to_owned(), value);
        }
    };
    optional("bootcmd", json!(spec.boot_commands), !spec.boot_commands.is_empty());
    optional(
        "ntp",
        compact([
            ("enabled", Some(json!(spec.ntp.enabled.unwrap_or(true)))),
            ("servers", (!spec.ntp.servers.is_empty()).then(|| json!(spec.ntp.servers))),
        ]),
        spec.ntp.enabled.is_some() || !spec.ntp.servers.is_empty(),
    );
    optional("users", users.iter().map(user).collect(), !users.is_empty());
    optional("disk_setup", disks(&spec.disk_setup), !spec.disk_setup.partitions.is_empty());
    optional("fs_setup", filesystems(&spec.disk_setup), !spec.disk_setup.filesystems.is_empty());
    optional("mounts", json!(spec.mounts), !spec.mounts.is_empty());

    let text = format!("## template: jinja\n#cloud-config\n\n{}", yaml::document(&Value::Object(document)));
    Secret::new(text.into_bytes())
}

pub(crate) fn compact<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

fn file(file: &HostFile) -> Value {
    let HostFile { path, owner, permissions, encoding, append, content } = file;
    // What is no text travels in base64, whatever it is inside.
    let (content, encoding) = match (std::str::from_utf8(content.expose()), encoding) {
        (Ok(text), encoding) => (text.to_owned(), encoding.map(encoding_name)),
        (Err(_), Some(Encoding::Gzip | Encoding::GzipBase64)) => {
            (STANDARD.encode(content.expose()), Some("gzip+base64"))
        }
        (Err(_), None | Some(Encoding::Base64)) => (STANDARD.encode(content.expose()), Some("base64")),
    };
    compact([
        ("path", Some(json!(path))),
        ("owner", owner.as_ref().map(|owner| json!(owner))),
        ("permissions", permissions.as_ref().map(|permissions| json!(permissions))),
        ("encoding", encoding.map(|encoding| json!(encoding))),
        ("append", append.then(|| json!(true))),
        ("content", Some(json!(content))),
    ])
}

fn encoding_name(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Base64 => "base64",
        Encoding::Gzip => "gzip",
        Encoding::GzipBase64 => "gzip+base64",
    }
}

fn user(user: &User) -> Value {
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
        lock_password,
        sudo,
        ssh_authorized_keys,
    } = user;
    let text = |value: &Option<String>| value.as_ref().map(|value| json!(value));
    compact([
        ("name", Some(json!(name))),
        ("gecos", text(gecos)),
        ("groups", text(groups)),
        ("homedir", text(home_dir)),
        // cloud-init takes a number of days; upstream's true means "at once".
        ("inactive", inactive.and_then(|inactive| inactive.then(|| json!("0")))),
        ("shell", text(shell)),
        ("passwd", passwd.as_ref().map(|passwd| json!(passwd.expose()))),
        ("primary_group", text(primary_group)),
        ("lock_passwd", lock_password.map(|lock| json!(lock))),
        ("sudo", text(sudo)),
        ("ssh_authorized_keys", (!ssh_authorized_keys.is_empty()).then(|| json!(ssh_authorized_keys))),
    ])
}

fn disks(setup: &DiskSetup) -> Value {
    setup
        .partitions
        .iter()
        .map(|partition| {
            let Partition { device, layout, disk_layout, overwrite, table_type } = partition;
            let layout = if disk_layout.is_empty() {
                json!(layout.unwrap_or_default())
            } else {
                let parts = disk_layout.iter().map(|part| match part.partition_type.as_deref() {
                    Some(kind) => json!([part.percentage, type_code(kind, *table_type)]),
                    None => json!(part.percentage),
                });
                parts.collect()
            };
            let table = table_type.map(|table| match table {
                TableType::Mbr => json!("mbr"),
                TableType::Gpt => json!("gpt"),
            });
            let entry = compact([
                ("table_type", table),
                ("layout", Some(layout)),
                ("overwrite", overwrite.map(|overwrite| json!(overwrite))),
            ]);
            (device.clone(), entry)
        })
        .collect()
}

/// The code of a partition type: cloud-init hands MBR's to sfdisk, and GPT's to sgdisk, with zeros added.
fn type_code(kind: &str, table: Option<TableType>) -> Value {
    let (mbr, gpt) = match kind {
        "Linux" => ("83", "8300"),
        "LinuxSwap" => ("82", "8200"),
        "LinuxRAID" => ("fd", "fd00"),
        "LVM" => ("8e", "8e00"),
        "Fat32" => ("c", "0700"),
        "NTFS" => ("7", "0700"),
        "LinuxExtended" => ("85", "8300"),
        guid => (guid, guid),
    };
    match table {
        Some(TableType::Gpt) => number(gpt),
        Some(TableType::Mbr) | None => number(mbr),
    }
}

/// As a number where it is one, which is what cloud-init's schema wants.
fn number(text: &str) -> Value {
    match text.parse::<u32>() {
        Ok(number) if number.to_string() == text => json!(number),
        Ok(_) | Err(_) => json!(text),
    }
}

fn filesystems(setup: &DiskSetup) -> Value {
    setup
        .filesystems
        .iter()
        .map(|entry| {
            let text = |value: &Option<String>| value.as_ref().map(|value| json!(value));
            let partition = entry.partition.as_deref().map(number);
            compact([
                ("device", Some(json!(entry.device))),
                ("filesystem", Some(json!(entry.filesystem))),
                ("label", text(&entry.label)),
                ("partition", partition),
                ("overwrite", entry.overwrite.map(|overwrite| json!(overwrite))),
                ("replace_fs", text(&entry.replace_fs)),
                ("extra_opts", (!entry.extra_opts.is_empty()).then(|| json!(entry.extra_opts))),
            ])
        })
        .collect()
}
