//! Going through syntax trees.

use kube_cel::cel::IdedExpr;
use kube_cel::cel::common::ast::{EntryExpr, Expr};

/// How many parts an expression has, itself included.
pub(super) fn count(expression: &IdedExpr) -> usize {
    let mut count = 1;
    children(expression, &mut |child| count += self::count(child));
    count
}

/// The dotted name an expression may be.
pub(super) fn qualified(expression: &IdedExpr) -> Option<String> {
    match &expression.expr {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select(select) if !select.test => {
            Some(format!("{}.{}", qualified(&select.operand)?, select.field))
        }
        _ => None,
    }
}

/// Whether an expression selects its way to a dotted name.
pub(super) fn is_qualified(expression: &IdedExpr, name: &str) -> bool {
    let Expr::Select(select) = &expression.expr else { return false };
    name.ends_with(&select.field) && qualified(expression).as_deref() == Some(name)
}

/// Whether an expression has parts within more than `limit` others.
pub(super) fn is_deeper(expression: &IdedExpr, limit: usize) -> bool {
    let Some(limit) = limit.checked_sub(1) else { return true };
    let mut deeper = false;
    children(expression, &mut |child| deeper = deeper || is_deeper(child, limit));
    deeper
}

/// Calls `each` with every part of an expression that is an expression.
pub(super) fn children(expression: &IdedExpr, each: &mut dyn FnMut(&IdedExpr)) {
    match &expression.expr {
        Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) => {}
        Expr::Select(select) => each(&select.operand),
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).for_each(each),
        Expr::List(list) => list.elements.iter().for_each(each),
        Expr::Map(map) => map.entries.iter().for_each(|entry| children_of(&entry.expr, each)),
        Expr::Struct(of_type) => of_type.entries.iter().for_each(|entry| children_of(&entry.expr, each)),
        Expr::Comprehension(inner) => {
            [&inner.iter_range, &inner.accu_init, &inner.loop_cond, &inner.loop_step, &inner.result]
                .into_iter()
                .for_each(each);
        }
    }
}

fn children_of(entry: &EntryExpr, each: &mut dyn FnMut(&IdedExpr)) {
    match entry {
        EntryExpr::StructField(field) => each(&field.value),
        EntryExpr::MapEntry(entry) => {
            each(&entry.key);
            each(&entry.value);
        }
    }
}

/// The same, to change the parts.
pub(super) fn children_mut(expression: &mut IdedExpr, each: &mut dyn FnMut(&mut IdedExpr)) {
    match &mut expression.expr {
        Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) => {}
        Expr::Select(select) => each(&mut select.operand),
        Expr::Call(call) => call.target.as_deref_mut().into_iter().chain(&mut call.args).for_each(each),
        Expr::List(list) => list.elements.iter_mut().for_each(each),
        Expr::Map(map) => map.entries.iter_mut().for_each(|entry| children_of_mut(&mut entry.expr, each)),
        Expr::Struct(of_type) => {
            of_type.entries.iter_mut().for_each(|entry| children_of_mut(&mut entry.expr, each));
        }
        Expr::Comprehension(inner) => {
            each(&mut inner.iter_range);
            each(&mut inner.accu_init);
            each(&mut inner.loop_cond);
            each(&mut inner.loop_step);
            each(&mut inner.result);
        }
    }
}

fn children_of_mut(entry: &mut EntryExpr, each: &mut dyn FnMut(&mut IdedExpr)) {
    match entry {
        EntryExpr::StructField(field) => each(&mut field.value),
        EntryExpr::MapEntry(entry) => {
            each(&mut entry.key);
            each(&mut entry.value);
        }
    }
}
