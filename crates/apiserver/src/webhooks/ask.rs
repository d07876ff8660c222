//! Asking one webhook, and what becomes of its answer.

use windlass_apimachinery::patch;

use super::admit::Admission;
use super::failure::CallError;
use super::hook::Hook;
use super::review::{self, Unfit, Verdict};
use super::served::{Served, View};
use crate::call::Part;
use crate::status::ApiError;

impl Admission<'_> {
    /// Sends a review; `None` when no answer is as good as consent.
    async fn ask(&self, hook: &Hook, view: &View, mutating: bool) -> Result<Option<Verdict>, ApiError> {
        let name = &hook.name;
        if self.question.dry_run && !hook.dry_run {
            let text = format!("admission webhook {name:?} does not support dry run");
            return Err(ApiError::bad_request(text));
        }
        let answered = match hook.review {
            None => {
                let why = "could not create admission objects: webhook does not accept known AdmissionReview \
                           versions (v1, v1beta1)";
                Err(Unfit(why.to_owned()))
            }
            Some(version) => self.answered(hook, version, view, mutating).await,
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

    async fn answered(
        &self,
        hook: &Hook,
        version: &'static str,
        view: &View,
        mutating: bool,
    ) -> Result<Verdict, Unfit> {
        let uid = self.call.server.uid();
        let own = Served::of(self.call);
        let forms = (own.form(self.call), view.served.form(self.call));
        let request = review::request(&self.request(), self.question.options, forms.0, forms.1);
        let review = review::review(version, &uid, request, &view.object, &view.old);
        let answer = self.call.server.inner.webhooks.call(&hook.client, hook.timeout, &review).await;
        Verdict::of(&answer.map_err(unreached)?, version, &uid, mutating)
    }

    /// Asks a webhook that judges.
    pub async fn ask_to_judge(&self, hook: &Hook, view: &View) -> Result<(), ApiError> {
        self.ask(hook, view, false).await.map(|_| ())
    }

    /// Asks a webhook that may change the object; returns whether it did.
    pub async fn ask_to_change(&self, hook: &Hook, view: &mut View) -> Result<bool, ApiError> {
        let Some(verdict) = self.ask(hook, view, true).await? else { return Ok(false) };
        let operations = verdict.patch.as_array().map_or(&[][..], Vec::as_slice);
        if operations.is_empty() {
            return Ok(false);
        }
        if !view.object.is_object() {
            let text = format!(
                "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
                hook.name
            );
            return Err(internal(&text));
        }
        let mut patched = view.object.clone();
        patch::json(&mut patched, operations).map_err(|error| internal(&error.to_string()))?;
        let changed = patched != view.object;
        if self.call.part != Part::Scale {
            let mut clean = patched.clone();
            self.call.clean(&mut clean).map_err(|error| internal(&error.message))?;
            if self.call.kind.builtin {
                patched = clean;
            }
            view.served.default(&mut patched);
        }
        view.object = patched;
        Ok(changed)
    }
}

fn unreached(error: CallError) -> Unfit {
    match error {
        CallError::Config(why) => Unfit(format!("could not get REST client: {why}")),
        other => Unfit(format!("failed to call webhook: {other}")),
    }
}

/// 500, with the text as a cause, too.
pub fn internal(text: &str) -> ApiError {
    let mut error = ApiError::internal(text);
    error.details = None;
    error.cause("", text, "")
}
