//! As much of cloud-init as kubeadm's bootstrap data uses: a template header, files, commands.

use std::collections::BTreeMap;
use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::MultiGzDecoder;
use serde::Deserialize;

use super::Refusal;

/// First line of a document that is a Jinja template (cloud-init: instance metadata).
const TEMPLATE: &str = "## template: jinja";
/// First line of a document after the template header.
const HEADER: &str = "#cloud-config";
/// Most bytes that a compressed file may unpack to.
const LARGEST_FILE: u64 = 4 << 20;

/// What a machine finds at its first boot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloudInit {
    /// Files by path.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Commands in their order, words joined by spaces.
    pub commands: Vec<String>,
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    write_files: Vec<File>,
    #[serde(default)]
    runcmd: Vec<Command>,
}

#[derive(Deserialize)]
struct File {
    path: String,
    #[serde(default)]
    content: String,
    #[serde(default)]
    encoding: String,
    #[serde(default)]
    append: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Command {
    Line(String),
    Words(Vec<String>),
}

fn invalid(what: impl Into<String>) -> Refusal {
    Refusal::DataInvalid { what: what.into() }
}

impl CloudInit {
    /// Reads a `#cloud-config` document of the machine `hostname`.
    ///
    /// # Errors
    /// [`Refusal::DataInvalid`] where it is none. The message shows none of the content.
    pub fn parse(data: &[u8], hostname: &str) -> Result<Self, Refusal> {
        let text = std::str::from_utf8(data).map_err(|_| invalid("it is not text"))?;
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default().trim_end();
        let (template, header) = match first {
            TEMPLATE => (true, lines.next().unwrap_or_default().trim_end()),
            other => (false, other),
        };
        if header != HEADER {
            return Err(invalid("it is not of the format cloud-config, the only one this backend boots"));
        }
        let text = if template { fill_in(text, hostname) } else { text.to_owned() };
        let document: Document = serde_saphyr::from_str(&text).map_err(|error| {
            invalid(format!("line {} is not cloud-config", error.location().map_or(0, |at| at.line())))
        })?;
        let mut files = BTreeMap::<String, Vec<u8>>::new();
        for file in document.write_files {
            let content = decode(&file)?;
            let place = files.entry(file.path).or_default();
            if !file.append {
                place.clear();
            }
            place.extend(content);
        }
        let commands = document.runcmd.into_iter().map(|command| match command {
            Command::Line(line) => line,
            Command::Words(words) => words.join(" "),
        });
        Ok(Self { files, commands: commands.collect() })
    }

    /// A file as text.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).and_then(|content| std::str::from_utf8(content).ok())
    }
}

/// Puts the host name where a template asks for it; other variables stay as they are.
fn fill_in(text: &str, hostname: &str) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        filled.push_str(before);
        let Some((name, behind)) = after.split_once("}}") else {
            filled.push_str("{{");
            rest = after;
            continue;
        };
        match name.trim() {
            "ds.meta_data.local_hostname"
            | "ds.meta_data.hostname"
            | "local_hostname"
            | "v1.local_hostname" => filled.push_str(hostname),
            _ => {
                filled.push_str("{{");
                filled.push_str(name);
                filled.push_str("}}");
            }
        }
        rest = behind;
    }
    filled.push_str(rest);
    filled
}

/// The content of a file (cloud-init: `write_files`, key `encoding`).
fn decode(file: &File) -> Result<Vec<u8>, Refusal> {
    let unbase = |text: &str| {
        let packed: String = text.split_whitespace().collect();
        STANDARD.decode(packed).map_err(|_| invalid(format!("{} is not base64", file.path)))
    };
    match file.encoding.as_str() {
        "" | "text/plain" => Ok(file.content.clone().into_bytes()),
        "b64" | "base64" => unbase(&file.content),
        "gz+b64" | "gz+base64" | "gzip+b64" | "gzip+base64" => {
            let mut content = Vec::new();
            MultiGzDecoder::new(&*unbase(&file.content)?)
                .take(LARGEST_FILE)
                .read_to_end(&mut content)
                .map_err(|_| invalid(format!("{} is not gzip", file.path)))?;
            Ok(content)
        }
        other => Err(invalid(format!("{} has the unknown encoding `{other}`", file.path))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_commands_and_the_host_name_are_read() {
        let data = "## template: jinja\n#cloud-config\n\
            write_files:\n\
            - path: /a\n  owner: root:root\n  permissions: '0640'\n  content: |\n    name: {{ ds.meta_data.local_hostname }}\n    {{ other }}\n\
            - path: /b\n  encoding: base64\n  content: aGVsbG8=\n\
            - path: /b\n  append: true\n  content: ' you'\n\
            runcmd:\n- 'kubeadm init'\n- [echo, done]\n";
        let read = CloudInit::parse(data.as_bytes(), "m-1").unwrap();
        assert_eq!(read.text("/a"), Some("name: m-1\n{{ other }}\n"));
        assert_eq!(read.text("/b"), Some("hello you"));
        assert_eq!(read.commands, ["kubeadm init", "echo done"]);
    }

    #[test]
    fn gzip_unpacks() {
        use std::io::Write;
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(b"packed").unwrap();
        let content = STANDARD.encode(packer.finish().unwrap());
        let data = format!(
            "#cloud-config\nwrite_files:\n- path: /a\n  encoding: gzip+base64\n  content: {content}\n"
        );
        assert_eq!(CloudInit::parse(data.as_bytes(), "m").unwrap().text("/a"), Some("packed"));
    }

    #[test]
    fn what_is_no_cloud_config_is_named_without_being_shown() {
        for (data, says) in [
            (&b"{\"ignition\": {\"hunter2\": 1}}"[..], "format cloud-config"),
            (b"", "format cloud-config"),
            (b"\xff\xfe", "not text"),
            (b"#cloud-config\nwrite_files: [hunter2", "line "),
            (
                b"#cloud-config\nwrite_files:\n- path: /a\n  encoding: rot13\n  content: hunter2\n",
                "encoding `rot13`",
            ),
            (
                b"#cloud-config\nwrite_files:\n- path: /a\n  encoding: b64\n  content: hunter2!\n",
                "/a is not base64",
            ),
        ] {
            let refusal = CloudInit::parse(data, "m").unwrap_err();
            let text = refusal.to_string();
            assert_eq!(refusal.reason(), "BootstrapDataInvalid");
            assert!(text.contains(says) && !text.contains("hunter2"), "{text}");
        }
    }
}
