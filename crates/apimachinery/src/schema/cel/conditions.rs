//! Match conditions of webhooks: expressions over variables that no schema declares
//! (`BuildRequestType` of `k8s.io/apiserver/pkg/admission/plugin/cel`).

use std::rc::Rc;

use kube_cel::cel::IdedExpr;
use kube_cel::cel::common::ast::Expr;

use super::declared::Declared;
use super::types::Type;
use super::{failed, infer, literals, located, parsed, runnable, walk};

/// What match conditions may name; the last is one name, although it has a dot.
pub(crate) const VARIABLES: [&str; 5] = ["object", "oldObject", "request", "authorizer", REQUEST_RESOURCE];
const REQUEST_RESOURCE: &str = "authorizer.requestResource";

/// A match condition, ready to be run.
pub(crate) struct Compiled {
    pub(crate) expression: IdedExpr,
    /// How many loops are within one another.
    pub(crate) loops: u32,
    /// The length of the longest list or map in the expression itself.
    pub(crate) longest: u64,
}

/// Compiles a match condition.
///
/// # Errors
/// What is wrong with it, as kube-apiserver says it.
pub(crate) fn condition(text: &str) -> Result<Compiled, String> {
    let (mut expression, numbers) = parsed(text)?;
    join(&mut expression);
    let broken = |wrong| failed(&located::printed(text, wrong, &numbers));
    let types = types().into_iter().zip(VARIABLES).map(|(of, name)| (name.to_owned(), of));
    let typed = infer::infer(&expression, types.collect()).map_err(broken)?;
    let wrong = literals::check(&expression, &typed);
    if !wrong.is_empty() {
        return Err(broken(wrong));
    }
    let of = typed.type_of(&expression);
    if *of != Type::Bool {
        return Err(format!("must evaluate to bool but got {of}"));
    }
    let longest = longest(&expression);
    let (expression, loops) = runnable(expression, &VARIABLES, &[])?;
    Ok(Compiled { expression, loops, longest })
}

/// Makes the selections that spell the name of a variable that variable.
fn join(expression: &mut IdedExpr) {
    if walk::is_qualified(expression, REQUEST_RESOURCE) {
        expression.expr = Expr::Ident(REQUEST_RESOURCE.to_owned());
    }
    walk::children_mut(expression, &mut join);
}

fn longest(expression: &IdedExpr) -> u64 {
    let mut longest = match &expression.expr {
        Expr::List(list) => list.elements.len() as u64,
        Expr::Map(map) => map.entries.len() as u64,
        _ => 0,
    };
    walk::children(expression, &mut |child| longest = longest.max(self::longest(child)));
    longest
}

/// The types of [`VARIABLES`].
fn types() -> [Type; 5] {
    [
        Type::Dyn,
        Type::Dyn,
        Declared::type_of(&request()),
        Type::Struct("kubernetes.authorization.Authorizer"),
        Type::Struct("kubernetes.authorization.ResourceCheck"),
    ]
}

/// What webhooks are told of a request, without the objects.
fn request() -> Rc<Declared> {
    let text = || Declared::simple(Type::String);
    let texts = |name: &str, fields: &[&'static str]| {
        Declared::structure(name, fields.iter().map(|field| (*field, text())))
    };
    let kind = || texts("kubernetes.GroupVersionKind", &["group", "version", "kind"]);
    let resource = || texts("kubernetes.GroupVersionResource", &["group", "version", "resource"]);
    let list = || Type::list(Type::String);
    let user = Declared::structure(
        "kubernetes.UserInfo",
        [
            ("username", text()),
            ("uid", text()),
            ("groups", Declared::simple(list())),
            ("extra", Declared::simple(Type::map(Type::String, list()))),
        ],
    );
    Declared::structure(
        "kubernetes.AdmissionRequest",
        [
            ("kind", kind()),
            ("resource", resource()),
            ("subResource", text()),
            ("requestKind", kind()),
            ("requestResource", resource()),
            ("requestSubResource", text()),
            ("name", text()),
            ("namespace", text()),
            ("operation", text()),
            ("userInfo", user),
            ("dryRun", Declared::simple(Type::Bool)),
            ("options", Declared::simple(Type::Dyn)),
        ],
    )
}
