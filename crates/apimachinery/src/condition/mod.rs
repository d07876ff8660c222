//! The match conditions of webhooks: CEL expressions over an object, what it was before, the request, and
//! what its user may do.

mod authorizer;

use std::fmt;
use std::sync::Arc;

use kube_cel::cel::Value as Cel;
use serde_json::Value;

pub(crate) use authorizer::register;
pub use authorizer::{Account, Asked, Authorizer, Decision, Resource};

use crate::schema::cel;

/// What all conditions of a webhook may cost together, as kube-apiserver counts it.
const BUDGET: u64 = 2_500_000;
/// What is said of an expression that costs too much.
const TOO_COSTLY: &str = "operation cancelled: actual cost limit exceeded";

/// What conditions are held against.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    /// The object; null on deletion.
    pub object: &'a Value,
    /// The object before; null on creation.
    pub old: &'a Value,
    /// The request as webhooks are told it, without the objects.
    pub request: &'a Value,
    /// The resource of the request, which `authorizer.requestResource` is about.
    pub resource: &'a Resource,
    /// Knows what users may do.
    pub authorizer: &'a Arc<dyn Authorizer>,
}

/// A compiled expression that is true or false.
pub struct Condition {
    compiled: cel::Compiled,
    text: Box<str>,
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Condition").field(&self.text).finish()
    }
}

impl Condition {
    /// Compiles an expression.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn compile(text: &str) -> Result<Self, String> {
        Ok(Self { compiled: cel::condition(text)?, text: text.into() })
    }

    /// Whether it holds, and what its checks have cost.
    fn holds(&self, given: &Given<'_>, longest: u64) -> (Result<bool, String>, u64) {
        let failed = |why: String| Err(format!("expression '{}' resulted in error: {why}", self.text));
        let cel::Compiled { expression, loops, longest: own } = &self.compiled;
        if *loops > 1 && longest.max(*own).saturating_pow(*loops) >= cel::MAX_STEPS {
            return (failed(TOO_COSTLY.to_owned()), 0);
        }
        let variables = authorizer::Variables::new(given.authorizer, given.resource);
        let values = [
            cel::value(given.object),
            cel::value(given.old),
            cel::value(given.request),
            variables.authorizer.clone(),
            variables.request_resource.clone(),
        ];
        let result = cel::execute(expression, cel::CONDITION_VARIABLES.into_iter().zip(values));
        let holds = match result {
            Ok(Cel::Bool(truth)) => Ok(truth),
            Ok(_) => failed("it is no condition".to_owned()),
            Err(error) => failed(error),
        };
        (holds, variables.spent())
    }
}

/// Whether all conditions hold. One that does not decides; only then do those count that cannot be told.
///
/// # Errors
/// Why it cannot be told, worded as kube-apiserver words it.
pub fn all_hold(conditions: &[Result<Condition, String>], given: &Given<'_>) -> Result<bool, Vec<String>> {
    let values = [given.object, given.old, given.request];
    let longest = values.into_iter().map(cel::longest).max().unwrap_or(0);
    let (mut errors, mut spent) = (Vec::new(), 0);
    for condition in conditions {
        let condition = match condition {
            Ok(condition) => condition,
            Err(error) => {
                errors.push(error.clone());
                continue;
            }
        };
        let (holds, cost) = condition.holds(given, longest);
        spent += cost;
        if spent > BUDGET {
            let why = "validation failed due to running out of cost budget, no further validation rules will be run";
            return Err(vec![why.to_owned()]);
        }
        match holds {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(true) } else { Err(errors) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Allows what `who verb what` says: `user get /version`, `ns/robot list secrets`.
    struct Listed(&'static [&'static str]);

    impl Authorizer for Listed {
        fn decide(&self, account: Option<&Account>, verb: &str, asked: &Asked) -> Decision {
            let who = account.map_or("user".to_owned(), |it| format!("{}/{}", it.namespace, it.name));
            let what = match asked {
                Asked::Path(path) => path.clone(),
                Asked::Resource(Resource { group, resource, subresource, namespace, name }) => {
                    format!("{group}|{resource}|{subresource}|{namespace}|{name}")
                }
            };
            let allowed = self.0.contains(&format!("{who} {verb} {what}").as_str());
            Decision { allowed, reason: if allowed { "listed".to_owned() } else { String::new() } }
        }
    }

    fn hold(texts: &[&str]) -> Result<bool, Vec<String>> {
        let authorizer: Arc<dyn Authorizer> = Arc::new(Listed(&[
            "user create |configmaps||ns|a",
            "user get /version",
            "user update apps|deployments|scale|ns|",
            "ns/robot list |secrets|||",
        ]));
        let given = Given {
            object: &json!({"metadata": {"name": "a", "labels": {"env": "prod"}}}),
            old: &Value::Null,
            request: &json!({"operation": "CREATE"}),
            resource: &Resource {
                resource: "configmaps".to_owned(),
                namespace: "ns".to_owned(),
                name: "a".to_owned(),
                ..Resource::default()
            },
            authorizer: &authorizer,
        };
        let compiled: Vec<_> = texts.iter().map(|text| Condition::compile(text)).collect();
        all_hold(&compiled, &given)
    }

    #[test]
    fn conditions_see_the_request_and_what_its_user_may_do() {
        for (text, expected) in [
            ("object.metadata.labels['env'] == 'prod'", true),
            ("request.operation in ['UPDATE']", false),
            ("oldObject == null || oldObject.spec == object.spec", true),
            ("has(object.metadata.annotations)", false),
            ("authorizer.requestResource.check('create').allowed()", true),
            ("authorizer.requestResource.check('create').reason() == 'listed'", true),
            ("authorizer.requestResource.check('delete').allowed()", false),
            ("authorizer.requestResource.name('b').check('create').allowed()", false),
            (
                "authorizer.group('').resource('configmaps').namespace('ns').name('a').check('create').allowed()",
                true,
            ),
            (
                "authorizer.group('apps').resource('deployments').subresource('scale').namespace('ns').check('update').allowed()",
                true,
            ),
            ("authorizer.path('/version').check('get').allowed()", true),
            ("authorizer.path('/version').check('put').errored()", false),
            (
                "authorizer.serviceAccount('ns', 'robot').group('').resource('secrets').check('list').allowed()",
                true,
            ),
            ("['create'].exists(v, authorizer.requestResource.check(v).allowed())", true),
        ] {
            assert_eq!(hold(&[text]), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_told_is_said_unless_something_does_not_hold() {
        let missing = "object.metadata.labels.missing == 'x'";
        let told = |text: &str, why: &str| vec![format!("expression '{text}' resulted in error: {why}")];
        let three = "[1, 2, 3].all(x, authorizer.requestResource.check('create').allowed())";
        let nested =
            "[1,2,3,4,5,6,7,8,9,10].all(a, [1].all(b, [1].all(c, [1].all(d, [1].all(e, [1].all(f, true))))))";
        for (text, why) in [
            (missing, "no such key: missing"),
            ("authorizer.path(' ').check('get').allowed()", "path must not be empty"),
            (three, TOO_COSTLY),
            (nested, TOO_COSTLY),
        ] {
            assert_eq!(hold(&[text]), Err(told(text, why)));
        }
        assert_eq!(hold(&[missing, "false"]), Ok(false));
        let two = "[1, 2].all(x, authorizer.requestResource.check('create').allowed())";
        assert_eq!(hold(&[two; 3]), Ok(true));
        assert!(hold(&[two; 4]).unwrap_err()[0].contains("running out of cost budget"));
    }

    #[test]
    fn only_the_variables_are_known() {
        for text in ["self.spec", "object.", "oldSelf == 1", "params.x", "nothing(object)"] {
            assert!(Condition::compile(text).is_err(), "{text}");
        }
    }
}
