//! What running a rule may cost at most, before it runs: the estimate of
//! cel-go, on the sizes its schema allows.

use std::collections::HashMap;
use std::rc::Rc;

use kube_cel::cel::IdedExpr;
use kube_cel::cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, ListExpr, LiteralValue, MapExpr,
};

use super::call_cost;
use super::declared::Declared;
use super::infer::Typed;
use super::size::Range;
use super::types::Type;

/// The cost of making a list.
pub(super) const LIST: u64 = 10;
/// The cost of making a map.
const MAP: u64 = 30;
/// The variable of loops that only give a value a name.
const ACCUMULATOR: &str = "__result__";

/// The highest cost of an expression over values of a declared type.
pub(super) fn estimate(expression: &IdedExpr, typed: &Typed, declared: &Declared) -> u64 {
    Coster {
        typed,
        declared,
        paths: HashMap::new(),
        locals: Vec::new(),
        sizes: HashMap::new(),
        entries: HashMap::new(),
    }
    .cost(expression)
    .max
}

/// The way from a variable to a value: its name, then fields and [`ITEMS`] and the like.
type Path = Vec<Rc<str>>;

const ITEMS: &str = "@items";
const VALUES: &str = "@values";
const KEYS: &str = "@keys";
const INDICES: &str = "@indices";

/// The sizes of what a list or map that was made holds.
#[derive(Clone, Copy, Debug)]
struct Entries {
    list: bool,
    key: Range,
    value: Range,
}

impl Entries {
    fn or(self, other: Self) -> Self {
        Self { list: self.list, key: self.key.or(other.key), value: self.value.or(other.value) }
    }
}

struct Local {
    name: String,
    path: Path,
    size: Option<Range>,
    entries: Option<Entries>,
}

struct Coster<'a> {
    typed: &'a Typed,
    declared: &'a Declared,
    paths: HashMap<u64, Path>,
    locals: Vec<Local>,
    sizes: HashMap<u64, Range>,
    entries: HashMap<u64, Entries>,
}

/// An argument as the costs of calls see it.
pub(super) struct Argument<'a> {
    path: Path,
    pub(super) of: Type,
    pub(super) expression: &'a IdedExpr,
    size: Option<Range>,
}

impl Argument<'_> {
    /// The size; anything when it cannot be told.
    pub(super) fn size(&self) -> Range {
        self.size.unwrap_or(Range::UNKNOWN)
    }

    pub(super) fn known_size(&self) -> Option<Range> {
        self.size
    }
}

/// What a call costs and how large its result is.
pub(super) struct Priced {
    pub(super) cost: Range,
    pub(super) size: Option<Range>,
}

impl Coster<'_> {
    fn cost(&mut self, expression: &IdedExpr) -> Range {
        match &expression.expr {
            Expr::Unspecified | Expr::Literal(_) | Expr::Struct(_) => Range::ZERO,
            Expr::Ident(name) => {
                let path =
                    self.local(name).map_or_else(|| vec![name.as_str().into()], |local| local.path.clone());
                self.paths.insert(expression.id, path);
                Range::ONE
            }
            Expr::Select(select) => {
                let cost = self.cost(&select.operand);
                if select.test {
                    return cost;
                }
                let mut path = self.path(&select.operand);
                path.push(select.field.as_str().into());
                self.paths.insert(expression.id, path);
                let of = self.typed.type_of(&select.operand);
                let counts = matches!(of, Type::Map(..) | Type::Object(_) | Type::Struct(_));
                if counts { cost.plus(Range::ONE) } else { cost }
            }
            Expr::Call(call) => self.call(expression, call),
            Expr::List(list) => self.list(expression, list),
            Expr::Map(map) => self.map(expression, map),
            Expr::Comprehension(inner) if is_binding(inner) => self.binding(expression, inner),
            Expr::Comprehension(inner) => self.comprehension(expression, inner),
        }
    }

    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.iter().rev().find(|local| local.name == name)
    }

    fn path(&self, expression: &IdedExpr) -> Path {
        if let Expr::Ident(name) = &expression.expr
            && let Some(local) = self.local(name)
        {
            return local.path.clone();
        }
        self.paths.get(&expression.id).cloned().unwrap_or_default()
    }

    /// The size a schema allows at a path. The name of the variable does not
    /// matter: every way starts at the value the rule is about.
    fn declared_size(&self, path: &Path) -> Option<Range> {
        let (_, steps) = path.split_first()?;
        let mut at = self.declared;
        for step in steps {
            at = match &**step {
                ITEMS | VALUES => at.element()?,
                // Keys are texts without a length.
                KEYS if at.is_map() => return Some(Range::ZERO),
                KEYS => return None,
                field => at.field(field)?,
            };
        }
        Some(Range::new(0, at.max))
    }

    fn size(&mut self, expression: &IdedExpr) -> Option<Range> {
        if let Some(size) = self.sizes.get(&expression.id) {
            return Some(*size);
        }
        if let Some(size) = written(expression) {
            return Some(Range::fixed(size));
        }
        if let Some(size) = self.declared_size(&self.path(expression)) {
            self.sizes.insert(expression.id, size);
            return Some(size);
        }
        if self.typed.type_of(expression).is_scalar() {
            return Some(Range::ONE);
        }
        match &expression.expr {
            Expr::Ident(name) => self.local(name)?.size,
            _ => None,
        }
    }

    fn held(&self, expression: &IdedExpr) -> Option<Entries> {
        if let Some(entries) = self.entries.get(&expression.id) {
            return Some(*entries);
        }
        match &expression.expr {
            Expr::Ident(name) => self.local(name)?.entries,
            _ => None,
        }
    }

    fn call(&mut self, expression: &IdedExpr, call: &CallExpr) -> Range {
        if let ("dyn", [inner]) = (call.func_name.as_str(), call.args.as_slice()) {
            let cost = self.cost(inner);
            let size = self.size(inner);
            self.keep(expression, size, self.held(inner));
            return cost.plus(Range::ONE);
        }
        let costs: Vec<Range> = call.args.iter().map(|argument| self.cost(argument)).collect();
        let typed = self.typed;
        let Some(resolved) = typed.calls.get(&expression.id) else { return Range::ZERO };
        let target = call.target.as_deref().filter(|_| resolved.member);
        let before = target.map_or(Range::ZERO, |target| self.cost(target));
        let target = target.map(|target| self.argument(target));
        let arguments: Vec<Argument<'_>> = call.args.iter().map(|argument| self.argument(argument)).collect();
        let (mut whole, mut size) = (Range::new(u64::MAX, 0), None);
        for id in &resolved.overloads {
            let priced = match (*id, arguments.as_slice()) {
                ("conditional", [_, yes, no]) => self.conditional(expression, yes, no, &costs),
                ("add_string" | "add_bytes" | "add_list", [left, right]) => {
                    self.sum(expression, left, right, *id == "add_list", &costs)
                }
                _ => {
                    let items = |of: &Argument<'_>| self.item_size(of);
                    call_cost::of(&resolved.function, id, target.as_ref(), &arguments, &costs, &items)
                }
            };
            whole = whole.or(priced.cost);
            size = match (size, priced.size) {
                (Some(before), Some(now)) => Some(Range::or(before, now)),
                (before, now) => before.or(now),
            };
            if let ("index_list" | "index_map", Some(list)) = (*id, call.args.first()) {
                size = self.held(list).map(|entries| entries.value);
                let mut path = self.path(list);
                path.push(if *id == "index_list" { ITEMS } else { VALUES }.into());
                self.paths.insert(expression.id, path);
            }
            if size.is_none() {
                size = self.size(expression);
            }
        }
        self.keep(expression, size, None);
        before.plus(whole)
    }

    fn argument<'e>(&mut self, expression: &'e IdedExpr) -> Argument<'e> {
        let of = self.typed.type_of(expression).clone();
        Argument { path: self.path(expression), of, expression, size: self.size(expression) }
    }

    /// The size of the items of a list; `None` when it is none.
    fn item_size(&self, list: &Argument<'_>) -> Option<(Type, Range)> {
        let (Type::List(item) | Type::Map(item, _) | Type::Optional(item)) = &list.of else { return None };
        let mut path = list.path.clone();
        let size = if path.is_empty() {
            None
        } else {
            path.push(ITEMS.into());
            self.declared_size(&path)
        };
        Some(((**item).clone(), size.unwrap_or(Range::UNKNOWN)))
    }

    fn keep(&mut self, expression: &IdedExpr, size: Option<Range>, entries: Option<Entries>) {
        if let Some(size) = size {
            self.sizes.insert(expression.id, size);
        }
        if let Some(entries) = entries {
            self.entries.insert(expression.id, entries);
        }
    }

    fn conditional(
        &mut self,
        at: &IdedExpr,
        yes: &Argument<'_>,
        no: &Argument<'_>,
        costs: &[Range],
    ) -> Priced {
        let entries = match (self.held(yes.expression), self.held(no.expression)) {
            (Some(yes), Some(no)) => Some(yes.or(no)),
            _ => None,
        };
        self.keep(at, None, entries);
        let cost = match costs {
            [condition, yes, no] => condition.plus(Range::or(*yes, *no)),
            _ => Range::ZERO,
        };
        Priced { cost, size: Some(Range::or(yes.size(), no.size())) }
    }

    fn sum(
        &mut self,
        at: &IdedExpr,
        left: &Argument<'_>,
        right: &Argument<'_>,
        list: bool,
        costs: &[Range],
    ) -> Priced {
        if let (Some(left), Some(right)) = (self.held(left.expression), self.held(right.expression)) {
            self.keep(at, None, Some(left.or(right)));
        }
        let size = left.size().plus(right.size());
        let own = if list { Range::ONE } else { size.scaled(super::size::BYTE) };
        Priced { cost: costs.iter().fold(own, |sum, cost| sum.plus(*cost)), size: Some(size) }
    }

    fn size_or_unknown(&mut self, expression: &IdedExpr) -> Range {
        self.size(expression).unwrap_or(Range::UNKNOWN)
    }

    fn list(&mut self, expression: &IdedExpr, list: &ListExpr) -> Range {
        let mut cost = Range::fixed(LIST);
        let mut value = if list.elements.is_empty() { Range::ZERO } else { Range::new(u64::MAX, 0) };
        for element in &list.elements {
            cost = cost.plus(self.cost(element));
            value = value.or(self.size_or_unknown(element));
        }
        self.keep(expression, None, Some(Entries { list: true, key: Range::ONE, value }));
        cost
    }

    fn map(&mut self, expression: &IdedExpr, map: &MapExpr) -> Range {
        let mut cost = Range::fixed(MAP);
        let nothing = if map.entries.is_empty() { Range::ZERO } else { Range::new(u64::MAX, 0) };
        let (mut key, mut value) = (nothing, nothing);
        for entry in &map.entries {
            let EntryExpr::MapEntry(entry) = &entry.expr else { continue };
            cost = cost.plus(self.cost(&entry.key)).plus(self.cost(&entry.value));
            key = key.or(self.size_or_unknown(&entry.key));
            value = value.or(self.size_or_unknown(&entry.value));
        }
        self.keep(expression, None, Some(Entries { list: false, key, value }));
        cost
    }

    fn name(&mut self, name: &str, of: &IdedExpr) {
        let size = self.size(of);
        let local = Local { name: name.to_owned(), path: self.path(of), size, entries: self.held(of) };
        self.locals.push(local);
    }

    fn iterate(&mut self, name: &str, range: &IdedExpr, keys: bool) {
        let held = self.held(range);
        let list =
            held.map_or_else(|| matches!(self.typed.type_of(range), Type::List(_)), |entries| entries.list);
        let mut path = self.path(range);
        let step = match (keys, list) {
            (true, true) => INDICES,
            (true, false) => KEYS,
            (false, true) => ITEMS,
            (false, false) => VALUES,
        };
        path.push(step.into());
        let size = held.map(|entries| if keys { entries.key } else { entries.value });
        self.locals.push(Local { name: name.to_owned(), path, size, entries: None });
    }

    fn comprehension(&mut self, expression: &IdedExpr, inner: &ComprehensionExpr) -> Range {
        let mut cost = self.cost(&inner.iter_range).plus(self.cost(&inner.accu_init));
        self.name(&inner.accu_var, &inner.accu_init);
        let outer = self.locals.len();
        if let Some(second) = &inner.iter_var2 {
            self.iterate(&inner.iter_var, &inner.iter_range, true);
            self.iterate(second, &inner.iter_range, false);
        } else {
            let over_list = self.held(&inner.iter_range).map_or_else(
                || matches!(self.typed.type_of(&inner.iter_range), Type::List(_)),
                |entries| entries.list,
            );
            self.iterate(&inner.iter_var, &inner.iter_range, !over_list);
        }
        let round = self.cost(&inner.loop_cond).plus(self.cost(&inner.loop_step));
        self.locals.truncate(outer);
        cost = cost.plus(self.cost(&inner.result));
        self.locals.pop();
        let rounds = self.size_or_unknown(&inner.iter_range);
        cost = cost.plus(rounds.times(round));
        match &inner.accu_init.expr {
            Expr::Literal(_) => {
                let size = self.size(&inner.accu_init);
                self.keep(expression, size, None);
            }
            Expr::List(_) | Expr::Map(_) => {
                let entries = self.held(&inner.loop_step);
                self.keep(expression, Some(rounds), entries);
            }
            _ => {}
        }
        cost
    }

    fn binding(&mut self, expression: &IdedExpr, inner: &ComprehensionExpr) -> Range {
        let mut cost = self.cost(&inner.iter_range).plus(self.cost(&inner.accu_init));
        self.name(&inner.accu_var, &inner.accu_init);
        cost = cost.plus(self.cost(&inner.result));
        let (size, entries) = (self.size(&inner.result), self.held(&inner.result));
        self.locals.pop();
        self.keep(expression, size, entries);
        cost
    }
}

/// Whether a loop only gives a value a name.
fn is_binding(inner: &ComprehensionExpr) -> bool {
    let over_nothing = matches!(&inner.iter_range.expr, Expr::List(list) if list.elements.is_empty());
    let never =
        matches!(&inner.loop_cond.expr, Expr::Literal(LiteralValue::Boolean(truth)) if !*truth.inner());
    over_nothing && never && inner.accu_var != ACCUMULATOR
}

/// The size of what is written down.
fn written(expression: &IdedExpr) -> Option<u64> {
    match &expression.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner().chars().count() as u64),
        Expr::Literal(LiteralValue::Bytes(bytes)) => Some(bytes.inner().len() as u64),
        Expr::Literal(_) => Some(1),
        Expr::List(list) => Some(list.elements.len() as u64),
        Expr::Map(map) => Some(map.entries.len() as u64),
        _ => None,
    }
}
