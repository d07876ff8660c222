//! Literals that can only fail: kube-apiserver refuses them with the rule.

use kube_cel::cel::IdedExpr;
use kube_cel::cel::common::ast::{CallExpr, EntryExpr, Expr, ListExpr, LiteralValue, MapExpr};

use super::infer::{Typed, Wrong};
use super::types::Type;
use super::{template, walk};
use crate::schema::format::nanoseconds;
use crate::schema::pattern;

/// What is wrong with the literals of an expression.
pub(super) fn check(expression: &IdedExpr, typed: &Typed) -> Vec<Wrong> {
    let mut pass = Pass { typed, wrong: Vec::new() };
    pass.visit(expression, false);
    pass.wrong
}

struct Pass<'a> {
    typed: &'a Typed,
    wrong: Vec<Wrong>,
}

impl Pass<'_> {
    /// `mixed`: inside of `format`, whose arguments may be of many types.
    fn visit(&mut self, expression: &IdedExpr, mixed: bool) {
        let mut inside = mixed;
        match &expression.expr {
            Expr::Call(call) => {
                self.argument(call);
                if let Err(wrong) = template::check(expression, call, self.typed) {
                    self.wrong.push(wrong);
                }
                inside |= call.func_name == "format";
            }
            Expr::List(list) if !mixed => self.list(list),
            Expr::Map(map) if !mixed => self.map(map),
            _ => {}
        }
        walk::children(expression, &mut |child| self.visit(child, inside));
    }

    fn argument(&mut self, call: &CallExpr) {
        let Some(argument) = call.args.first() else { return };
        let Expr::Literal(LiteralValue::String(text)) = &argument.expr else { return };
        let text = text.inner();
        let fine = match call.func_name.as_str() {
            "duration" => nanoseconds(text).is_some(),
            "timestamp" => chrono::DateTime::parse_from_rfc3339(text).is_ok(),
            "matches" => pattern::compile(text).is_ok(),
            _ => true,
        };
        if !fine {
            self.wrong.push((argument.id, format!("invalid {} argument", call.func_name)));
        }
    }

    fn differs(&mut self, at: &IdedExpr, first: &Type, other: &Type) -> bool {
        if first == other {
            return false;
        }
        self.wrong.push((at.id, format!("expected type '{first}' but found '{other}'")));
        true
    }

    fn list(&mut self, list: &ListExpr) {
        let typed = self.typed;
        let mut types = list.elements.iter().enumerate().map(|(index, element)| {
            let of = typed.type_of(element);
            (element, if list.optional_indices.contains(&index) { of.unwrapped().0 } else { of })
        });
        let Some((_, first)) = types.next() else { return };
        for (element, of) in types {
            if self.differs(element, first, of) {
                return;
            }
        }
    }

    fn map(&mut self, map: &MapExpr) {
        let typed = self.typed;
        let mut entries = map.entries.iter().filter_map(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => {
                let value = typed.type_of(&entry.value);
                Some((entry, if entry.optional { value.unwrapped().0 } else { value }))
            }
            EntryExpr::StructField(_) => None,
        });
        let Some((first, first_value)) = entries.next() else { return };
        let first_key = typed.type_of(&first.key);
        for (entry, value) in entries {
            self.differs(&entry.key, first_key, typed.type_of(&entry.key));
            self.differs(&entry.value, first_value, value);
        }
    }
}
