//! The macros that the parser does not know: those of optionals, of loops with
//! two variables and of sorted lists; and how loops with two variables are run.

use kube_cel::cel::IdedExpr;
use kube_cel::cel::common::ast::{
    CallExpr, ComprehensionExpr, Expr, ListExpr, LiteralValue, MapExpr, operators,
};

use super::infer::Wrong;
use super::walk;

/// The variable loops build their result in, as the parser names it.
const RESULT: &str = "@result";
/// The variable of loops over nothing.
const UNUSED: &str = "#unused";
/// Most parts that macros may copy: `optMap` copies what it is called on, and
/// so twice as much with each call on a result of its own.
const MAX_COPIED: usize = 20_000;
/// The list that is being sorted.
const SORTED: &str = "@__sortBy_input__";
/// Types whose names have dots; they become one name.
pub(super) const TYPES: [&str; 2] = ["google.protobuf.Duration", "google.protobuf.Timestamp"];
/// Adds an entry to a map.
pub(super) const INSERT: &str = "cel.@mapInsert";
/// Sorts a list by keys.
pub(super) const SORT: &str = "@sortByAssociatedKeys";
/// An optional of a value, none of null.
pub(super) const MAYBE: &str = "@maybe";
/// The pairs of a list or map, for the loops of [`run_form`].
pub(super) const PAIRS: &str = "@pairs";

/// Expands macros and joins the names of types; parts that come to be have the
/// number of their macro.
///
/// # Errors
/// The parts that have another form than their macros need, and what form that is.
pub(super) fn expand(expression: &mut IdedExpr) -> Result<Numbers, Vec<Wrong>> {
    let mut numbers = Numbers { next: largest(expression) + 1, of_macro: Vec::new(), copied: 0 };
    let mut wrong = Vec::new();
    numbers.expand(expression, &mut wrong);
    if wrong.is_empty() { Ok(numbers) } else { Err(wrong) }
}

fn largest(expression: &IdedExpr) -> u64 {
    let mut largest = expression.id;
    walk::children(expression, &mut |child| largest = largest.max(self::largest(child)));
    largest
}

/// The numbers of parts that macros made.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    next: u64,
    /// What was made, in order, and the macro it came from.
    of_macro: Vec<(u64, u64)>,
    /// How many parts were copied.
    copied: usize,
}

impl Numbers {
    /// The number of the part in the text that a part came from.
    pub(super) fn origin(&self, id: u64) -> u64 {
        self.of_macro.binary_search_by_key(&id, |(made, _)| *made).map_or(id, |at| self.of_macro[at].1)
    }

    fn expand(&mut self, expression: &mut IdedExpr, wrong: &mut Vec<Wrong>) {
        walk::children_mut(expression, &mut |child| self.expand(child, wrong));
        if let Some(name) = TYPES.into_iter().find(|name| walk::is_qualified(expression, name)) {
            expression.expr = Expr::Ident(name.to_owned());
            return;
        }
        let Expr::Call(CallExpr { func_name, target: Some(target), args }) = &expression.expr else { return };
        let mut make = Maker { numbers: self, from: expression.id };
        let made = match (func_name.as_str(), args.as_slice()) {
            ("optMap", [name, body]) => make.optional(target, name, body, "optMap", true).map(Some),
            ("optFlatMap", [name, body]) => make.optional(target, name, body, "optFlatMap", false).map(Some),
            ("sortBy", [name, key]) => make.sorted(target, name, key).map(Some),
            (function, [first, second, rest @ ..]) if !rest.is_empty() => {
                make.two(function, target, (first, second), rest)
            }
            _ => Ok(None),
        };
        match made {
            Ok(Some(made)) => *expression = made,
            Ok(None) => {}
            Err(error) => wrong.push(error),
        }
    }
}

struct Maker<'a> {
    numbers: &'a mut Numbers,
    from: u64,
}

impl Maker<'_> {
    fn part(&mut self, expr: Expr) -> IdedExpr {
        let id = self.numbers.next;
        self.numbers.next += 1;
        self.numbers.of_macro.push((id, self.from));
        IdedExpr { id, expr }
    }

    fn name(&mut self, name: &str) -> IdedExpr {
        self.part(Expr::Ident(name.to_owned()))
    }

    fn truth(&mut self, truth: bool) -> IdedExpr {
        self.part(Expr::Literal(LiteralValue::Boolean(truth.into())))
    }

    fn number(&mut self, number: i64) -> IdedExpr {
        self.part(Expr::Literal(LiteralValue::Int(number.into())))
    }

    fn call(&mut self, function: &str, args: Vec<IdedExpr>) -> IdedExpr {
        self.part(Expr::Call(CallExpr { func_name: function.to_owned(), target: None, args }))
    }

    fn method(&mut self, function: &str, target: IdedExpr, args: Vec<IdedExpr>) -> IdedExpr {
        let target = Some(Box::new(target));
        self.part(Expr::Call(CallExpr { func_name: function.to_owned(), target, args }))
    }

    /// A function of the namespace `optional`.
    fn in_optional(&mut self, function: &str, args: Vec<IdedExpr>) -> IdedExpr {
        let space = self.name("optional");
        self.method(function, space, args)
    }

    /// `body` with a name for a value: a loop over nothing.
    fn bound(&mut self, name: &str, value: IdedExpr, body: IdedExpr) -> IdedExpr {
        let inner = ComprehensionExpr {
            iter_range: self.part(Expr::List(ListExpr::default())),
            iter_var: UNUSED.to_owned(),
            iter_var2: None,
            accu_var: name.to_owned(),
            accu_init: value,
            loop_cond: self.truth(false),
            loop_step: self.name(name),
            result: body,
        };
        self.part(Expr::Comprehension(Box::new(inner)))
    }

    fn optional(
        &mut self,
        target: &IdedExpr,
        name: &IdedExpr,
        body: &IdedExpr,
        function: &str,
        wrap: bool,
    ) -> Result<IdedExpr, Wrong> {
        let Expr::Ident(variable) = &name.expr else {
            return Err((name.id, format!("{function}() variable name must be a simple identifier")));
        };
        self.numbers.copied += walk::count(target);
        if self.numbers.copied > MAX_COPIED {
            return Err((self.from, format!("{function}() is used too often on the results of itself")));
        }
        let there = self.method("hasValue", target.clone(), Vec::new());
        let value = self.method("value", target.clone(), Vec::new());
        let mut mapped = self.bound(variable, value, body.clone());
        if wrap {
            mapped = self.in_optional("of", vec![mapped]);
        }
        let none = self.in_optional("none", Vec::new());
        Ok(self.call(operators::CONDITIONAL, vec![there, mapped, none]))
    }

    fn sorted(&mut self, target: &IdedExpr, name: &IdedExpr, key: &IdedExpr) -> Result<IdedExpr, Wrong> {
        if matches!(target.expr, Expr::Literal(_) | Expr::Map(_) | Expr::Struct(_)) {
            let detail =
                "sortBy can only be applied to a list, identifier, comprehension, call or select expression";
            return Err((target.id, detail.to_owned()));
        }
        let variable = simple(name).map_err(|(id, _)| (id, "argument is not an identifier".to_owned()))?;
        let range = self.name(SORTED);
        let init = self.part(Expr::List(ListExpr::default()));
        let item = self.part(Expr::List(ListExpr::new(vec![key.clone()])));
        let before = self.name(RESULT);
        let step = self.call(operators::ADD, vec![before, item]);
        let condition = self.truth(true);
        let keys = self.looped(range, (variable, None), init, condition, step);
        let list = self.name(SORTED);
        let sorted = self.method(SORT, list, vec![keys]);
        Ok(self.bound(SORTED, target.clone(), sorted))
    }

    fn looped(
        &mut self,
        range: IdedExpr,
        variables: (String, Option<String>),
        init: IdedExpr,
        condition: IdedExpr,
        step: IdedExpr,
    ) -> IdedExpr {
        let inner = ComprehensionExpr {
            iter_range: range,
            iter_var: variables.0,
            iter_var2: variables.1,
            accu_var: RESULT.to_owned(),
            accu_init: init,
            loop_cond: condition,
            loop_step: step,
            result: self.name(RESULT),
        };
        self.part(Expr::Comprehension(Box::new(inner)))
    }

    /// The loops with two variables.
    fn two(
        &mut self,
        function: &str,
        target: &IdedExpr,
        (first, second): (&IdedExpr, &IdedExpr),
        rest: &[IdedExpr],
    ) -> Result<Option<IdedExpr>, Wrong> {
        let (filter, body) = match (function, rest) {
            (
                "all" | "exists" | "existsOne" | "exists_one" | "transformList" | "transformMap"
                | "transformMapEntry",
                [body],
            ) => (None, body),
            ("transformList" | "transformMap" | "transformMapEntry", [filter, body]) => (Some(filter), body),
            _ => return Ok(None),
        };
        let (key, value) = (simple(first)?, simple(second)?);
        if key == value {
            return Err((second.id, format!("duplicate variable name: {key}")));
        }
        let (init, condition, mut step) = match function {
            "all" | "exists" => self.quantified(function == "all", body),
            "existsOne" | "exists_one" => {
                let (init, one) = (self.number(0), self.number(1));
                let (before, same) = (self.name(RESULT), self.name(RESULT));
                let more = self.call(operators::ADD, vec![before, one]);
                let step = self.call(operators::CONDITIONAL, vec![body.clone(), more, same]);
                (init, self.truth(true), step)
            }
            "transformList" => {
                let item = self.part(Expr::List(ListExpr::new(vec![body.clone()])));
                let before = self.name(RESULT);
                let step = self.call(operators::ADD, vec![before, item]);
                (self.part(Expr::List(ListExpr::default())), self.truth(true), step)
            }
            _ => {
                let mut parts = vec![self.name(RESULT)];
                if function == "transformMap" {
                    parts.push(self.name(&key));
                }
                parts.push(body.clone());
                let step = self.call(INSERT, parts);
                (self.part(Expr::Map(MapExpr::default())), self.truth(true), step)
            }
        };
        if let Some(filter) = filter {
            let same = self.name(RESULT);
            step = self.call(operators::CONDITIONAL, vec![filter.clone(), step, same]);
        }
        let mut whole = self.looped(target.clone(), (key, Some(value)), init, condition, step);
        if matches!(function, "existsOne" | "exists_one")
            && let Expr::Comprehension(inner) = &mut whole.expr
        {
            let (found, one) = (self.name(RESULT), self.number(1));
            inner.result = self.call(operators::EQUALS, vec![found, one]);
        }
        Ok(Some(whole))
    }

    /// Where `all` and `exists` start, how long they go on and what they do.
    fn quantified(&mut self, all: bool, body: &IdedExpr) -> (IdedExpr, IdedExpr, IdedExpr) {
        let init = self.truth(all);
        let mut open = self.name(RESULT);
        if !all {
            open = self.call(operators::LOGICAL_NOT, vec![open]);
        }
        let condition = self.call(operators::NOT_STRICTLY_FALSE, vec![open]);
        let before = self.name(RESULT);
        let operator = if all { operators::LOGICAL_AND } else { operators::LOGICAL_OR };
        (init, condition, self.call(operator, vec![before, body.clone()]))
    }
}

fn simple(name: &IdedExpr) -> Result<String, Wrong> {
    match &name.expr {
        Expr::Ident(name) => Ok(name.clone()),
        _ => Err((name.id, "argument must be a simple name".to_owned())),
    }
}

/// The form in which an expression is run, for the evaluator knows loops with
/// one variable only, cannot select an absent field, and names no format for a
/// name as optional. `optional` are variables with optionals.
pub(super) fn run_form(expression: &mut IdedExpr, optional: &[&str]) {
    walk::children_mut(expression, &mut |child| run_form(child, optional));
    let mut numbers = Numbers::default();
    let mut make = Maker { numbers: &mut numbers, from: 0 };
    match &mut expression.expr {
        Expr::Comprehension(inner) => {
            if let Some(second) = inner.iter_var2.take() {
                over_pairs(&mut make, inner, second);
            }
        }
        Expr::Call(call) if call.func_name == operators::OPT_SELECT => {
            operators::OPT_INDEX.clone_into(&mut call.func_name);
        }
        Expr::Call(call) if call.func_name == "named" && is_name(call.target.as_deref(), &["format"]) => {
            let whole = std::mem::take(expression);
            *expression = make.call(MAYBE, vec![whole]);
        }
        Expr::Select(select) if is_optional(&select.operand, optional) => {
            let field = std::mem::take(&mut select.field);
            let field = make.part(Expr::Literal(LiteralValue::String(field.into())));
            let found = make.call(operators::INDEX, vec![std::mem::take(&mut *select.operand), field]);
            *expression = if select.test { make.method("hasValue", found, Vec::new()) } else { found };
        }
        _ => {}
    }
}

fn is_name(expression: Option<&IdedExpr>, names: &[&str]) -> bool {
    matches!(expression.map(|expression| &expression.expr), Some(Expr::Ident(name)) if names.contains(&name.as_str()))
}

/// Whether an expression selects from an optional.
fn is_optional(expression: &IdedExpr, optional: &[&str]) -> bool {
    match &expression.expr {
        Expr::Call(call) if call.func_name == operators::OPT_INDEX => true,
        Expr::Call(call) if call.func_name == operators::INDEX => {
            call.args.first().is_some_and(|inner| is_optional(inner, optional))
        }
        _ => is_name(Some(expression), optional),
    }
}

fn over_pairs(make: &mut Maker<'_>, inner: &mut ComprehensionExpr, second: String) {
    let pair = "@pair";
    let mut step = std::mem::take(&mut inner.loop_step);
    for (index, variable) in [(1, second), (0, std::mem::take(&mut inner.iter_var))] {
        let (whole, index) = (make.name(pair), make.number(index));
        let value = make.call(operators::INDEX, vec![whole, index]);
        step = make.bound(&variable, value, step);
    }
    pair.clone_into(&mut inner.iter_var);
    inner.loop_step = step;
    let range = std::mem::take(&mut inner.iter_range);
    inner.iter_range = make.call(PAIRS, vec![range]);
}
