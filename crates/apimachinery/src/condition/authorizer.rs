//! The variable `authorizer` of match conditions: what the user of a request, or a service account, may do
//! (the functions of `k8s.io/apiserver/pkg/cel/library/authz.go`).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kube_cel::cel::extractors::This;
use kube_cel::cel::objects::Opaque;
use kube_cel::cel::{Context, ExecutionError, Value as Cel};

use crate::meta;

/// What a check costs (kube-apiserver's estimate of asking another server).
const CHECK: u64 = 350_000;
/// What one expression may cost.
const PER_EXPRESSION: u64 = 1_000_000;

/// Decides what users may do.
pub trait Authorizer: Send + Sync {
    /// Whether the user of the request may do something to a resource or a path; or whether a service
    /// account may, if one is named.
    fn decide(&self, account: Option<&Account>, verb: &str, asked: &Asked) -> Decision;
}

/// A service account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// What a check is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A path that is no resource.
    Path(String),
    /// A resource.
    Resource(Resource),
}

/// A resource, and perhaps which one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    /// API group.
    pub group: String,
    /// Plural resource.
    pub resource: String,
    /// Subresource, empty for the object itself.
    pub subresource: String,
    /// Namespace, empty for the cluster.
    pub namespace: String,
    /// Name, empty for all.
    pub name: String,
}

/// What the authorizer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it allows it.
    pub allowed: bool,
    /// Why; empty for a plain no.
    pub reason: String,
}

impl Opaque for Decision {
    fn runtime_type_name(&self) -> &'static str {
        "kubernetes.authorization.Decision"
    }
}

/// Who is asked, for one run of one expression: checks are dear.
#[derive(Clone)]
struct Court {
    authorizer: Arc<dyn Authorizer>,
    spent: Arc<AtomicU64>,
}

impl fmt::Debug for Court {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Court")
    }
}

impl PartialEq for Court {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.spent, &other.spent)
    }
}

impl Eq for Court {}

/// A question that is being put together.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Question {
    court: Court,
    account: Option<Account>,
    part: Part,
}

/// How far a question is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Nothing,
    Group(String),
    Asked(Asked),
}

impl Opaque for Question {
    fn runtime_type_name(&self) -> &'static str {
        match self.part {
            Part::Nothing => "kubernetes.authorization.Authorizer",
            Part::Group(_) => "kubernetes.authorization.GroupCheck",
            Part::Asked(Asked::Path(_)) => "kubernetes.authorization.PathCheck",
            Part::Asked(Asked::Resource(_)) => "kubernetes.authorization.ResourceCheck",
        }
    }
}

/// The values of `authorizer` and of `authorizer.requestResource` in one run, and what checks have cost.
pub(super) struct Variables {
    pub(super) authorizer: Cel,
    pub(super) request_resource: Cel,
    spent: Arc<AtomicU64>,
}

impl Variables {
    pub(super) fn new(authorizer: &Arc<dyn Authorizer>, resource: &Resource) -> Self {
        let spent = Arc::<AtomicU64>::default();
        let court = Court { authorizer: Arc::clone(authorizer), spent: Arc::clone(&spent) };
        let value = |part| {
            let question = Question { court: court.clone(), account: None, part };
            Cel::Opaque(Arc::new(question))
        };
        Self {
            authorizer: value(Part::Nothing),
            request_resource: value(Part::Asked(Asked::Resource(resource.clone()))),
            spent,
        }
    }

    pub(super) fn spent(&self) -> u64 {
        self.spent.load(Ordering::Relaxed)
    }
}

/// What one step of a question comes to; an error is for the reader of the expression.
type Step = Result<Part, Option<&'static str>>;

fn answer(function: &str, why: Option<&'static str>) -> ExecutionError {
    why.map_or(ExecutionError::NoSuchOverload, |why| ExecutionError::function_error(function, why))
}

fn question(value: &Cel) -> Option<&Question> {
    let Cel::Opaque(value) = value else { return None };
    value.downcast_ref()
}

/// Adds a function that takes a question one step further with a text.
fn step(library: &mut Context<'_>, function: &'static str, next: fn(&Part, &str) -> Step) {
    library.add_function(function, move |This(this): This<Cel>, text: Arc<String>| {
        let question = question(&this).ok_or(ExecutionError::NoSuchOverload)?;
        let part = next(&question.part, &text).map_err(|why| answer(function, why))?;
        Ok::<_, ExecutionError>(Cel::Opaque(Arc::new(Question { part, ..question.clone() })))
    });
}

/// Adds a function that says something about a decision.
fn verdict(library: &mut Context<'_>, function: &'static str, say: fn(&Decision) -> Cel) {
    library.add_function(function, move |This(this): This<Cel>| {
        let Cel::Opaque(value) = &this else { return Err(ExecutionError::NoSuchOverload) };
        value.downcast_ref::<Decision>().map(say).ok_or(ExecutionError::NoSuchOverload)
    });
}

/// Puts a name into a question about a resource.
fn narrowed(part: &Part, set: impl FnOnce(&mut Resource)) -> Step {
    let Part::Asked(Asked::Resource(resource)) = part else { return Err(None) };
    let mut resource = resource.clone();
    set(&mut resource);
    Ok(Part::Asked(Asked::Resource(resource)))
}

fn text(text: &str) -> Cel {
    Cel::String(Arc::new(text.to_owned()))
}

/// Adds all functions of `authorizer` to a library.
pub(crate) fn register(library: &mut Context<'_>) {
    step(library, "group", |part, group| match part {
        Part::Nothing => Ok(Part::Group(group.to_owned())),
        Part::Group(_) | Part::Asked(_) => Err(None),
    });
    step(library, "path", |part, path| match part {
        Part::Nothing if path.trim().is_empty() => Err(Some("path must not be empty")),
        Part::Nothing => Ok(Part::Asked(Asked::Path(path.to_owned()))),
        Part::Group(_) | Part::Asked(_) => Err(None),
    });
    step(library, "resource", |part, resource| match part {
        Part::Group(_) if resource.trim().is_empty() => Err(Some("resource must not be empty")),
        Part::Group(group) => Ok(Part::Asked(Asked::Resource(Resource {
            group: group.clone(),
            resource: resource.to_owned(),
            ..Resource::default()
        }))),
        Part::Nothing | Part::Asked(_) => Err(None),
    });
    step(library, "subresource", |part, name| narrowed(part, |it| name.clone_into(&mut it.subresource)));
    step(library, "namespace", |part, name| narrowed(part, |it| name.clone_into(&mut it.namespace)));
    step(library, "name", |part, name| narrowed(part, |it| name.clone_into(&mut it.name)));
    // Rights do not depend on selectors here.
    step(library, "fieldSelector", |part, _| narrowed(part, |_| {}));
    step(library, "labelSelector", |part, _| narrowed(part, |_| {}));
    library.add_function(
        "serviceAccount",
        |This(this): This<Cel>, namespace: Arc<String>, name: Arc<String>| {
            service_account(&this, &namespace, &name)
        },
    );
    library.add_function("check", |This(this): This<Cel>, verb: Arc<String>| check(&this, &verb));
    verdict(library, "allowed", |decision| Cel::Bool(decision.allowed));
    verdict(library, "reason", |decision| text(&decision.reason));
    // Nothing here can fail to decide.
    verdict(library, "errored", |_| Cel::Bool(false));
    verdict(library, "error", |_| text(""));
}

fn service_account(this: &Cel, namespace: &str, name: &str) -> Result<Cel, ExecutionError> {
    let question = question(this).filter(|question| question.part == Part::Nothing);
    let question = question.ok_or(ExecutionError::NoSuchOverload)?;
    for (text, rule, why) in [
        (name, meta::dns_subdomain as fn(&str) -> Vec<String>, "Invalid service account name"),
        (namespace, meta::dns_label, "Invalid service account namespace"),
    ] {
        if !rule(text).is_empty() {
            return Err(answer("serviceAccount", Some(why)));
        }
    }
    let account = Some(Account { namespace: namespace.to_owned(), name: name.to_owned() });
    Ok(Cel::Opaque(Arc::new(Question { account, ..question.clone() })))
}

fn check(this: &Cel, verb: &str) -> Result<Cel, ExecutionError> {
    let question = question(this).ok_or(ExecutionError::NoSuchOverload)?;
    let Part::Asked(asked) = &question.part else { return Err(ExecutionError::NoSuchOverload) };
    let Court { authorizer, spent } = &question.court;
    if spent.fetch_add(CHECK, Ordering::Relaxed) + CHECK > PER_EXPRESSION {
        return Err(answer("check", Some(super::TOO_COSTLY)));
    }
    let decision = authorizer.decide(question.account.as_ref(), verb, asked);
    Ok(Cel::Opaque(Arc::new(decision)))
}
