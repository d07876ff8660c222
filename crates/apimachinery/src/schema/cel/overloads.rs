//! The functions rules may call: those of CEL and of the libraries that
//! kube-apiserver 1.35 gives to rules, with the types they take.

use std::collections::HashMap;

use super::types::Type;

/// One way to call a function.
#[derive(Debug)]
pub(super) struct Overload {
    /// The name by which costs are told apart.
    pub(super) id: &'static str,
    /// Called on a value, which is the first argument.
    pub(super) member: bool,
    pub(super) arguments: Vec<Type>,
    pub(super) result: Type,
    /// Its type parameters.
    pub(super) letters: Vec<char>,
}

/// A line per overload: function, name of the overload, `[receiver.](arguments) -> result`.
/// Single letters are parameters.
const TABLE: &str = include_str!("overloads.txt");

thread_local! {
    static FUNCTIONS: HashMap<&'static str, Vec<Overload>> = read(TABLE);
}

/// Runs `run` with the overloads of a function; `None` when there is no such function.
pub(super) fn with<T>(function: &str, run: impl FnOnce(Option<&[Overload]>) -> T) -> T {
    FUNCTIONS.with(|functions| run(functions.get(function).map(Vec::as_slice)))
}

fn read(table: &'static str) -> HashMap<&'static str, Vec<Overload>> {
    let mut functions: HashMap<&'static str, Vec<Overload>> = HashMap::new();
    for line in table.lines() {
        let mut words = line.splitn(3, ' ');
        let (Some(function), Some(id), Some(signature)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        if let Some(overload) = overload(id, signature) {
            functions.entry(function).or_default().push(overload);
        }
    }
    functions
}

fn overload(id: &'static str, signature: &'static str) -> Option<Overload> {
    let (left, result) = signature.split_once(" -> ")?;
    let (receiver, arguments) = match left.split_once(".(") {
        Some((receiver, arguments)) => (Some(receiver), arguments),
        None => (None, left.strip_prefix('(')?),
    };
    let mut rest = arguments;
    let mut types: Vec<Type> = Vec::new();
    if let Some(receiver) = receiver {
        types.push(parse(receiver)?.0);
    }
    while !rest.starts_with(')') {
        let (of, tail) = parse(rest)?;
        types.push(of);
        rest = tail.strip_prefix(", ").unwrap_or(tail);
    }
    let (result, _) = parse(result)?;
    let mut letters: Vec<char> =
        signature.split(|c: char| !c.is_ascii_alphanumeric() && c != '.').filter_map(letter).collect();
    letters.sort_unstable();
    letters.dedup();
    Some(Overload { id, member: receiver.is_some(), arguments: types, result, letters })
}

/// A capital alone is a parameter.
fn letter(word: &str) -> Option<char> {
    word.chars().next().filter(|c| word.len() == 1 && c.is_ascii_uppercase())
}

/// Reads a type; returns what follows it.
fn parse(text: &'static str) -> Option<(Type, &'static str)> {
    let end = text.find(['(', ',', ')']).unwrap_or(text.len());
    let (name, mut rest) = text.split_at(end);
    let mut parts = Vec::new();
    if let Some(mut inner) = rest.strip_prefix('(') {
        loop {
            let (part, tail) = parse(inner)?;
            parts.push(part);
            let Some(tail) = tail.strip_prefix(", ") else {
                rest = tail.strip_prefix(')')?;
                break;
            };
            inner = tail;
        }
    }
    let mut parts = parts.into_iter();
    let of = match name {
        "list" => Type::list(parts.next()?),
        "map" => Type::map(parts.next()?, parts.next()?),
        "optional" => Type::optional(parts.next()?),
        "type" => Type::Kind(parts.next().map(std::rc::Rc::new)),
        plain => self::plain(plain),
    };
    Some((of, rest))
}

fn plain(name: &'static str) -> Type {
    match name {
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "timestamp" => Type::Timestamp,
        "duration" => Type::Duration,
        "net.IP" | "net.CIDR" => Type::Opaque(name),
        _ if name.starts_with("kubernetes.") => Type::Struct(name),
        _ => letter(name).map_or(Type::Dyn, Type::Letter),
    }
}

/// The type a name stands for, as a value.
pub(super) fn named(name: &str) -> Option<Type> {
    let of = match name {
        "bool" => Type::Bool,
        "bytes" => Type::Bytes,
        "double" => Type::Double,
        "int" => Type::Int,
        "string" => Type::String,
        "uint" => Type::Uint,
        "null_type" => Type::Null,
        "list" => Type::list(Type::Dyn),
        "map" => Type::map(Type::Dyn, Type::Dyn),
        "google.protobuf.Duration" => Type::Duration,
        "google.protobuf.Timestamp" => Type::Timestamp,
        "type" => return Some(Type::Kind(None)),
        _ => return None,
    };
    Some(Type::Kind(Some(std::rc::Rc::new(of))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read() {
        let read: usize = FUNCTIONS.with(|functions| functions.values().map(Vec::len).sum());
        assert_eq!(read, TABLE.lines().count());
        with("_[_]", |overloads| {
            let shown: Vec<String> = overloads
                .unwrap()
                .iter()
                .map(|one| format!("{} {:?} {:?} {}", one.id, one.letters, one.arguments, one.result))
                .collect();
            assert_eq!(shown[0], "index_list ['A'] [List(Letter('A')), Int] A");
            assert_eq!(
                shown[3],
                "optional_map_index_value ['K', 'V'] [Optional(Map(Letter('K'), Letter('V'))), Letter('K')] optional_type(V)"
            );
        });
        with("containsIP", |overloads| {
            assert!(overloads.unwrap().iter().all(|one| one.member && one.letters.is_empty()));
        });
        assert!(with("foo", |overloads| overloads.is_none()));
    }
}
