//! Texts with clauses (`'%d of %s'.format([1, 'a'])`): whether the clauses fit
//! their arguments.

use kube_cel::cel::IdedExpr;
use kube_cel::cel::common::ast::{CallExpr, EntryExpr, Expr, LiteralValue};

use super::infer::{Typed, Wrong};
use super::types::Type;

/// Checks a call of `format` of a text that is written down on a list that is.
///
/// # Errors
/// The first clause without argument or with one of a wrong type, or that
/// there are too many arguments.
pub(super) fn check(at: &IdedExpr, call: &CallExpr, typed: &Typed) -> Result<(), Wrong> {
    let (Some(target), [list]) = (call.target.as_deref(), call.args.as_slice()) else { return Ok(()) };
    let (Expr::Literal(LiteralValue::String(text)), Expr::List(list)) = (&target.expr, &list.expr) else {
        return Ok(());
    };
    if call.func_name != "format" {
        return Ok(());
    }
    let wrong = |text: String| (at.id, text);
    let (mut rest, mut used) = (text.inner(), 0);
    while let Some((_, clause)) = rest.split_once('%') {
        if let Some(behind) = clause.strip_prefix('%') {
            rest = behind;
            continue;
        }
        if clause.is_empty() {
            return Err(wrong("unexpected end of string".to_owned()));
        }
        let argument = list.elements.get(used).ok_or_else(|| wrong(format!("index {used} out of range")))?;
        let (letter, behind) = self::clause(clause)
            .map_err(|text| wrong(format!("could not parse formatting clause: {text}")))?;
        fits(letter, argument, typed)
            .map_err(|(id, text)| (id, format!("error during formatting: {text}")))?;
        rest = behind;
        used += 1;
    }
    let given = list.elements.len();
    if given > used {
        let text = format!("too many arguments supplied to string.format (expected {used}, got {given})");
        return Err(wrong(text));
    }
    Ok(())
}

/// The letter of a clause and what follows it.
fn clause(text: &str) -> Result<(char, &str), String> {
    let behind = match text.strip_prefix('.') {
        None => text,
        Some(digits) => {
            let behind = digits.trim_start_matches(|c: char| c.is_ascii_digit());
            let wrong = |why: &str| Err(format!("error while parsing precision: {why}"));
            if behind.is_empty() {
                return wrong("could not find end of precision specifier");
            }
            if behind.len() == digits.len() {
                return wrong(
                    "error while converting precision to integer: strconv.Atoi: parsing \"\": invalid syntax",
                );
            }
            behind
        }
    };
    match behind.chars().next() {
        Some(letter @ ('s' | 'd' | 'f' | 'e' | 'b' | 'x' | 'X' | 'o')) => Ok((letter, &behind[1..])),
        other => Err(format!("unrecognized formatting clause \"{}\"", other.unwrap_or_default())),
    }
}

fn fits(letter: char, argument: &IdedExpr, typed: &Typed) -> Result<(), Wrong> {
    let of = typed.type_of(argument);
    if *of == Type::Dyn && letter != 's' {
        return Ok(());
    }
    let whole = matches!(of, Type::Int | Type::Uint);
    let (fine, text) = match letter {
        's' => return text_fits(argument, typed),
        'd' => (whole, "decimal clause can only be used on integers"),
        'f' => (matches!(of, Type::Double | Type::String), "fixed-point clause can only be used on doubles"),
        'e' => (matches!(of, Type::Double | Type::String), "scientific clause can only be used on doubles"),
        'b' => (whole || *of == Type::Bool, "only integers and bools can be formatted as binary"),
        'o' => (whole, "octal clause can only be used on integers"),
        _ => (
            whole || matches!(of, Type::String | Type::Bytes),
            "only integers, byte buffers, and strings can be formatted as hex",
        ),
    };
    if fine { Ok(()) } else { Err((argument.id, format!("{text}, was given {}", name(of)))) }
}

/// Whether a value can be written as a text; what is written down is looked into.
fn text_fits(argument: &IdedExpr, typed: &Typed) -> Result<(), Wrong> {
    let of = typed.type_of(argument);
    if matches!(of, Type::Object(_) | Type::Struct(_) | Type::Opaque(_) | Type::Optional(_)) {
        let text = "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps";
        return Err((argument.id, format!("{text}, was given {}", name(of))));
    }
    match &argument.expr {
        Expr::List(list) => list.elements.iter().try_for_each(|element| text_fits(element, typed)),
        Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => {
                text_fits(&entry.key, typed).and_then(|()| text_fits(&entry.value, typed))
            }
            EntryExpr::StructField(_) => Ok(()),
        }),
        _ => Ok(()),
    }
}

/// A type without its parameters.
fn name(of: &Type) -> String {
    match of {
        Type::List(_) => "list".to_owned(),
        Type::Map(..) => "map".to_owned(),
        Type::Optional(_) => "optional_type".to_owned(),
        Type::Kind(_) => "type".to_owned(),
        Type::Null => "null_type".to_owned(),
        Type::Timestamp => "google.protobuf.Timestamp".to_owned(),
        Type::Duration => "google.protobuf.Duration".to_owned(),
        other => other.to_string(),
    }
}
