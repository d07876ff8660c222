//! What a CEL rule refers to and how deeply it loops, read off its syntax
//! tree: a rule that cannot be evaluated is refused with its schema.

use kube_cel::cel::common::ast::{ComprehensionExpr, EntryExpr, Expr};
use kube_cel::cel::{Context, ExecutionError, IdedExpr, Program};

/// Deepest syntax tree taken: evaluation recurses.
const MAX_DEPTH: usize = 250;

/// How many loops are within one another.
pub(crate) type Loops = u32;

/// Checks that everything a rule names exists; `variables` do.
///
/// # Errors
/// The first name that does not.
pub(crate) fn check(
    expression: &IdedExpr,
    library: &Context<'_>,
    variables: &[&str],
) -> Result<Loops, String> {
    let bound = variables.iter().map(|name| (*name).to_owned()).collect();
    let mut walk = Walk { library, bound, loops: 0, deepest: 0 };
    walk.expression(expression, 0)?;
    Ok(walk.deepest)
}

struct Walk<'a, 'l> {
    library: &'a Context<'l>,
    bound: Vec<String>,
    loops: Loops,
    deepest: Loops,
}

fn undeclared(name: &str) -> String {
    format!("undeclared reference to '{name}'")
}

impl Walk<'_, '_> {
    fn expression(&mut self, expression: &IdedExpr, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("expression is nested deeper than {MAX_DEPTH} levels"));
        }
        let depth = depth + 1;
        match &expression.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) if self.bound.contains(name) || self.library.get_variable(name).is_some() => {
                Ok(())
            }
            Expr::Ident(name) => Err(undeclared(name)),
            Expr::Select(select) => self.expression(&select.operand, depth),
            Expr::List(list) => list.elements.iter().try_for_each(|element| self.expression(element, depth)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| self.entry(&entry.expr, depth)),
            Expr::Struct(of_type) => Err(undeclared(&of_type.type_name)),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension, depth),
            Expr::Call(call) => {
                call.args.iter().try_for_each(|argument| self.expression(argument, depth))?;
                let space = match call.target.as_deref().map(|target| &target.expr) {
                    Some(Expr::Ident(name)) if !self.bound.contains(name) => Some(name),
                    _ => None,
                };
                match (space, &call.target) {
                    (Some(space), _) => self.function(Some(space), &call.func_name),
                    (None, Some(target)) => {
                        self.expression(target, depth)?;
                        self.function(None, &call.func_name)
                    }
                    (None, None) => self.function(None, &call.func_name),
                }
            }
        }
    }

    fn entry(&mut self, entry: &EntryExpr, depth: usize) -> Result<(), String> {
        match entry {
            EntryExpr::StructField(field) => self.expression(&field.value, depth),
            EntryExpr::MapEntry(entry) => {
                self.expression(&entry.key, depth)?;
                self.expression(&entry.value, depth)
            }
        }
    }

    fn comprehension(&mut self, comprehension: &ComprehensionExpr, depth: usize) -> Result<(), String> {
        self.expression(&comprehension.iter_range, depth)?;
        let outer = self.bound.len();
        self.bound.extend([comprehension.iter_var.clone(), comprehension.accu_var.clone()]);
        self.bound.extend(comprehension.iter_var2.clone());
        // A loop over nothing only gives a value a name.
        let loops = !matches!(&comprehension.iter_range.expr, Expr::List(list) if list.elements.is_empty());
        self.loops += u32::from(loops);
        self.deepest = self.deepest.max(self.loops);
        let parts = [
            &comprehension.accu_init,
            &comprehension.loop_cond,
            &comprehension.loop_step,
            &comprehension.result,
        ];
        let outcome = parts.into_iter().try_for_each(|part| self.expression(part, depth));
        self.loops -= u32::from(loops);
        self.bound.truncate(outer);
        outcome
    }

    /// Whether the library has a function, found out by calling it wrongly:
    /// there is no list of names.
    fn function(&self, space: Option<&String>, name: &str) -> Result<(), String> {
        // Operators, and what macros are made of.
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || name.contains('@') {
            return Ok(());
        }
        let call = space.map_or_else(|| format!("{name}()"), |space| format!("{space}.{name}()"));
        let Ok(probe) = Program::compile(&call) else { return Err(undeclared(name)) };
        match probe.execute(self.library) {
            Err(ExecutionError::UndeclaredReference(_)) => Err(undeclared(name)),
            _ => Ok(()),
        }
    }
}
