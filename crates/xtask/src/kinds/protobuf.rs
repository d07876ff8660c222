//! The protobuf messages of Kubernetes' own kinds, from the tags of their Go types.
//!
//! Which kinds have messages, and which messages have forms of their own, is written by hand in the file; the
//! fields of all messages that these lead to are written here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};

use super::go::{Field, Source};
use crate::command::{root, say};

/// Where the server has them.
const FILE: &str = "crates/apiserver/data/protobuf.txt";
/// Go's own types, as the file writes them.
const SCALARS: [(&str, &str); 9] = [
    ("string", "s"),
    ("bool", "b"),
    ("[]byte", "y"),
    ("float64", "d"),
    ("int", "i"),
    ("int32", "i"),
    ("int64", "i"),
    ("uint32", "i"),
    ("uint64", "i"),
];

/// Writes the messages anew.
pub fn run(source: &mut Source) -> Result<()> {
    let path = root().join(FILE);
    let old = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let new = Messages::new(source, &old).text(&old)?;
    fs::write(&path, &new).with_context(|| format!("cannot write {}", path.display()))?;
    say(&format!("wrote {} messages", new.lines().filter(|line| !line.starts_with(['#', '='])).count()));
    Ok(())
}

/// A Go type: the import path of its package, and its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Type {
    package: String,
    name: String,
}

impl Type {
    /// The type of a message of a kind.
    fn of(message: &str) -> Result<Self> {
        let (package, name) =
            message.rsplit_once('.').with_context(|| format!("`{message}` names no package"))?;
        let package = format!("k8s.io/{}", package.replace('.', "/").replace('_', "-"));
        Ok(Self { package, name: name.to_owned() })
    }

    /// What its message is called. Upstream's small packages leave out where they are.
    fn message(&self) -> String {
        let package = self.package.trim_start_matches("k8s.io/");
        let short = package.strip_prefix("apimachinery/pkg/").filter(|rest| !rest.starts_with("apis/"));
        format!("{}.{}", short.unwrap_or(package).replace('/', ".").replace('-', "_"), self.name)
    }
}

struct Messages<'a> {
    source: &'a mut Source,
    /// Messages with a form of their own, and that form.
    special: BTreeMap<String, String>,
    written: BTreeMap<String, String>,
    wanted: BTreeSet<Type>,
}

impl<'a> Messages<'a> {
    fn new(source: &'a mut Source, old: &str) -> Self {
        let special = old.lines().filter_map(|line| line.split_once(" !"));
        let special = special.map(|(name, form)| (name.to_owned(), format!("!{form}"))).collect();
        Self { source, special, written: BTreeMap::new(), wanted: BTreeSet::new() }
    }

    /// The file with what is written by hand as it was.
    fn text(mut self, old: &str) -> Result<String> {
        let mut text = String::new();
        for line in old.lines().filter(|line| line.starts_with(['#', '='])) {
            text.push_str(line);
            text.push('\n');
            if let Some((_, message)) = line.strip_prefix('=').and_then(|kind| kind.rsplit_once(' ')) {
                self.wanted.insert(Type::of(message)?);
            }
        }
        while let Some(next) = self.wanted.pop_first() {
            let name = next.message();
            if !self.written.contains_key(&name) {
                let fields = match self.special.get(&name) {
                    Some(form) => form.clone(),
                    None => self.fields(&next).with_context(|| format!("cannot write {name}"))?,
                };
                self.written.insert(name, fields);
            }
        }
        for (name, fields) in &self.written {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{}", format!("{name} {fields}").trim_end());
        }
        Ok(text)
    }

    fn fields(&mut self, of: &Type) -> Result<String> {
        let fields = self.source.package(&of.package)?.structs.get(&of.name).cloned();
        let fields = fields.with_context(|| format!("{} has no struct {}", of.package, of.name))?;
        let mut lines = BTreeMap::new();
        for field in fields {
            // Types of objects (`TypeMeta`) have none: they stand in the envelope.
            let Some(tag) = field.tag else { continue };
            lines.insert(tag, format!("{tag}:{}:{}", field.name(), self.kind(&of.package, &field)?));
        }
        Ok(lines.into_values().collect::<Vec<_>>().join(" "))
    }

    /// The type of a field, as the file writes it.
    fn kind(&mut self, package: &str, field: &Field) -> Result<String> {
        let inline = if field.json.is_empty() { "^" } else { "" };
        Ok(format!("{inline}{}", self.shape(package, &field.kind)?))
    }

    fn shape(&mut self, package: &str, kind: &str) -> Result<String> {
        if let Some((_, letter)) = SCALARS.iter().find(|(scalar, _)| *scalar == kind) {
            return Ok((*letter).to_owned());
        }
        if let Some(rest) = kind.strip_prefix('*') {
            return Ok(format!("?{}", self.shape(package, rest)?));
        }
        if let Some(rest) = kind.strip_prefix("[]") {
            return Ok(format!("*{}", self.shape(package, rest)?));
        }
        if let Some((_, rest)) = kind.strip_prefix("map[").and_then(|kind| kind.split_once(']')) {
            return Ok(format!("%{}", self.shape(package, rest)?));
        }
        let named = self.named(package, kind)?;
        let message = named.message();
        let underlying = self.source.package(&named.package)?.names.get(&named.name).cloned();
        if let Some(underlying) = underlying.filter(|_| !self.special.contains_key(&message)) {
            return self.shape(&named.package, &underlying);
        }
        self.wanted.insert(named);
        Ok(format!("@{message}"))
    }

    /// Which type a name means in a package.
    fn named(&mut self, package: &str, kind: &str) -> Result<Type> {
        let Some((import, name)) = kind.split_once('.') else {
            return Ok(Type { package: package.to_owned(), name: kind.to_owned() });
        };
        let imports = &self.source.package(package)?.imports;
        let package = imports.get(import).with_context(|| format!("{package} imports no {import}"))?;
        Ok(Type { package: package.clone(), name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_named_as_upstream_names_them() {
        for message in ["api.core.v1.Pod", "apiextensions_apiserver.pkg.apis.apiextensions.v1.JSON"] {
            assert_eq!(Type::of(message).unwrap().message(), message);
        }
        let quantity =
            Type { package: "k8s.io/apimachinery/pkg/api/resource".to_owned(), name: "Quantity".to_owned() };
        assert_eq!(quantity.message(), "api.resource.Quantity");
    }

    #[test]
    fn fields_are_those_of_the_tags() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "api@v1/x/v1/types.go",
            "package v1\n\nimport (\n\tmetav1 \"k8s.io/apimachinery/pkg/apis/meta/v1\"\n\t\"k8s.io/apimachinery/pkg/api/resource\"\n)\n\n\
             type Mode string\n\ntype Sizes map[Mode]resource.Quantity\n\n\
             type Thing struct {\n\tmetav1.TypeMeta `json:\",inline\"`\n\
             \tmetav1.ObjectMeta `json:\"metadata\" protobuf:\"bytes,1,opt,name=metadata\"`\n\
             \tInner `json:\",inline\" protobuf:\"bytes,3,opt,name=inner\"`\n\
             \tMode *Mode `json:\"mode\" protobuf:\"bytes,2,opt,name=mode\"`\n\
             \tData map[string][]byte `json:\"data\" protobuf:\"bytes,4,rep,name=data\"`\n}\n\n\
             type Inner struct {\n\tSizes Sizes `json:\"sizes\" protobuf:\"bytes,1,rep,name=sizes\"`\n\
             \tCounts []int32 `json:\"counts\" protobuf:\"varint,2,rep,name=counts\"`\n}\n",
        );
        write(
            "apimachinery@v1/pkg/apis/meta/v1/types.go",
            "type ObjectMeta struct {\n\tName string `json:\"name\" protobuf:\"bytes,1,opt,name=name\"`\n}\n",
        );
        write("apimachinery@v1/pkg/api/resource/quantity.go", "type Quantity struct {\n}\n");
        let old =
            "# words\n=x/v1 Thing api.x.v1.Thing\napi.x.v1.Gone 1:a:s\napi.resource.Quantity !quantity\n";
        let mut source = Source::new(folder.path(), "v1");
        let text = Messages::new(&mut source, old).text(old).unwrap();
        assert_eq!(
            text,
            "# words\n=x/v1 Thing api.x.v1.Thing\n\
             api.resource.Quantity !quantity\n\
             api.x.v1.Inner 1:sizes:%@api.resource.Quantity 2:counts:*i\n\
             api.x.v1.Thing 1:metadata:@apimachinery.pkg.apis.meta.v1.ObjectMeta 2:mode:?s 3:Inner:^@api.x.v1.Inner 4:data:%y\n\
             apimachinery.pkg.apis.meta.v1.ObjectMeta 1:name:s\n"
        );
    }
}
