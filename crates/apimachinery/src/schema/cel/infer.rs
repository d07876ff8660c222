//! Infers the types of a rule's expressions: every name is declared, and every
//! call matches an overload. The rules are those of the checker of cel-go, and
//! so are the words.

use std::collections::{HashMap, HashSet};

use kube_cel::cel::IdedExpr;
use kube_cel::cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, ListExpr, LiteralValue, MapExpr, SelectExpr, operators,
};

use super::declared::Declared;
use super::overloads::{self, Overload};
use super::types::{Known, Type, most_general};
use super::walk;

/// What is wrong with an expression, by its number.
pub(super) type Wrong = (u64, String);

/// A call, resolved.
#[derive(Debug)]
pub(super) struct Call {
    /// With its namespace.
    pub(super) function: String,
    /// On a value.
    pub(super) member: bool,
    pub(super) overloads: Vec<&'static str>,
}

/// An expression with its types, by the numbers of its parts.
#[derive(Debug, Default)]
pub(super) struct Typed {
    types: HashMap<u64, Type>,
    pub(super) calls: HashMap<u64, Call>,
}

impl Typed {
    pub(super) fn type_of(&self, expression: &IdedExpr) -> &Type {
        self.types.get(&expression.id).unwrap_or(&Type::Dyn)
    }
}

/// Infers the types of an expression over variables.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn infer(expression: &IdedExpr, variables: Vec<(String, Type)>) -> Result<Typed, Vec<Wrong>> {
    let mut pass = Pass { scope: variables, ..Pass::default() };
    pass.check(expression);
    if !pass.wrong.is_empty() {
        return Err(pass.wrong);
    }
    let known = pass.known;
    let types = pass.typed.types.into_iter().map(|(id, of)| (id, known.resolved(&of, true))).collect();
    Ok(Typed { types, calls: pass.typed.calls })
}

#[derive(Default)]
struct Pass {
    scope: Vec<(String, Type)>,
    known: Known,
    typed: Typed,
    wrong: Vec<Wrong>,
}

impl Pass {
    fn wrong(&mut self, at: &IdedExpr, text: String) {
        self.wrong.push((at.id, text));
    }

    fn undeclared(&mut self, at: &IdedExpr, name: &str) -> Type {
        self.wrong(at, format!("undeclared reference to '{name}' (in container '')"));
        Type::Error
    }

    fn mismatch(&mut self, at: &IdedExpr, expected: &Type, found: &Type) {
        self.wrong(at, format!("expected type '{expected}' but found '{found}'"));
    }

    fn check(&mut self, expression: &IdedExpr) -> Type {
        let of = match &expression.expr {
            Expr::Unspecified => Type::Error,
            Expr::Literal(literal) => self::literal(literal),
            Expr::Ident(name) => match self.named(name) {
                Some(of) => of,
                None => self.undeclared(expression, name),
            },
            Expr::Select(select) => self.select(expression, select),
            Expr::Call(call) => self.call(expression, call),
            Expr::List(list) => self.list(list),
            Expr::Map(map) => self.map(map),
            Expr::Struct(of_type) => self.undeclared(expression, &of_type.type_name),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
        };
        self.typed.types.insert(expression.id, of.clone());
        of
    }

    fn named(&self, name: &str) -> Option<Type> {
        let name = name.strip_prefix('.').unwrap_or(name);
        let local = self.scope.iter().rev().find(|(known, _)| known == name);
        local.map(|(_, of)| of.clone()).or_else(|| overloads::named(name))
    }

    fn select(&mut self, expression: &IdedExpr, select: &SelectExpr) -> Type {
        let of = self.field(expression, &select.operand, &select.field, false);
        if select.test { Type::Bool } else { self.known.resolved(&of, false) }
    }

    fn field(&mut self, at: &IdedExpr, operand: &IdedExpr, field: &str, optional: bool) -> Type {
        let operand = self.check(operand);
        let operand = self.known.resolved(&operand, false);
        let (target, is_optional) = operand.unwrapped();
        let of = match target {
            Type::Map(_, value) => (**value).clone(),
            Type::Object(declared) => declared.selected(field).map_or_else(
                || {
                    self.wrong(at, format!("undefined field '{field}'"));
                    Type::Error
                },
                Declared::type_of,
            ),
            Type::Struct(name) => {
                self.wrong(at, format!("unexpected failed resolution of '{name}'"));
                Type::Error
            }
            Type::Variable(_) => {
                self.known.assignable(&Type::Dyn, target);
                Type::Dyn
            }
            Type::Dyn | Type::Error => Type::Dyn,
            other => {
                self.wrong(at, format!("type '{other}' does not support field selection"));
                Type::Dyn
            }
        };
        if is_optional || optional { Type::optional(of) } else { of }
    }

    fn call(&mut self, expression: &IdedExpr, call: &CallExpr) -> Type {
        if call.func_name == operators::OPT_SELECT
            && let [operand, field] = call.args.as_slice()
            && let Expr::Literal(LiteralValue::String(name)) = &field.expr
        {
            let of = self.field(expression, operand, name.inner(), true);
            self.typed.types.insert(field.id, Type::String);
            self.resolved(expression, &call.func_name, false, vec!["select_optional_field"]);
            return self.known.resolved(&of, false);
        }
        let mut arguments: Vec<Type> = call.args.iter().map(|argument| self.check(argument)).collect();
        let Some(target) = call.target.as_deref() else {
            let name = call.func_name.strip_prefix('.').unwrap_or(&call.func_name);
            return self.resolve(expression, name, false, &arguments, &call.args);
        };
        if let Some(prefix) = walk::qualified(target) {
            let name = format!("{prefix}.{}", call.func_name);
            if overloads::with(&name, |found| found.is_some()) {
                return self.resolve(expression, &name, false, &arguments, &call.args);
            }
        }
        arguments.insert(0, self.check(target));
        self.resolve(expression, &call.func_name, true, &arguments, &call.args)
    }

    fn resolved(&mut self, at: &IdedExpr, function: &str, member: bool, overloads: Vec<&'static str>) {
        self.typed.calls.insert(at.id, Call { function: function.to_owned(), member, overloads });
    }

    fn resolve(
        &mut self,
        at: &IdedExpr,
        function: &str,
        member: bool,
        arguments: &[Type],
        parts: &[IdedExpr],
    ) -> Type {
        overloads::with(function, |found| match found {
            None => self.undeclared(at, function),
            Some(_) if matches!(function, operators::LOGICAL_AND | operators::LOGICAL_OR) => {
                self.junction(at, function, arguments, parts)
            }
            Some(overloads) => self.overload(at, function, member, arguments, overloads),
        })
    }

    fn junction(&mut self, at: &IdedExpr, function: &str, arguments: &[Type], parts: &[IdedExpr]) -> Type {
        let mut of = Type::Bool;
        for (argument, part) in arguments.iter().zip(parts) {
            if !self.known.assignable(argument, &Type::Bool) {
                self.mismatch(part, &Type::Bool, argument);
                of = Type::Error;
            }
        }
        let id = if function == operators::LOGICAL_AND { "logical_and" } else { "logical_or" };
        self.resolved(at, function, false, vec![id]);
        of
    }

    fn overload(
        &mut self,
        at: &IdedExpr,
        function: &str,
        member: bool,
        arguments: &[Type],
        overloads: &[Overload],
    ) -> Type {
        let mut matched = Vec::new();
        let mut result: Option<Type> = None;
        for overload in overloads.iter().filter(|overload| overload.member == member) {
            let (wanted, returned) = self.instance(overload);
            let pairs: Vec<(&Type, &Type)> = arguments.iter().zip(&wanted).collect();
            if arguments.len() != wanted.len() || !self.known.all_assignable(&pairs) {
                continue;
            }
            matched.push(overload.id);
            let returned = self.known.resolved(&returned, false);
            result = Some(match result {
                None => returned,
                Some(before) if before == Type::Dyn || before == returned => before,
                Some(_) => Type::Dyn,
            });
        }
        if let Some(of) = result {
            self.resolved(at, function, member, matched);
            return of;
        }
        let shown: Vec<String> =
            arguments.iter().map(|of| self.known.resolved(of, true).to_string()).collect();
        let signature = match shown.split_first() {
            Some((target, rest)) if member => format!("{target}.({})", rest.join(", ")),
            _ => format!("({})", shown.join(", ")),
        };
        self.wrong(at, format!("found no matching overload for '{function}' applied to '{signature}'"));
        Type::Error
    }

    /// What an overload takes and returns, with variables of this use.
    fn instance(&mut self, overload: &Overload) -> (Vec<Type>, Type) {
        let variables: Vec<(char, Type)> =
            overload.letters.iter().map(|letter| (*letter, self.known.fresh())).collect();
        let variable = |letter: char| {
            variables.iter().find(|(known, _)| *known == letter).map_or(Type::Dyn, |(_, of)| of.clone())
        };
        let wanted = overload.arguments.iter().map(|of| of.instance(&variable)).collect();
        (wanted, overload.result.instance(&variable))
    }

    /// The type of an element that may be optional.
    fn element(&mut self, element: &IdedExpr, optional: bool) -> Type {
        let of = self.check(element);
        if !optional {
            return of;
        }
        match of.unwrapped() {
            (inner, true) => inner.clone(),
            (Type::Dyn, false) => of,
            (found, false) => {
                self.mismatch(element, &Type::optional(found.clone()), found);
                of
            }
        }
    }

    /// What holds elements of both types; that they differ is for
    /// [`super::literals`] to say.
    fn join(&mut self, before: Option<Type>, of: Type) -> Type {
        match before {
            None => of,
            Some(before) if self.known.assignable(&before, &of) => most_general(&before, &of),
            Some(_) => Type::Dyn,
        }
    }

    fn list(&mut self, list: &ListExpr) -> Type {
        let optional: HashSet<usize> = list.optional_indices.iter().copied().collect();
        let mut joined = None;
        for (index, element) in list.elements.iter().enumerate() {
            let of = self.element(element, optional.contains(&index));
            joined = Some(self.join(joined, of));
        }
        Type::list(joined.unwrap_or_else(|| self.known.fresh()))
    }

    fn map(&mut self, map: &MapExpr) -> Type {
        let (mut keys, mut values) = (None, None);
        for entry in &map.entries {
            let EntryExpr::MapEntry(entry) = &entry.expr else { continue };
            let key = self.check(&entry.key);
            keys = Some(self.join(keys, key));
            let value = self.element(&entry.value, entry.optional);
            values = Some(self.join(values, value));
        }
        let key = keys.unwrap_or_else(|| self.known.fresh());
        Type::map(key, values.unwrap_or_else(|| self.known.fresh()))
    }

    fn comprehension(&mut self, comprehension: &ComprehensionExpr) -> Type {
        let range = self.check(&comprehension.iter_range);
        let accumulated = self.check(&comprehension.accu_init);
        let range = self.known.resolved(&range, false);
        let outer = self.scope.len();
        self.scope.push((comprehension.accu_var.clone(), accumulated.clone()));
        let (first, second) = self.iterated(&comprehension.iter_range, &range);
        match &comprehension.iter_var2 {
            None => {
                // Over a list, the items; over a map, the keys.
                let item = if matches!(range, Type::List(_)) { second } else { first };
                self.scope.push((comprehension.iter_var.clone(), item));
            }
            Some(name) => {
                self.scope.push((comprehension.iter_var.clone(), first));
                self.scope.push((name.clone(), second));
            }
        }
        for (part, wanted) in
            [(&comprehension.loop_cond, &Type::Bool), (&comprehension.loop_step, &accumulated)]
        {
            let found = self.check(part);
            if !self.known.assignable(wanted, &found) {
                self.mismatch(part, wanted, &found);
            }
        }
        self.scope.truncate(outer + 1);
        let of = self.check(&comprehension.result);
        self.scope.truncate(outer);
        self.known.resolved(&of, false)
    }

    /// The types of the index or key and of the item or value in a range.
    fn iterated(&mut self, at: &IdedExpr, range: &Type) -> (Type, Type) {
        match range {
            Type::List(item) => (Type::Int, (**item).clone()),
            Type::Map(key, value) => ((**key).clone(), (**value).clone()),
            Type::Dyn | Type::Error | Type::Variable(_) => {
                self.known.assignable(&Type::Dyn, range);
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let text = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.wrong(at, text);
                (Type::Error, Type::Error)
            }
        }
    }
}

fn literal(literal: &LiteralValue) -> Type {
    match literal {
        LiteralValue::Boolean(_) => Type::Bool,
        LiteralValue::Bytes(_) => Type::Bytes,
        LiteralValue::Double(_) => Type::Double,
        LiteralValue::Int(_) => Type::Int,
        LiteralValue::Null => Type::Null,
        LiteralValue::String(_) => Type::String,
        LiteralValue::UInt(_) => Type::Uint,
    }
}
