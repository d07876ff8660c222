//! `authorizer.requestResource`, which is the name of a variable: a value has no members for it.

use kube_cel::cel::IdedExpr;
use kube_cel::cel::common::ast::{EntryExpr, Expr};

/// The variable.
pub const NAME: &str = "authorizer.requestResource";

/// Makes the selections that spell the variable's name that variable; returns the length of the longest
/// list in the expression.
pub fn name(expression: &mut IdedExpr) -> u64 {
    match &mut expression.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => 0,
        Expr::Select(select) => {
            let of_authorizer = select.operand.expr == Expr::Ident("authorizer".to_owned());
            if of_authorizer && select.field == "requestResource" {
                expression.expr = Expr::Ident(NAME.to_owned());
                return 0;
            }
            name(&mut select.operand)
        }
        Expr::Call(call) => {
            let parts = call.target.as_deref_mut().into_iter().chain(&mut call.args);
            parts.map(name).max().unwrap_or(0)
        }
        Expr::List(list) => {
            let own = list.elements.len() as u64;
            list.elements.iter_mut().map(name).max().unwrap_or(0).max(own)
        }
        Expr::Map(map) => {
            let own = map.entries.len() as u64;
            map.entries.iter_mut().map(|entry| entry_name(&mut entry.expr)).max().unwrap_or(0).max(own)
        }
        Expr::Struct(of_type) => {
            of_type.entries.iter_mut().map(|entry| entry_name(&mut entry.expr)).max().unwrap_or(0)
        }
        Expr::Comprehension(all) => {
            [&mut all.iter_range, &mut all.accu_init, &mut all.loop_cond, &mut all.loop_step, &mut all.result]
                .into_iter()
                .map(name)
                .max()
                .unwrap_or(0)
        }
    }
}

fn entry_name(entry: &mut EntryExpr) -> u64 {
    match entry {
        EntryExpr::StructField(field) => name(&mut field.value),
        EntryExpr::MapEntry(entry) => name(&mut entry.key).max(name(&mut entry.value)),
    }
}
