//! In which order webhooks are asked about a request, and what becomes of the object.

use std::borrow::Cow;
use std::sync::Arc;

use futures::future::join_all;
use serde_json::{Value, json};

use super::ask::internal;
use super::hook::{Hook, Hooks};
use super::served::{Served, View};
use crate::admission::{AdmissionRequest, Operation, Origin};
use crate::call::{Call, Part};
use crate::kinds::Hook as Special;
use crate::object::meta_str;
use crate::scale;
use crate::status::ApiError;

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
    pub operation: Operation,
    /// The object before; absent for new ones.
    pub old: Option<&'a Value>,
    /// `CreateOptions` and the like.
    pub options: &'a Value,
    /// Whether nothing will be stored.
    pub dry_run: bool,
    /// Whether the object is one of a collection being deleted: webhooks are not told its name.
    pub of_collection: bool,
}

impl<'a> Question<'a> {
    /// A question about one object.
    pub(crate) const fn new(
        operation: Operation,
        old: Option<&'a Value>,
        options: &'a Value,
        dry_run: bool,
    ) -> Self {
        Self { operation, old, options, dry_run, of_collection: false }
    }
}

/// One request on its way past the webhooks.
pub(super) struct Admission<'a> {
    pub(super) call: &'a Call<'a>,
    pub(super) question: Question<'a>,
    /// The name webhooks are told.
    pub(super) name: Cow<'a, str>,
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
        let mut view = View::of(self, Some(object), question.old)?;
        let mut rounds = Reinvocation::default();
        let mut changed = Box::pin(admission.round(&hooks.mutating, &mut view, &mut rounds, false)).await?;
        if rounds.wanted {
            admission.turn(&mut view, &Served::of(self)).await?;
            let before = view.object.clone();
            if self.part != Part::Scale {
                let native = self.admission(question.operation, question.old);
                self.server.inner.admission.mutate(&native, &mut view.object);
            }
            if before != view.object {
                rounds.changed();
            }
            changed |= Box::pin(admission.round(&hooks.mutating, &mut view, &mut rounds, true)).await?;
        }
        if changed {
            admission.turn(&mut view, &Served::of(self)).await?;
            if self.part != Part::Scale {
                // Webhooks see the unknown fields of custom resources that others add; nobody else does.
                self.clean(&mut view.object).map_err(|error| internal(&error.message))?;
            }
            self.keep_managed_fields(object, &mut view.object);
            *object = if self.part == Part::Scale {
                scale::into_object(&self.kind, self.version(), object, &view.object)?
            } else {
                view.object
            };
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
        let own = View::of(self, object, question.old)?;
        // One view of each version: a conversion may be a webhook's, too.
        let mut views: Vec<Arc<View>> = vec![Arc::new(own)];
        let mut asked: Vec<(&Hook, Arc<View>)> = Vec::new();
        for hook in &hooks.validating {
            let Some(served) = admission.selected(hook, &views[0].object)? else { continue };
            let known = views.iter().find(|view| view.is_in(&served)).map(Arc::clone);
            let view = if let Some(view) = known {
                view
            } else {
                let mut view = View::clone(&views[0]);
                let turned = view.turn(self, &served).await;
                turned.map_err(|error| internal(&error.message))?;
                let view = Arc::new(view);
                views.push(Arc::clone(&view));
                view
            };
            if admission.conditions_hold(hook, &view)? {
                asked.push((hook, view));
            }
        }
        let calls = asked.iter().map(|(hook, view)| admission.ask_to_judge(hook, view));
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
        let mut view = View::of(self, object, question.old)?;
        let mut rounds = Reinvocation::default();
        Box::pin(admission.round(&hooks.mutating, &mut view, &mut rounds, false)).await?;
        Box::pin(self.judge(question, object)).await
    }

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
}

impl<'a> Admission<'a> {
    fn of(call: &'a Call<'a>, question: Question<'a>, object: Option<&Value>) -> Self {
        let named = object.map(|object| meta_str(object, "name")).unwrap_or_default();
        let name =
            if call.name.is_empty() { Cow::Owned(named.to_owned()) } else { Cow::Borrowed(&*call.name) };
        let name = if question.of_collection { Cow::Borrowed("") } else { name };
        Self { call, question, name }
    }

    /// The request as webhooks are told of it: of a Namespace, its own name is the namespace.
    pub(super) fn request(&self) -> AdmissionRequest<'_> {
        let Question { operation, old, dry_run, .. } = self.question;
        let request = self.call.admission(operation, old);
        let special = self.call.kind.hook == Special::Namespace;
        AdmissionRequest {
            subresource: self.call.subresource.map_or(request.subresource, |subresource| subresource.name),
            namespace: if special { &self.name } else { request.namespace },
            name: &self.name,
            dry_run,
            ..request
        }
    }

    /// Asks the webhooks that change objects one after the other; in the second round only those whose
    /// turn it is. Returns whether the object changed.
    async fn round(
        &self,
        hooks: &[Hook],
        view: &mut View,
        rounds: &mut Reinvocation,
        again: bool,
    ) -> Result<bool, ApiError> {
        let mut any = false;
        for (index, hook) in hooks.iter().enumerate() {
            if again && !rounds.again.contains(&index) {
                continue;
            }
            let Some(served) = self.selected(hook, &view.object)? else { continue };
            self.turn(view, &served).await?;
            if !self.conditions_hold(hook, view)? {
                continue;
            }
            let changed = self.ask_to_change(hook, view).await?;
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

    async fn turn(&self, view: &mut View, to: &Served) -> Result<(), ApiError> {
        // kube-apiserver wraps the error twice here.
        let wrapped = |error: ApiError| internal(&format!("Internal error occurred: {}", error.message));
        view.turn(self.call, to).await.map_err(wrapped)
    }
}
