//! Which webhooks want to be asked about a request, and in which version.

use std::sync::Arc;

use serde_json::{Map, Value};
use windlass_apimachinery::condition::{self, Account, Asked, Authorizer, Decision, Given, Resource};
use windlass_rbac::Request;

use super::admit::Admission;
use super::hook::Hook;
use super::served::{Served, View};
use crate::admission::Operation;
use crate::call::Part;
use crate::kinds::Hook as Special;
use crate::object::Stored;
use crate::server::Server;
use crate::status::{ApiError, GroupResource};
use crate::user::UserInfo;

impl Admission<'_> {
    /// The version in which a webhook wants to be asked about an object; nothing when it does not.
    pub fn selected(&self, hook: &Hook, object: &Value) -> Result<Option<Served>, ApiError> {
        // A selector that cannot be read matters only to requests that the webhook is about.
        let namespaces = self.in_namespace(hook, object);
        if matches!(namespaces, Ok(false)) {
            return Ok(None);
        }
        let objects = self.is_selected(hook, object);
        if matches!(objects, Ok(false)) {
            return Ok(None);
        }
        let Some(served) = self.matched(hook) else { return Ok(None) };
        namespaces?;
        objects?;
        Ok(Some(served))
    }

    /// The version that a rule of the webhook names.
    fn matched(&self, hook: &Hook) -> Option<Served> {
        let request = self.request();
        let matches = |rule: &super::hook::Rule, served: &Served| {
            let form = served.form(self.call);
            rule.matches(request.operation, &form, request.subresource, self.call.kind.namespaced)
        };
        let asked = Served::of(self.call);
        if hook.rules.iter().any(|rule| matches(rule, &asked)) {
            return Some(asked);
        }
        if !hook.equivalent {
            return None;
        }
        let others = asked.others(self.call);
        hook.rules.iter().find_map(|rule| others.iter().find(|other| matches(rule, other)).cloned())
    }

    fn in_namespace(&self, hook: &Hook, object: &Value) -> Result<bool, ApiError> {
        let special = self.call.kind.hook == Special::Namespace;
        let name = self.request().namespace;
        if name.is_empty() && !special {
            return Ok(true);
        }
        let selector = hook.namespaces.as_ref().map_err(ApiError::internal)?;
        if selector.is_everything() {
            return Ok(true);
        }
        let written = matches!(self.question.operation, Operation::Create | Operation::Update);
        if special && self.call.part == Part::Object && written {
            return Ok(selector.matches(labels(object)));
        }
        let entry = self.call.server.inner.store.get(&format!("/registry/namespaces/{name}"));
        let missing = || ApiError::not_found(GroupResource { group: "", resource: "namespaces" }, name);
        let labels = Stored::of(&entry.ok_or_else(missing)?.value)?.metadata()?.labels;
        Ok(selector.matches_map(&labels))
    }

    fn is_selected(&self, hook: &Hook, object: &Value) -> Result<bool, ApiError> {
        let selector = hook.objects.as_ref().map_err(ApiError::internal)?;
        let selected = |object: &Value| object.is_object() && selector.matches(labels(object));
        Ok(selector.is_everything() || selected(object) || self.question.old.is_some_and(selected))
    }

    /// Whether all match conditions of a webhook hold.
    pub fn conditions_hold(&self, hook: &Hook, view: &View) -> Result<bool, ApiError> {
        if hook.conditions.is_empty() {
            return Ok(true);
        }
        let (request, own) = (self.request(), Served::of(self.call));
        let text = str::to_owned;
        let resource = Resource {
            group: text(request.group),
            resource: text(request.resource),
            subresource: text(request.subresource),
            namespace: text(request.namespace),
            name: text(request.name),
        };
        let authorizer: Arc<dyn Authorizer> =
            Arc::new(Rights { server: self.call.server.clone(), user: request.user.clone() });
        let review = super::review::request(
            &request,
            self.question.options,
            own.form(self.call),
            view.served.form(self.call),
        );
        let given = Given {
            object: &view.object,
            old: &view.old,
            request: &review,
            resource: &resource,
            authorizer: &authorizer,
        };
        match condition::all_hold(&hook.conditions, &given) {
            Ok(hold) => Ok(hold),
            Err(_) if !hook.fail => Ok(false),
            Err(errors) => {
                let why = match errors.as_slice() {
                    [one] => one.clone(),
                    many => format!("[{}]", many.join(", ")),
                };
                Err(ApiError::forbidden(self.call.kind.resource(), &self.name, &why))
            }
        }
    }
}

fn labels(object: &Value) -> Option<&Map<String, Value>> {
    object.get("metadata")?.get("labels")?.as_object()
}

/// What the user of a request, and service accounts, may do.
struct Rights {
    server: Server,
    user: UserInfo,
}

impl Authorizer for Rights {
    fn decide(&self, account: Option<&Account>, verb: &str, asked: &Asked) -> Decision {
        let request = match asked {
            Asked::Path(path) => Request::Path { verb, path },
            Asked::Resource(Resource { group, resource, subresource, namespace, name }) => {
                Request::Resource { verb, group, resource, subresource, namespace, name }
            }
        };
        let named = account.map(|account| crate::access::account_user(&account.namespace, &account.name));
        let decision = self.server.decide(named.as_ref().unwrap_or(&self.user), &request);
        Decision { allowed: decision.is_allowed(), reason: decision.reason().to_owned() }
    }
}
