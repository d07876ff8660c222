//! Container Linux Configs, as far as they stand for Ignition: YAML with other names.
//!
//! Every field of a config that has a place in Ignition 2.3 is served. The sections that Container Linux's
//! own tool expands into units (etcd, flannel, docker, update, locksmith) are refused by name: users write
//! the units.

use serde_json::{Map, Value, json};
use thiserror::Error;

use super::data_url;

/// Why an additional configuration cannot be used. Nothing of its contents is shown but names of fields.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Mistake {
    /// It is no YAML.
    #[error("it is no YAML: check it with a YAML linter")]
    Yaml,
    /// A field has another type.
    #[error("{field} is no {wanted}: correct it")]
    Type {
        /// Where.
        field: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// A field is needed.
    #[error("{0} is missing: add it")]
    Missing(String),
    /// A section or field is not served.
    #[error("{field} is not served: {instead}")]
    Unserved {
        /// Where.
        field: String,
        /// What to do.
        instead: &'static str,
    },
    /// Fields that nobody knows, where strictness was asked for.
    #[error("{0}: remove what is unknown, or set strict to false")]
    Strict(String),
}

/// Ignition, and what was left out on the way.
#[derive(Debug)]
pub(super) struct Converted {
    pub(super) config: Value,
    pub(super) oddities: Vec<String>,
}

/// The kind of a field.
enum Shape {
    Text,
    Truth,
    Number,
    /// Bytes with a unit, in Ignition sectors of 512 bytes.
    Size,
    /// `{function, sum}`, in Ignition `function-sum`.
    Hash,
    /// Where the content of a file comes from.
    Contents,
    Map(&'static [Field]),
    List(&'static Shape),
    /// A list whose members have these fields, the first of which is needed, and get these defaults.
    Named(&'static [Field], &'static [(&'static str, Default)]),
    Refused(&'static str),
}

/// What is filled in.
enum Default {
    Text(&'static str),
    Number(u32),
    Empty,
}

/// A field: its name here, its name in Ignition, and what it is.
type Field = (&'static str, &'static str, Shape);

use Shape::{Contents, Hash, List, Map as Object, Named, Number, Refused, Size, Text, Truth};

const UNITS: &str = "write the unit with systemd.units";

const CONFIG: &[Field] = &[
    ("ignition", "ignition", Object(IGNITION)),
    ("storage", "storage", Object(STORAGE)),
    ("systemd", "systemd", Object(SYSTEMD)),
    ("networkd", "networkd", Object(&[("units", "units", Named(NETWORK_UNIT, &[]))])),
    ("passwd", "passwd", Object(PASSWD)),
    ("etcd", "", Refused(UNITS)),
    ("flannel", "", Refused(UNITS)),
    ("docker", "", Refused(UNITS)),
    ("update", "", Refused("write /etc/flatcar/update.conf with storage.files")),
    ("locksmith", "", Refused(UNITS)),
];
const VERIFICATION: Shape = Object(&[("hash", "hash", Hash)]);
const REFERENCE: &[Field] = &[("source", "source", Text), ("verification", "verification", VERIFICATION)];
const IGNITION: &[Field] = &[
    (
        "config",
        "config",
        Object(&[("append", "append", Named(REFERENCE, &[])), ("replace", "replace", Object(REFERENCE))]),
    ),
    (
        "timeouts",
        "timeouts",
        Object(&[
            ("http_response_headers", "httpResponseHeaders", Number),
            ("http_total", "httpTotal", Number),
        ]),
    ),
    (
        "security",
        "security",
        Object(&[(
            "tls",
            "tls",
            Object(&[("certificate_authorities", "certificateAuthorities", Named(REFERENCE, &[]))]),
        )]),
    ),
];
const STORAGE: &[Field] = &[
    ("disks", "disks", Named(DISK, &[])),
    ("raid", "raid", Named(RAID, &[])),
    ("filesystems", "filesystems", List(&Object(FILESYSTEM))),
    (
        "files",
        "files",
        Named(FILE, &[("filesystem", ROOT), ("mode", Default::Number(0o644)), ("contents", Default::Empty)]),
    ),
    (
        "directories",
        "directories",
        Named(DIRECTORY, &[("filesystem", ROOT), ("mode", Default::Number(0o755))]),
    ),
    ("links", "links", Named(LINK, &[("filesystem", ROOT)])),
];
const ROOT: Default = Default::Text("root");
const TEXTS: Shape = List(&Text);
const DISK: &[Field] = &[
    ("device", "device", Text),
    ("wipe_table", "wipeTable", Truth),
    (
        "partitions",
        "partitions",
        List(&Object(&[
            ("label", "label", Text),
            ("number", "number", Number),
            ("size", "size", Size),
            ("start", "start", Size),
            ("type_guid", "typeGuid", Text),
            ("guid", "guid", Text),
            ("wipe_partition_entry", "wipePartitionEntry", Truth),
            ("should_exist", "shouldExist", Truth),
        ])),
    ),
];
const RAID: &[Field] = &[
    ("name", "name", Text),
    ("level", "level", Text),
    ("devices", "devices", TEXTS),
    ("spares", "spares", Number),
    ("options", "options", TEXTS),
];
const FILESYSTEM: &[Field] = &[
    ("name", "name", Text),
    ("path", "path", Text),
    (
        "mount",
        "mount",
        Object(&[
            ("device", "device", Text),
            ("format", "format", Text),
            ("wipe_filesystem", "wipeFilesystem", Truth),
            ("label", "label", Text),
            ("uuid", "uuid", Text),
            ("options", "options", TEXTS),
            ("create", "create", Object(&[("force", "force", Truth), ("options", "options", TEXTS)])),
        ]),
    ),
];
const OWNER: Shape = Object(&[("id", "id", Number), ("name", "name", Text)]);
const FILE: &[Field] = &[
    ("path", "path", Text),
    ("filesystem", "filesystem", Text),
    ("user", "user", OWNER),
    ("group", "group", OWNER),
    ("mode", "mode", Number),
    ("overwrite", "overwrite", Truth),
    ("append", "append", Truth),
    ("contents", "contents", Contents),
];
const DIRECTORY: &[Field] = &[
    ("path", "path", Text),
    ("filesystem", "filesystem", Text),
    ("user", "user", OWNER),
    ("group", "group", OWNER),
    ("mode", "mode", Number),
    ("overwrite", "overwrite", Truth),
];
const LINK: &[Field] = &[
    ("path", "path", Text),
    ("filesystem", "filesystem", Text),
    ("user", "user", OWNER),
    ("group", "group", OWNER),
    ("overwrite", "overwrite", Truth),
    ("hard", "hard", Truth),
    ("target", "target", Text),
];
const DROPINS: Shape = Named(&[("name", "name", Text), ("contents", "contents", Text)], &[]);
const SYSTEMD: &[Field] = &[(
    "units",
    "units",
    Named(
        &[
            ("name", "name", Text),
            ("enable", "enable", Truth),
            ("enabled", "enabled", Truth),
            ("mask", "mask", Truth),
            ("contents", "contents", Text),
            ("dropins", "dropins", DROPINS),
        ],
        &[],
    ),
)];
const NETWORK_UNIT: &[Field] =
    &[("name", "name", Text), ("contents", "contents", Text), ("dropins", "dropins", DROPINS)];
const PASSWD: &[Field] = &[
    (
        "users",
        "users",
        Named(
            &[
                ("name", "name", Text),
                ("password_hash", "passwordHash", Text),
                ("ssh_authorized_keys", "sshAuthorizedKeys", TEXTS),
                ("uid", "uid", Number),
                ("gecos", "gecos", Text),
                ("home_dir", "homeDir", Text),
                ("no_create_home", "noCreateHome", Truth),
                ("primary_group", "primaryGroup", Text),
                ("groups", "groups", TEXTS),
                ("no_user_group", "noUserGroup", Truth),
                ("no_log_init", "noLogInit", Truth),
                ("shell", "shell", Text),
                ("system", "system", Truth),
                ("create", "", Refused("its fields stand beside name")),
            ],
            &[],
        ),
    ),
    (
        "groups",
        "groups",
        Named(
            &[
                ("name", "name", Text),
                ("gid", "gid", Number),
                ("password_hash", "passwordHash", Text),
                ("system", "system", Truth),
            ],
            &[],
        ),
    ),
];

/// Converts a config. With `strict`, what is unknown is an error.
pub(super) fn convert(text: &str, strict: bool) -> Result<Converted, Mistake> {
    // As the YAML of Go reads it: a mode of 0644 is octal.
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    let parsed: Value = serde_saphyr::from_str_with_options(text, options).map_err(|_| Mistake::Yaml)?;
    let mut oddities = Vec::new();
    let config = match parsed {
        Value::Null => json!({}),
        value => object("", &value, CONFIG, &mut oddities)?,
    };
    if strict && !oddities.is_empty() {
        return Err(Mistake::Strict(oddities.join(", ")));
    }
    Ok(Converted { config, oddities })
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn object(path: &str, value: &Value, fields: &[Field], odd: &mut Vec<String>) -> Result<Value, Mistake> {
    let members = value.as_object().ok_or_else(|| wrong(path, "object"))?;
    let mut out = Map::new();
    for (name, value) in members {
        let path = join(path, name);
        match fields.iter().find(|(known, ..)| known == name) {
            None => odd.push(format!("{path} is unknown")),
            Some(_) if value.is_null() => {}
            Some((_, target, shape)) => {
                out.insert((*target).to_owned(), convert_as(&path, value, shape, odd)?);
            }
        }
    }
    Ok(Value::Object(out))
}

fn wrong(path: &str, wanted: &'static str) -> Mistake {
    Mistake::Type { field: if path.is_empty() { "it".to_owned() } else { path.to_owned() }, wanted }
}

fn convert_as(path: &str, value: &Value, shape: &Shape, odd: &mut Vec<String>) -> Result<Value, Mistake> {
    match shape {
        Text => match value {
            Value::String(_) => Ok(value.clone()),
            // Unquoted numbers and truths are text where text is expected.
            Value::Number(number) => Ok(json!(number.to_string())),
            Value::Bool(truth) => Ok(json!(truth.to_string())),
            Value::Null | Value::Array(_) | Value::Object(_) => Err(wrong(path, "text")),
        },
        Truth => value.as_bool().map(Value::Bool).ok_or_else(|| wrong(path, "true or false")),
        Number => value.as_i64().map(Value::from).ok_or_else(|| wrong(path, "number")),
        Size => sectors(value).map(Value::from).ok_or_else(|| wrong(path, "size such as 10GiB")),
        Hash => hash(path, value),
        Contents => contents(path, value, odd),
        Object(fields) => object(path, value, fields, odd),
        List(shape) => list(path, value, |path, value| convert_as(path, value, shape, odd)),
        Named(fields, defaults) => list(path, value, |path, value| named(path, value, fields, defaults, odd)),
        Refused(instead) => Err(Mistake::Unserved { field: path.to_owned(), instead }),
    }
}

fn list(
    path: &str,
    value: &Value,
    mut each: impl FnMut(&str, &Value) -> Result<Value, Mistake>,
) -> Result<Value, Mistake> {
    let items = value.as_array().ok_or_else(|| wrong(path, "list"))?;
    items.iter().enumerate().map(|(at, item)| each(&format!("{path}[{at}]"), item)).collect()
}

fn named(
    path: &str,
    value: &Value,
    fields: &[Field],
    defaults: &[(&str, Default)],
    odd: &mut Vec<String>,
) -> Result<Value, Mistake> {
    let mut out = object(path, value, fields, odd)?;
    if let Some((name, target, _)) = fields.first()
        && out.get(*target).and_then(Value::as_str).is_none_or(str::is_empty)
    {
        return Err(Mistake::Missing(join(path, name)));
    }
    for (name, default) in defaults {
        if out.get(*name).is_none() {
            out[*name] = match default {
                Default::Text(text) => json!(text),
                Default::Number(number) => json!(number),
                Default::Empty => json!({ "source": data_url(b"") }),
            };
        }
    }
    Ok(out)
}

fn hash(path: &str, value: &Value) -> Result<Value, Mistake> {
    let part = |name: &str| value.get(name).and_then(Value::as_str);
    match (part("function"), part("sum")) {
        (Some(function), Some(sum)) => Ok(json!(format!("{function}-{sum}"))),
        (Some(_) | None, Some(_) | None) => Err(wrong(path, "hash with function and sum")),
    }
}

/// `inline` or `remote`; files beside the tool (`local`) exist nowhere here.
fn contents(path: &str, value: &Value, odd: &mut Vec<String>) -> Result<Value, Mistake> {
    const FIELDS: &[Field] = &[
        ("inline", "inline", Text),
        ("remote", "remote", Object(REMOTE)),
        ("local", "", Refused("use inline")),
    ];
    const REMOTE: &[Field] = &[
        ("url", "source", Text),
        ("compression", "compression", Text),
        ("verification", "verification", VERIFICATION),
    ];
    let found = object(path, value, FIELDS, odd)?;
    match (found.get("inline").and_then(Value::as_str), found.get("remote")) {
        (Some(_), Some(_)) => {
            Err(Mistake::Unserved { field: path.to_owned(), instead: "give either inline or remote" })
        }
        (Some(text), None) => Ok(json!({ "source": data_url(text.as_bytes()) })),
        (None, Some(remote)) => match remote.get("source") {
            Some(_) => Ok(remote.clone()),
            None => Err(Mistake::Missing(join(path, "remote.url"))),
        },
        (None, None) => Ok(json!({ "source": data_url(b"") })),
    }
}

/// Bytes as sectors of 512, rounded up. Units are powers of 1024, as the tool of Container Linux has them.
fn sectors(value: &Value) -> Option<u64> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let scale: u64 = match unit.trim() {
        "" | "B" => 1,
        "KiB" | "KB" | "K" => 1 << 10,
        "MiB" | "MB" | "M" => 1 << 20,
        "GiB" | "GB" | "G" => 1 << 30,
        "TiB" | "TB" | "T" => 1 << 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(scale).map(|bytes| bytes.div_ceil(512))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(text: &str) -> Value {
        convert(text, true).unwrap().config
    }

    #[test]
    fn fields_get_ignitions_names() {
        let text = r#"
storage:
  files:
    - path: /etc/a
      mode: 0600
      user: { name: core }
      contents: { inline: "a b" }
    - path: /etc/b
      contents:
        remote: { url: "https://x/y", verification: { hash: { function: sha512, sum: ab } } }
    - path: /etc/c
  directories: [{ path: /opt/x }]
  links: [{ path: /l, target: /t, hard: true }]
  disks: [{ device: /dev/sda, wipe_table: true, partitions: [{ size: 1GiB, start: 1000, type_guid: G, number: 2 }] }]
  filesystems: [{ name: data, mount: { device: /dev/sda1, format: ext4, wipe_filesystem: true } }]
systemd:
  units: [{ name: kubeadm.service, enabled: true, dropins: [{ name: 10-x.conf, contents: "[Service]" }] }]
networkd: { units: [{ name: 00-eth.network, contents: x }] }
passwd: { users: [{ name: core, ssh_authorized_keys: [k], no_create_home: true }], groups: [{ name: g, gid: 7 }] }
ignition: { timeouts: { http_total: 30 }, config: { append: [{ source: "s3://x" }] } }
"#;
        assert_eq!(
            converted(text),
            json!({
                "storage": {
                    "files": [
                        { "filesystem": "root", "path": "/etc/a", "mode": 384, "user": { "name": "core" }, "contents": { "source": "data:,a%20b" } },
                        { "filesystem": "root", "path": "/etc/b", "mode": 420, "contents": { "source": "https://x/y", "verification": { "hash": "sha512-ab" } } },
                        { "filesystem": "root", "path": "/etc/c", "mode": 420, "contents": { "source": "data:," } },
                    ],
                    "directories": [{ "filesystem": "root", "path": "/opt/x", "mode": 493 }],
                    "links": [{ "filesystem": "root", "path": "/l", "target": "/t", "hard": true }],
                    "disks": [{ "device": "/dev/sda", "wipeTable": true, "partitions": [{ "size": 2_097_152, "start": 2, "typeGuid": "G", "number": 2 }] }],
                    "filesystems": [{ "name": "data", "mount": { "device": "/dev/sda1", "format": "ext4", "wipeFilesystem": true } }],
                },
                "systemd": { "units": [{ "name": "kubeadm.service", "enabled": true, "dropins": [{ "name": "10-x.conf", "contents": "[Service]" }] }] },
                "networkd": { "units": [{ "name": "00-eth.network", "contents": "x" }] },
                "passwd": { "users": [{ "name": "core", "sshAuthorizedKeys": ["k"], "noCreateHome": true }], "groups": [{ "name": "g", "gid": 7 }] },
                "ignition": { "timeouts": { "httpTotal": 30 }, "config": { "append": [{ "source": "s3://x" }] } },
            })
        );
    }

    #[test]
    fn mistakes_are_named_and_contents_are_not_shown() {
        let cases = [
            ("", "ok"),
            ("{}", "ok"),
            ("a: [", "it is no YAML: check it with a YAML linter"),
            ("- a", "it is no object: correct it"),
            ("storage: { files: {} }", "storage.files is no list: correct it"),
            ("storage: { files: [{ mode: 420 }] }", "storage.files[0].path is missing: add it"),
            (
                "storage: { files: [{ path: /a, mode: secret }] }",
                "storage.files[0].mode is no number: correct it",
            ),
            (
                "storage: { files: [{ path: /a, contents: { local: x } }] }",
                "storage.files[0].contents.local is not served: use inline",
            ),
            (
                "storage: { disks: [{ device: /a, partitions: [{ size: 3 parsecs }] }] }",
                "storage.disks[0].partitions[0].size is no size such as 10GiB: correct it",
            ),
            ("etcd: { name: x }", "etcd is not served: write the unit with systemd.units"),
            (
                "systemd: { units: [{ name: a.service, colour: red }], more: 1 }",
                "systemd.more is unknown, systemd.units[0].colour is unknown: remove what is unknown, or set strict to false",
            ),
        ];
        for (text, expected) in cases {
            let said = convert(text, true).map_or_else(|mistake| mistake.to_string(), |_| "ok".to_owned());
            assert_eq!(said, expected, "{text}");
            assert!(!said.contains("secret"));
        }
    }

    #[test]
    fn what_is_unknown_is_left_out_unless_strictness_is_asked_for() {
        let Converted { config, oddities } = convert("a: 1\npasswd: { users: [] }", false).unwrap();
        assert_eq!(config, json!({ "passwd": { "users": [] } }));
        assert_eq!(oddities, ["a is unknown"]);
    }
}
