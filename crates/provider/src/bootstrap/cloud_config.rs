//! cloud-config, as far as a container can do what it asks for.
//!
//! The order is that of cloud-init's modules, whatever the order in the document: `bootcmd`,
//! `write_files`, users, deferred files, `runcmd`. Two things differ from cloud-init, as they do in
//! upstream's Docker provider: each command is run by itself (a variable or `cd` of one is not seen by the
//! next), and the first that fails ends the boot. cloud-init would go on and tell of it in its log.

use std::fmt;

use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use windlass_model::Secret;

use super::content::{Layer, Unpacker, checked};
use super::{Boot, BootstrapDataError, Command, File, Metadata, Result, Step, User, jinja};

/// First line of a document, after the header of a template.
const HEADER: &str = "#cloud-config";
/// Deepest nesting of a document; what is read needs four.
const DEEPEST: usize = 64;

/// Reads a `#cloud-config` document.
pub(super) fn parse(text: &str, metadata: &Metadata) -> Result<Boot> {
    let first = text.lines().next().unwrap_or_default().trim_end();
    let (after, second) = if is_template(first) {
        (" after that of the template", text.lines().nth(1).unwrap_or_default().trim_end())
    } else {
        ("", first)
    };
    if second != HEADER {
        return Err(BootstrapDataError::Header { after, instead: instead(second) });
    }
    let rendered = if after.is_empty() { None } else { Some(jinja::render(text, metadata)?) };
    let document: Document =
        serde_saphyr::from_str_with_options(rendered.as_deref().unwrap_or(text), options()).map_err(
            |error| BootstrapDataError::CloudConfig { line: error.location().map_or(0, |at| at.line()) },
        )?;
    document.boot()
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: DEEPEST, flow_nesting_limit: DEEPEST },
    }
}

/// Whether a line says that a Jinja template follows, spaced as one likes.
fn is_template(line: &str) -> bool {
    let words = line.strip_prefix("##").and_then(|rest| rest.trim().strip_prefix("template:"));
    words.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("jinja"))
}

/// What else cloud-init would take, for the message.
fn instead(line: &str) -> &'static str {
    match line {
        "" => " but empty",
        line if line.starts_with("#!") => " but starts a script",
        line if line.starts_with('\u{1f}') => " but compressed",
        line if line.to_ascii_lowercase().starts_with("content-type: multipart") => {
            " but starts a MIME message"
        }
        line if line.starts_with("#include") => " but includes from elsewhere",
        _ => "",
    }
}

/// The modules that are done, and the names of the others.
#[derive(Default)]
struct Document {
    bootcmd: Vec<Item>,
    write_files: Vec<Entry>,
    users: Vec<Account>,
    runcmd: Vec<Item>,
    ignored: Vec<String>,
}

impl Document {
    fn boot(self) -> Result<Boot> {
        let mut unpacker = Unpacker::new();
        let mut steps: Vec<Step> = self.bootcmd.into_iter().filter_map(Item::step).collect();
        let mut deferred = Vec::new();
        for entry in self.write_files {
            let later = entry.defer;
            let step = Step::Write(entry.file(&mut unpacker)?);
            if later { deferred.push(step) } else { steps.push(step) }
        }
        for account in self.users {
            if let Some(user) = account.user()? {
                steps.push(Step::User(user));
            }
        }
        steps.extend(deferred);
        steps.extend(self.runcmd.into_iter().filter_map(Item::step));
        Ok(Boot { steps, ignored: self.ignored })
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Modules;
        impl<'de> Visitor<'de> for Modules {
            type Value = Document;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("modules of cloud-init")
            }

            fn visit_unit<E>(self) -> std::result::Result<Document, E> {
                Ok(Document::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Document, A::Error> {
                let mut document = Document::default();
                while let Some(module) = map.next_key::<String>()? {
                    match module.as_str() {
                        "bootcmd" => document.bootcmd = list(&mut map)?,
                        "write_files" => document.write_files = list(&mut map)?,
                        "users" => document.users = list(&mut map)?,
                        "runcmd" => document.runcmd = list(&mut map)?,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            document.ignored.push(module);
                        }
                    }
                }
                Ok(document)
            }
        }
        deserializer.deserialize_any(Modules)
    }
}

/// A list, or nothing.
fn list<'de, A: MapAccess<'de>, T: Deserialize<'de>>(map: &mut A) -> std::result::Result<Vec<T>, A::Error> {
    Ok(map.next_value::<Option<Vec<T>>>()?.unwrap_or_default())
}

/// One of `runcmd` or `bootcmd`: a text, a list of words, or nothing.
struct Item(Option<Command>);

impl Item {
    fn step(self) -> Option<Step> {
        self.0.map(Step::Run)
    }
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Ok(match deserializer.deserialize_any(Words)? {
            Some(OneOrMore::One(text)) => Self(Some(Command::Shell(text))),
            Some(OneOrMore::More(words)) if !words.is_empty() => Self(Some(Command::Argv(words))),
            Some(OneOrMore::More(_)) | None => Self(None),
        })
    }
}

/// A text or several.
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

/// Reads [`OneOrMore`]; numbers and truths are texts as well.
struct Words;

impl<'de> Visitor<'de> for Words {
    type Value = Option<OneOrMore>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list of texts")
    }

    fn visit_unit<E>(self) -> std::result::Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, text: &str) -> std::result::Result<Self::Value, E> {
        Ok(Some(OneOrMore::One(text.to_owned())))
    }

    fn visit_bool<E>(self, value: bool) -> std::result::Result<Self::Value, E> {
        Ok(Some(OneOrMore::One(value.to_string())))
    }

    fn visit_i64<E>(self, value: i64) -> std::result::Result<Self::Value, E> {
        Ok(Some(OneOrMore::One(value.to_string())))
    }

    fn visit_u64<E>(self, value: u64) -> std::result::Result<Self::Value, E> {
        Ok(Some(OneOrMore::One(value.to_string())))
    }

    fn visit_f64<E>(self, value: f64) -> std::result::Result<Self::Value, E> {
        Ok(Some(OneOrMore::One(value.to_string())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Self::Value, A::Error> {
        let mut words = Vec::new();
        while let Some(word) = seq.next_element::<String>()? {
            words.push(word);
        }
        Ok(Some(OneOrMore::More(words)))
    }
}

/// Texts of a field that takes one, several separated by commas, or a list.
#[derive(Default)]
struct Texts(Vec<String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Ok(Self(match deserializer.deserialize_any(Words)? {
            // `sudo: false` means none.
            Some(OneOrMore::One(text)) if text == "false" => Vec::new(),
            Some(OneOrMore::One(text)) => vec![text],
            Some(OneOrMore::More(texts)) => texts,
            None => Vec::new(),
        }))
    }
}

/// One of `write_files`.
#[derive(Deserialize)]
struct Entry {
    path: String,
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    encoding: Option<String>,
    #[serde(default)]
    owner: Option<String>,
    /// Read as a text, so that `0640` means what it says.
    #[serde(default)]
    permissions: Option<String>,
    #[serde(default)]
    append: bool,
    #[serde(default)]
    defer: bool,
}

impl Entry {
    fn file(self, unpacker: &mut Unpacker) -> Result<File> {
        let Self { path, content, encoding, owner, permissions, append, defer: _ } = self;
        let layers = Layer::of(&path, encoding.as_deref().unwrap_or_default())?;
        let content = unpacker.unpack(&path, content.unwrap_or_default().into_bytes(), layers)?;
        let mode = permissions.as_deref().map(str::trim).filter(|mode| !mode.is_empty());
        let mode = mode.map(|mode| {
            let digits = mode.strip_prefix("0o").unwrap_or(mode);
            u32::from_str_radix(digits, 8).map_err(|_| {
                BootstrapDataError::file(&path, format!("has the permissions `{mode}`, which are not octal"))
            })
        });
        let mode = mode.transpose()?;
        let owner = owner.filter(|owner| !owner.is_empty());
        checked(File { path, content, owner, mode, append })
    }
}

/// One of `users`: the name of one that is there, or a description.
enum Account {
    Named,
    Described(Box<Description>),
}

impl<'de> Deserialize<'de> for Account {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Account;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a user")
            }

            // `default` is the image's own user, if it has one.
            fn visit_str<E>(self, _name: &str) -> std::result::Result<Account, E> {
                Ok(Account::Named)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<Account, A::Error> {
                let described = Description::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(Account::Described(Box::new(described)))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[derive(Deserialize)]
struct Description {
    name: String,
    gecos: Option<String>,
    #[serde(default)]
    groups: Texts,
    homedir: Option<String>,
    #[serde(default)]
    no_create_home: bool,
    #[serde(default)]
    system: bool,
    uid: Option<u32>,
    inactive: Option<String>,
    shell: Option<String>,
    #[serde(alias = "hashed_passwd")]
    passwd: Option<String>,
    primary_group: Option<String>,
    lock_passwd: Option<bool>,
    #[serde(default)]
    sudo: Texts,
    #[serde(default)]
    ssh_authorized_keys: Texts,
}

impl Account {
    fn user(self) -> Result<Option<User>> {
        let Self::Described(described) = self else { return Ok(None) };
        let groups = described.groups.0.iter().flat_map(|groups| groups.split(','));
        let groups = groups.map(str::trim).filter(|group| !group.is_empty()).map(str::to_owned).collect();
        let user = User {
            name: described.name,
            comment: described.gecos,
            home: described.homedir,
            no_home: described.no_create_home,
            system: described.system,
            uid: described.uid,
            primary_group: described.primary_group,
            groups,
            shell: described.shell,
            inactive: described.inactive,
            password: described.passwd.map(Secret::new),
            // cloud-init: nobody logs in with a password unless it is said.
            lock_password: described.lock_passwd.unwrap_or(true),
            sudo: described.sudo.0,
            ssh_authorized_keys: described.ssh_authorized_keys.0,
        };
        user.checked().map(Some)
    }
}
