//! Which webhooks are asked about a request, in which order, and what becomes of their answers.

use std::borrow::Cow;
use std::sync::Arc;

use futures::future::join_all;
use serde_json::{Value, json};
use windlass_apimachinery::patch;

use super::failure::CallError;
use super::hook::{Hook, Hooks, Subject};
use super::review::{Attributes, Form, Unfit, Verb, Verdict};
use crate::admission::{Operation, Origin};
use crate::call::{Call, Part};
use crate::kinds::{Hook as Special, Kind, Subresource};
use crate::object::{Stored, meta_str};
use crate::scale;
use crate::status::{ApiError, GroupResource};

/// Kinds whose writes no webhook sees: one that refuses them could never be removed.
const EXEMPT: [&str; 6] = [
    "ValidatingWebhookConfiguration",
    "MutatingWebhookConfiguration",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
];

/// A request as the webhooks are asked about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    /// What is being done.
    pub verb: Verb,
    /// The object before; absent for new ones.
    pub old: Option<&'a Value>,
    /// `CreateOptions` and the like.
    pub options: &'a Value,
    /// Whether nothing will be stored.
    pub dry_run: bool,
    /// Whether the object is one of a collection being deleted: webhooks are not told its name.
    pub of_collection: bool,
}

/// One version in which a resource is served.
#[derive(Clone)]
struct Served {
    kind: Arc<Kind>,
    version: usize,
}

impl Served {
    fn version(&self) -> &str {
        &self.kind.versions[self.version].name
    }

    fn form(&self, call: &Call<'_>) -> Form<'_> {
        let form = Form {
            group: &self.kind.group,
            version: self.version(),
            kind: &self.kind.kind,
            resource: &self.kind.plural,
            kind_group: &self.kind.group,
            kind_version: self.version(),
        };
        if call.part == Part::Scale {
            return Form { kind: "Scale", kind_group: "autoscaling", kind_version: "v1", ..form };
        }
        match call.subresource {
            Some(Subresource { kind, group_version: (kind_group, kind_version), .. }) if !kind.is_empty() => {
                Form { kind, kind_group, kind_version, ..form }
            }
            _ => form,
        }
    }

    fn is(&self, other: &Self) -> bool {
        self.version == other.version && Arc::ptr_eq(&self.kind, &other.kind)
    }
}

/// An object in one of its versions.
struct Versioned {
    object: Value,
    served: Served,
}

/// One request on its way past the webhooks.
struct Admission<'a> {
    call: &'a Call<'a>,
    question: Question<'a>,
    /// The name webhooks are told.
    name: Cow<'a, str>,
    served: Served,
}

/// Webhooks that change objects may be asked a second time, if a later one changed something.
#[derive(Default)]
struct Reinvocation {
    /// Indexes of those that were asked and want to be asked again.
    asked: Vec<usize>,
    /// Indexes of those to be asked again.
    again: Vec<usize>,
    wanted: bool,
}

impl Reinvocation {
    fn changed(&mut self) {
        self.again.append(&mut self.asked);
    }
}

impl Call<'_> {
    /// The webhooks that may have a say in this call.
    pub(crate) fn hooks(&self) -> Option<Arc<Hooks>> {
        if self.caller.origin == Origin::Bootstrap {
            return None;
        }
        let hooks = self.server.inner.hooks.hooks();
        let exempt = self.kind.group == "admissionregistration.k8s.io" && EXEMPT.contains(&&*self.kind.kind);
        (!hooks.is_empty() && !exempt).then_some(hooks)
    }

    /// Lets the webhooks change an object that is to be written, after the rules in this process have;
    /// those are asked again before a second round. The object comes back pruned and with its defaults.
    ///
    /// # Errors
    /// What a webhook refuses, or why one could not be asked.
    pub(crate) async fn admit(&self, question: Question<'_>, object: &mut Value) -> Result<bool, ApiError> {
        let Some(hooks) = self.hooks().filter(|hooks| !hooks.mutating.is_empty()) else { return Ok(false) };
        let admission = Admission::of(self, question, Some(object));
        let served = admission.served.clone();
        let mut current = Versioned { object: self.shown(object)?, served };
        let mut rounds = Reinvocation::default();
        let mut changed =
            Box::pin(admission.round(&hooks.mutating, &mut current, &mut rounds, false)).await?;
        if rounds.wanted {
            admission.convert(&mut current, &admission.served);
            let before = current.object.clone();
            if self.part != Part::Scale {
                let operation = if question.old.is_some() { Operation::Update } else { Operation::Create };
                let native = self.admission(operation, question.old);
                self.server.inner.admission.mutate(&native, &mut current.object);
            }
            if before != current.object {
                rounds.changed();
            }
            changed |= Box::pin(admission.round(&hooks.mutating, &mut current, &mut rounds, true)).await?;
        }
        if changed {
            admission.convert(&mut current, &admission.served);
            self.keep_managed_fields(object, &mut current.object);
            *object = self.unshown(object, current.object)?;
        }
        Ok(changed)
    }

    /// Asks the webhooks that judge, all at the same time.
    ///
    /// # Errors
    /// What a webhook refuses, or why one could not be asked.
    pub(crate) async fn judge(&self, question: Question<'_>, object: Option<&Value>) -> Result<(), ApiError> {
        let Some(hooks) = self.hooks().filter(|hooks| !hooks.validating.is_empty()) else { return Ok(()) };
        let admission = Admission::of(self, question, object);
        let shown = object.map(|object| self.shown(object)).transpose()?.unwrap_or_default();
        let mut calls = Vec::new();
        for hook in &hooks.validating {
            let Some(served) = admission.selected(hook, &shown)? else { continue };
            let mut current = Versioned { object: shown.clone(), served: admission.served.clone() };
            admission.convert(&mut current, &served);
            let old = admission.old(&served)?;
            if admission.conditions_hold(hook, &current, &old)? {
                calls.push(admission.ask_to_judge(hook, current, old));
            }
        }
        join_all(calls).await.into_iter().collect()
    }

    /// Asks all webhooks about something that writes no object: the end of one, a connection to one.
    ///
    /// # Errors
    /// As [`Call::judge`].
    pub(crate) async fn judge_act(
        &self,
        question: Question<'_>,
        object: Option<&Value>,
    ) -> Result<(), ApiError> {
        let Some(hooks) = self.hooks() else { return Ok(()) };
        let admission = Admission::of(self, question, object);
        let mut rounds = Reinvocation::default();
        let object_now = object.cloned().unwrap_or_default();
        let mut current = Versioned { object: object_now, served: admission.served.clone() };
        Box::pin(admission.round(&hooks.mutating, &mut current, &mut rounds, false)).await?;
        Box::pin(self.judge(question, object)).await
    }

    /// Asks the webhooks about a connection; `query` says what it is for.
    ///
    /// # Errors
    /// As [`Call::judge`], and 400 for a query that cannot be read.
    pub(crate) async fn judge_connection(&self, query: &str) -> Result<(), ApiError> {
        let Some(subresource) = self.subresource.filter(|_| self.hooks().is_some()) else { return Ok(()) };
        let mut object = json!({"kind": subresource.kind, "apiVersion": "v1"});
        for (key, value) in crate::request::pairs(query)? {
            let list = matches!(key.as_str(), "command" | "ports");
            let value = match key.as_str() {
                "stdin" | "stdout" | "stderr" | "tty" => json!(value == "true" || value == "1"),
                "ports" => json!(value.parse::<u16>().unwrap_or_default()),
                "command" | "container" | "path" => json!(value),
                _ => continue,
            };
            match object[&key].as_array_mut() {
                Some(values) => values.push(value),
                None => object[&key] = if list { json!([value]) } else { value },
            }
        }
        let question = Question {
            verb: Verb::Connect,
            old: None,
            options: &Value::Null,
            dry_run: false,
            of_collection: false,
        };
        self.judge_act(question, Some(&object)).await
    }

    /// Puts back what webhooks made of `managedFields` if that is no list of field managers.
    fn keep_managed_fields(&self, before: &Value, after: &mut Value) {
        const FIELDS: &str = "/metadata/managedFields";
        let Some(entries) = after.pointer(FIELDS).filter(|fields| before.pointer(FIELDS) != Some(fields))
        else {
            return;
        };
        let fault = |entry: &Value| match (entry["operation"].as_str(), entry["fieldsType"].as_str()) {
            (Some("Apply" | "Update"), None | Some("" | "FieldsV1")) => None,
            (Some("Apply" | "Update"), Some(_)) => Some("fieldsType must be `FieldsV1`"),
            (Some(_) | None, _) => Some("operation must be `Apply` or `Update`"),
        };
        let Some(why) = entries.as_array().into_iter().flatten().find_map(fault) else { return };
        self.warn(format!(
            ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated \
             mutating admission controller; please fix your requests: {why}"
        ));
        let metadata = crate::object::metadata_mut(after);
        match before.pointer(FIELDS) {
            Some(fields) => metadata.insert("managedFields".to_owned(), fields.clone()),
            None => metadata.remove("managedFields"),
        };
    }

    /// What webhooks see of an object: of a scale, the scale.
    fn shown(&self, object: &Value) -> Result<Value, ApiError> {
        if self.part == Part::Scale {
            return scale::of(&self.kind, self.version(), object);
        }
        Ok(object.clone())
    }

    fn unshown(&self, object: &Value, shown: Value) -> Result<Value, ApiError> {
        if self.part == Part::Scale {
            return scale::into_object(&self.kind, self.version(), object, &shown);
        }
        Ok(shown)
    }
}

impl<'a> Admission<'a> {
    fn of(call: &'a Call<'a>, question: Question<'a>, object: Option<&Value>) -> Self {
        let named = object.map(|object| meta_str(object, "name")).unwrap_or_default();
        let name =
            if call.name.is_empty() { Cow::Owned(named.to_owned()) } else { Cow::Borrowed(&*call.name) };
        let name = if question.of_collection { Cow::Borrowed("") } else { name };
        let served = Served { kind: Arc::clone(&call.kind), version: call.served };
        Self { call, question, name, served }
    }

    /// The namespace webhooks are told; of a Namespace, its own name.
    fn namespace(&self) -> &str {
        if self.call.kind.hook == Special::Namespace { &self.name } else { &self.call.namespace }
    }

    fn attributes(&self) -> Attributes<'_> {
        Attributes {
            operation: self.question.verb.as_str(),
            form: self.served.form(self.call),
            subresource: self
                .call
                .subresource
                .map_or(self.call.part.as_str(), |subresource| subresource.name),
            namespace: self.namespace(),
            name: &self.name,
            user: &self.call.caller.user,
            dry_run: self.question.dry_run,
            options: self.question.options,
        }
    }

    /// Asks the webhooks that change objects one after the other; in the second round only those whose
    /// turn it is. Returns whether the object changed.
    async fn round(
        &self,
        hooks: &[Hook],
        current: &mut Versioned,
        rounds: &mut Reinvocation,
        again: bool,
    ) -> Result<bool, ApiError> {
        let mut any = false;
        for (index, hook) in hooks.iter().enumerate() {
            if again && !rounds.again.contains(&index) {
                continue;
            }
            let Some(served) = self.selected(hook, &current.object)? else { continue };
            self.convert(current, &served);
            let old = self.old(&served)?;
            if !self.conditions_hold(hook, current, &old)? {
                continue;
            }
            let changed = self.ask_to_change(hook, current, &old).await?;
            if changed {
                any = true;
                rounds.changed();
                rounds.wanted = true;
            }
            if hook.reinvoke {
                rounds.asked.push(index);
            }
        }
        Ok(any)
    }

    /// The version in which a webhook wants to be asked about an object; nothing when it does not.
    fn selected(&self, hook: &Hook, object: &Value) -> Result<Option<Served>, ApiError> {
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

    /// The object before, in a version of its resource; null when there is none.
    fn old(&self, served: &Served) -> Result<Value, ApiError> {
        let Some(before) = self.question.old else { return Ok(Value::Null) };
        let mut old = Versioned { object: self.call.shown(before)?, served: self.served.clone() };
        self.convert(&mut old, served);
        Ok(old.object)
    }

    /// The version that a rule of the webhook names.
    fn matched(&self, hook: &Hook) -> Option<Served> {
        let attributes = self.attributes();
        let subject = Subject {
            operation: attributes.operation,
            group: attributes.form.group,
            version: attributes.form.version,
            resource: attributes.form.resource,
            subresource: attributes.subresource,
            namespaced: self.call.kind.namespaced,
        };
        if hook.rules.iter().any(|rule| rule.matches(&subject)) {
            return Some(self.served.clone());
        }
        if !hook.equivalent {
            return None;
        }
        let equivalents = self.equivalents();
        hook.rules.iter().find_map(|rule| {
            let fits = |served: &&Served| {
                let form = served.form(self.call);
                let other =
                    Subject { group: form.group, version: form.version, resource: form.resource, ..subject };
                rule.matches(&other)
            };
            equivalents.iter().find(fits).cloned()
        })
    }

    /// The other versions in which the same objects are served.
    fn equivalents(&self) -> Vec<Served> {
        let kinds = self.call.server.kinds();
        let same =
            kinds.iter().filter(|kind| kind.prefix == self.call.kind.prefix && !kind.hook.is_virtual());
        same.flat_map(|kind| {
            (0..kind.versions.len()).map(|version| Served { kind: Arc::clone(kind), version })
        })
        .filter(|served| !served.is(&self.served))
        .collect()
    }

    fn in_namespace(&self, hook: &Hook, object: &Value) -> Result<bool, ApiError> {
        let special = self.call.kind.hook == Special::Namespace;
        if self.namespace().is_empty() && !special {
            return Ok(true);
        }
        let selector = hook.namespaces.as_ref().map_err(ApiError::internal)?;
        if selector.is_everything() {
            return Ok(true);
        }
        let written = matches!(self.question.verb, Verb::Create | Verb::Update);
        if special && self.call.part == Part::Object && written {
            return Ok(selector.matches(labels(object)));
        }
        let name = self.namespace();
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

    /// Whether all match conditions hold. One that does not decides; only then do those count that
    /// cannot be told.
    fn conditions_hold(&self, hook: &Hook, object: &Versioned, old: &Value) -> Result<bool, ApiError> {
        if hook.conditions.is_empty() {
            return Ok(true);
        }
        let request = self.attributes().request(object.served.form(self.call));
        let values = [("object", &object.object), ("oldObject", old), ("request", &request)];
        let mut errors = Vec::new();
        for condition in &hook.conditions {
            match condition.as_ref().map_err(String::clone).and_then(|condition| condition.holds(&values)) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(error) => errors.push(error),
            }
        }
        match (errors.as_slice(), hook.fail) {
            ([], _) => Ok(true),
            (_, false) => Ok(false),
            (errors, true) => {
                let why = if let [one] = errors { one.clone() } else { format!("[{}]", errors.join(", ")) };
                Err(ApiError::forbidden(self.call.kind.resource(), &self.name, &why))
            }
        }
    }

    /// Brings an object into another version of its resource.
    fn convert(&self, object: &mut Versioned, to: &Served) {
        if object.served.is(to) || self.call.part == Part::Scale {
            object.served = to.clone();
            return;
        }
        if object.object.is_object() {
            let from = &object.served.kind;
            from.conversion.store(&mut object.object, &from.storage_api_version);
            to.kind.conversion.serve(&mut object.object, &to.kind.api_version(to.version()));
        }
        object.served = to.clone();
    }

    /// Sends a review; `None` when no answer is as good as consent.
    async fn ask(
        &self,
        hook: &Hook,
        object: &Versioned,
        old: &Value,
        mutating: bool,
    ) -> Result<Option<Verdict>, ApiError> {
        let name = &hook.name;
        let attributes = self.attributes();
        if attributes.dry_run && !hook.dry_run {
            let text = format!("admission webhook {name:?} does not support dry run");
            return Err(ApiError::bad_request(text));
        }
        let uid = self.call.server.uid();
        let answered = match hook.review {
            None => {
                let why = "could not create admission objects: webhook does not accept known AdmissionReview \
                           versions (v1, v1beta1)";
                Err(Unfit(why.to_owned()))
            }
            Some(version) => {
                let form = object.served.form(self.call);
                let review = attributes.review(version, &uid, form, &object.object, old);
                let answer = self.call.server.inner.webhooks.call(&hook.client, hook.timeout, &review).await;
                answer.map_err(unreached).and_then(|answer| Verdict::of(&answer, version, &uid, mutating))
            }
        };
        let verdict = match answered {
            Ok(verdict) => verdict,
            Err(error) if hook.fail => {
                return Err(internal(&format!("failed calling webhook {name:?}: {error}")));
            }
            Err(error) => {
                tracing::warn!(webhook = %name, %error, "a webhook that may fail failed");
                return Ok(None);
            }
        };
        for warning in &verdict.warnings {
            self.call.warn(warning);
        }
        if verdict.allowed { Ok(Some(verdict)) } else { Err(verdict.denial(name)) }
    }

    async fn ask_to_judge(&self, hook: &Hook, object: Versioned, old: Value) -> Result<(), ApiError> {
        self.ask(hook, &object, &old, false).await.map(|_| ())
    }

    /// Whether the object changed.
    async fn ask_to_change(
        &self,
        hook: &Hook,
        object: &mut Versioned,
        old: &Value,
    ) -> Result<bool, ApiError> {
        let Some(verdict) = self.ask(hook, object, old, true).await? else { return Ok(false) };
        if verdict.patch.as_array().is_none_or(Vec::is_empty) {
            return Ok(false);
        }
        if !object.object.is_object() {
            let text = format!(
                "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
                hook.name
            );
            return Err(internal(&text));
        }
        let mut patched = object.object.clone();
        let operations = verdict.patch.as_array().map_or(&[][..], Vec::as_slice);
        patch::json(&mut patched, operations).map_err(|error| internal(&error.to_string()))?;
        let changed = patched != object.object;
        self.complete(object, patched)?;
        Ok(changed)
    }

    /// Takes an object as a webhook left it: without unknown fields, with defaults.
    fn complete(&self, object: &mut Versioned, mut patched: Value) -> Result<(), ApiError> {
        if self.call.part != Part::Scale {
            self.call.clean(&mut patched).map_err(|error| internal(&error.message))?;
            let served = &object.served;
            served.kind.default(&served.kind.versions[served.version], &mut patched);
        }
        object.object = patched;
        Ok(())
    }
}

fn labels(object: &Value) -> Option<&serde_json::Map<String, Value>> {
    object.get("metadata")?.get("labels")?.as_object()
}

fn unreached(error: CallError) -> Unfit {
    match error {
        CallError::Config(why) => Unfit(format!("could not get REST client: {why}")),
        other => Unfit(format!("failed to call webhook: {other}")),
    }
}

/// 500, with the text as a cause, too.
fn internal(text: &str) -> ApiError {
    let mut error = ApiError::internal(text);
    error.details = None;
    error.cause("", text, "")
}

impl Call<'_> {
    /// `CreateOptions` or `UpdateOptions` of this call.
    pub(crate) fn write_options(&self, kind: &str) -> Value {
        let options = &self.options;
        let mut value = json!({"apiVersion": "meta.k8s.io/v1", "kind": kind});
        if options.dry_run {
            value["dryRun"] = json!(["All"]);
        }
        if !options.field_manager.is_empty() {
            value["fieldManager"] = json!(options.field_manager);
        }
        if let Some(given) = options.field_validation_given {
            value["fieldValidation"] = json!(given.as_str());
        }
        value
    }
}
