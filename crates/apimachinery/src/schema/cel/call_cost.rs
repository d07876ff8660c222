//! What calls cost, by the sizes of their arguments
//! (`k8s.io/apiserver/pkg/cel/library` and the libraries of cel-go).

use kube_cel::cel::common::ast::{Expr, LiteralValue};

use super::cost::{Argument, LIST, Priced};
use super::size::{BYTE, PATTERN_BYTE, Range, quotient};
use super::types::Type;

/// Longest pattern of a named format.
const FORMAT: f64 = 128.0;
/// Longest named format.
const FORMAT_SIZE: u64 = 64;
/// The cost of asking whether somebody may do something.
const AUTHORIZATION: u64 = 350_000;

/// The items of a list: their type and size.
type Items<'a> = &'a dyn Fn(&Argument<'_>) -> Option<(Type, Range)>;

/// The cost of a call, with that of its arguments.
pub(super) fn of(
    function: &str,
    overload: &str,
    target: Option<&Argument<'_>>,
    arguments: &[Argument<'_>],
    costs: &[Range],
    items: Items<'_>,
) -> Priced {
    if matches!(overload, "logical_or" | "logical_and")
        && let [left, right] = costs
    {
        return Priced { cost: Range::new(left.min, left.plus(*right).max), size: None };
    }
    let own = list(overload, target, arguments)
        .or_else(|| library(function, overload, target, arguments, items))
        .or_else(|| standard(overload, target, arguments))
        .unwrap_or(Priced { cost: Range::ONE, size: None });
    Priced { cost: costs.iter().fold(own.cost, |sum, cost| sum.plus(*cost)), size: own.size }
}

fn priced(cost: Range) -> Priced {
    Priced { cost, size: None }
}

fn sized(cost: Range, size: Range) -> Priced {
    Priced { cost, size: Some(size) }
}

fn read(of: &Argument<'_>) -> Range {
    of.size().scaled(BYTE)
}

/// The functions on sets, and those of the newer library of lists.
fn list(overload: &str, target: Option<&Argument<'_>>, arguments: &[Argument<'_>]) -> Option<Priced> {
    let made = |factor: f64, size: Range| sized(size.scaled(factor).plus(Range::fixed(1 + LIST)), size);
    let square = |of: &Argument<'_>| of.size().times(of.size());
    let sorted = |of: &str| {
        if of.starts_with("list_string") || of.starts_with("list_bytes") { 2.0 + BYTE } else { 2.0 }
    };
    Some(match (overload, target, arguments) {
        ("list_sets_contains_list" | "list_sets_intersects_list", None, [left, right]) => {
            priced(left.size().times(right.size()).plus(Range::ONE))
        }
        ("list_sets_equivalent_list", None, [left, right]) => {
            priced(left.size().times(right.size()).scaled(2.0).plus(Range::ONE))
        }
        ("list_slice", Some(target), [start, end]) => {
            let size = integer(end, target.size().max).wrapping_sub(integer(start, 0));
            made(1.0, Range::fixed(size))
        }
        ("lists_range", None, [count]) => made(1.0, Range::fixed(integer(count, u64::MAX))),
        ("list_reverse" | "list_flatten", Some(target), []) => made(1.0, target.size()),
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        ("list_flatten_int", Some(target), [depth]) => made(integer(depth, u64::MAX) as f64, target.size()),
        ("list_distinct", Some(target), []) => made(2.0, square(target)),
        (sort, Some(target), []) if sort.ends_with("_sort") => made(sorted(sort), square(target)),
        (sort, Some(_), [keys]) if sort.ends_with("_sortByAssociatedKeys") => {
            made(sorted(sort), square(keys))
        }
        _ => return None,
    })
}

/// A number that is written down.
fn integer(of: &Argument<'_>, default: u64) -> u64 {
    match &of.expression.expr {
        Expr::Literal(LiteralValue::Int(value)) => u64::try_from(*value.inner()).unwrap_or(0),
        _ => default,
    }
}

/// The functions of Kubernetes and those it prices itself.
fn library(
    function: &str,
    overload: &str,
    target: Option<&Argument<'_>>,
    arguments: &[Argument<'_>],
    items: Items<'_>,
) -> Option<Priced> {
    Some(match (function, target, arguments) {
        ("check", ..) => priced(Range::fixed(AUTHORIZATION)),
        ("isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf", Some(target), _) => {
            let Some((of, size)) = items(target) else { return Some(priced(read(target))) };
            let texts = matches!(of, Type::String | Type::Bytes);
            let each = if texts { size.scaled(BYTE).plus(Range::ONE) } else { Range::ONE };
            priced(target.size().times(each))
        }
        ("url", _, [text]) => sized(read(text), text.size()),
        ("lowerAscii" | "upperAscii" | "substring" | "trim", Some(target), _) => {
            sized(read(target), target.size())
        }
        ("replace", Some(target), [from, to, ..]) => {
            let size = replaced(target.size(), from.size(), to.size());
            sized(target.size().scaled(2.0 * BYTE), size)
        }
        ("split", Some(target), _) => {
            let most = match arguments.get(1).map(|limit| &limit.expression.expr) {
                Some(Expr::Literal(LiteralValue::Int(limit))) => limit.inner().cast_unsigned(),
                _ => target.size().max,
            };
            sized(target.size().scaled(2.0 * BYTE), Range::new(0, most))
        }
        ("join", Some(target), _) => {
            let mut size = items(target).map_or(Range::ZERO, |(_, item)| target.size().times(item));
            if let Some(separator) = arguments.first() {
                let (least, most) = (target.size().min, target.size().max);
                let gaps = Range::new(least.saturating_sub(1), most.saturating_sub(1));
                size = size.plus(separator.size().times(gaps));
            }
            sized(size.scaled(BYTE), size)
        }
        ("find" | "findAll", Some(target), [pattern, ..]) => {
            sized(matching(target, pattern), Range::new(0, target.size().max))
        }
        ("ip", ..) if overload == "cidr_ip" => priced(Range::ONE),
        (function, _, [text, ..]) if PARSED.contains(&function) => priced(read(text)),
        ("ip.isCanonical", _, [text, ..]) => priced(text.size().scaled(2.0 * BYTE)),
        ("containsIP" | "containsCIDR", _, [other, ..]) => priced(contained(overload, other)),
        ("validate", _, [text, ..]) => priced(read(text).scaled(FORMAT * PATTERN_BYTE)),
        ("_==_", _, [left, right]) if left.of == right.of => return equal(&left.of, right),
        _ if NOMINAL.contains(&function) => priced(Range::ONE),
        _ => return None,
    })
}

/// Functions that read a text.
const PARSED: [&str; 8] = ["cidr", "ip", "isCIDR", "isIP", "isQuantity", "isSemver", "quantity", "semver"];
/// Functions that only read a field.
const NOMINAL: [&str; 38] = [
    "add",
    "allowed",
    "asApproximateFloat",
    "asInteger",
    "compareTo",
    "error",
    "errored",
    "family",
    "format.named",
    "getEscapedPath",
    "getHost",
    "getHostname",
    "getPort",
    "getQuery",
    "getScheme",
    "group",
    "isGlobalUnicast",
    "isGreaterThan",
    "isInteger",
    "isLessThan",
    "isLinkLocalMulticast",
    "isLinkLocalUnicast",
    "isLoopback",
    "isUnspecified",
    "major",
    "masked",
    "minor",
    "name",
    "namespace",
    "patch",
    "path",
    "prefixLength",
    "reason",
    "resource",
    "serviceAccount",
    "sign",
    "sub",
    "subresource",
];

/// The size of a text after replacements.
fn replaced(text: Range, from: Range, to: Range) -> Range {
    let (mut count, mut kept) = (Range::ZERO, Range::ZERO);
    if from.min == 0 {
        count.max = text.max.saturating_add(1);
        kept.max = text.max;
    } else if to.max <= from.min {
        kept.max = text.max;
    } else {
        count.max = quotient(text.max, from.min);
    }
    if from.max == 0 {
        count.min = text.min.saturating_add(1);
        kept.min = text.min;
    } else if from.max <= to.min {
        kept.min = text.min;
    } else {
        count.min = quotient(text.min, from.max);
    }
    count.times(to).plus(kept)
}

/// A pattern against a text; even an empty text costs something.
fn matching(text: &Argument<'_>, pattern: &Argument<'_>) -> Range {
    text.size().plus(Range::ONE).scaled(BYTE).times(pattern.size().scaled(PATTERN_BYTE))
}

/// Whether an address or a network is within a network.
fn contained(overload: &str, other: &Argument<'_>) -> Range {
    let address = Range::new(4, 16);
    let mut cost = address.plus(address).scaled(BYTE);
    if overload.starts_with("cidr_contains_cidr") {
        cost = cost.plus(address.scaled(BYTE)).plus(Range::ONE);
    }
    if overload.ends_with("_string") { cost.plus(read(other)) } else { cost }
}

/// Equality of values of a library; `None` for others.
fn equal(of: &Type, right: &Argument<'_>) -> Option<Priced> {
    Some(match of {
        Type::Struct("kubernetes.NamedFormat") => priced(Range::new(1, FORMAT_SIZE).scaled(BYTE)),
        Type::Struct("kubernetes.URL") => {
            let size = right.known_size().unwrap_or(Range::ONE);
            priced(Range::new(1, size.max).scaled(BYTE))
        }
        Type::Opaque(_) | Type::Struct(_) => priced(Range::ONE),
        _ => return None,
    })
}

/// The functions of CEL itself.
fn standard(overload: &str, target: Option<&Argument<'_>>, arguments: &[Argument<'_>]) -> Option<Priced> {
    Some(match (overload, target, arguments) {
        ("string_format", Some(target), _) => priced(read(target)),
        ("string_to_bytes", _, [text]) => {
            let size = text.size();
            sized(read(text), Range::new(size.min, size.max.wrapping_mul(4)))
        }
        ("bytes_to_string", _, [bytes]) => {
            let size = bytes.size();
            sized(read(bytes), Range::new(size.min / 4, size.max))
        }
        ("strings_quote", _, [text]) => {
            let size = text.size();
            let most = size.max.wrapping_mul(2).wrapping_add(2);
            sized(read(text), Range::new(size.min.wrapping_add(2), most))
        }
        ("starts_with_string" | "ends_with_string", _, [part]) => priced(read(part)),
        ("in_list", _, [_, list]) => priced(list.size()),
        ("matches_string", Some(text), [pattern]) => priced(matching(text, pattern)),
        ("contains_string", Some(text), [part]) => priced(read(text).times(read(part))),
        (compared, _, [left, right]) if reads_both(compared) => {
            let most = left.size().max.min(right.size().max);
            priced(Range::new(u64::from(most > 0), most).scaled(BYTE))
        }
        _ => return None,
    })
}

fn reads_both(overload: &str) -> bool {
    matches!(
        overload,
        "equals"
            | "not_equals"
            | "less_string"
            | "less_equals_string"
            | "greater_string"
            | "greater_equals_string"
            | "less_bytes"
            | "less_equals_bytes"
            | "greater_bytes"
            | "greater_equals_bytes"
    )
}
