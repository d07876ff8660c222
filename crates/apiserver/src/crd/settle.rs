//! After every write of a definition the server reports what became of it,
//! in the steps kube-apiserver's controllers take: each is a write of its own.

use serde_json::Value;

use super::names::{self, Taken};
use super::{PREFIX, text};
use crate::admission::Origin;
use crate::call::{Call, Caller, Part};
use crate::object::{Stored, meta_str};
use crate::server::Server;
use crate::user::UserInfo;
use crate::write::Change;

const API_VERSION: &str = "apiextensions.k8s.io/v1";

impl Server {
    /// Reports on a definition, and on others of its group that may have
    /// waited for its names.
    pub(crate) async fn settle_definition(&self, name: &str) {
        let _turn = self.inner.naming.lock().await;
        let mut queue = vec![name.to_owned()];
        while let Some(name) = queue.pop() {
            let mut accepted = None;
            while let Some(definition) = self.definition(&name) {
                accepted.get_or_insert_with(|| definition["status"]["acceptedNames"].clone());
                let taken = self.taken(&definition);
                let Some(new) = names::next(&definition, &taken, self.now()) else { break };
                if !self.report(&name, new).await {
                    break;
                }
            }
            let now = self.definition(&name).map(|definition| definition["status"]["acceptedNames"].clone());
            if accepted.is_some() != now.is_some() || accepted != now {
                queue.extend(self.waiting(&name));
            }
        }
    }

    /// Completes a definition as if all had been reported already.
    pub(crate) fn settled_definition(&self, definition: &mut Value) {
        let taken = self.taken(definition);
        while let Some(new) = names::next(definition, &taken, self.now()) {
            *definition = new;
        }
    }

    /// Says that the objects of a definition are being deleted.
    pub(crate) async fn report_termination(&self, name: &str) {
        let Some(mut definition) = self.definition(name) else { return };
        if names::terminating(&mut definition, self.now()) {
            self.report(name, definition).await;
        }
    }

    /// Names of a removed definition may be what others wait for.
    pub(crate) async fn release_names(&self, name: &str) {
        for other in self.waiting(name) {
            Box::pin(self.settle_definition(&other)).await;
        }
    }

    fn definition(&self, name: &str) -> Option<Value> {
        let entry = self.inner.store.get(&format!("{PREFIX}{name}"))?;
        Stored::of(&entry.value).ok()?.parse(API_VERSION, entry.mod_revision).ok()
    }

    /// The other definitions of the group of `name`.
    fn siblings(&self, name: &str) -> Vec<Value> {
        let Some((_, group)) = name.split_once('.') else { return Vec::new() };
        let Ok(range) = self.inner.store.range(PREFIX, None, None, None) else { return Vec::new() };
        let others = range.entries.iter().filter(|entry| {
            let other = entry.key.strip_prefix(PREFIX).unwrap_or_default();
            other != name && other.split_once('.').is_some_and(|(_, of)| of == group)
        });
        others
            .filter_map(|entry| Stored::of(&entry.value).ok()?.parse(API_VERSION, entry.mod_revision).ok())
            .collect()
    }

    fn taken(&self, definition: &Value) -> Taken {
        let mut taken = Taken::default();
        for other in self.siblings(meta_str(definition, "name")) {
            taken.add(&other["status"]["acceptedNames"]);
        }
        let group = text(definition, "/spec/group");
        for kind in self.kinds().iter().filter(|kind| kind.builtin && kind.group == group) {
            taken.add(&serde_json::json!({
                "plural": kind.plural, "singular": kind.singular, "shortNames": kind.short_names,
                "kind": kind.kind, "listKind": kind.list_kind,
            }));
        }
        taken
    }

    /// Definitions of the group whose names were not all accepted.
    fn waiting(&self, name: &str) -> Vec<String> {
        let waits = |other: &&Value| other["spec"]["names"] != other["status"]["acceptedNames"];
        let siblings = self.siblings(name);
        siblings.iter().filter(waits).map(|other| meta_str(other, "name").to_owned()).collect()
    }

    /// Writes the status of a definition; whether that went well.
    async fn report(&self, name: &str, definition: Value) -> bool {
        let kinds = self.kinds();
        let Some(kind) = kinds.get("apiextensions.k8s.io", "customresourcedefinitions") else {
            return false;
        };
        let caller = Caller {
            user: UserInfo::admin("system:apiserver"),
            user_agent: "kube-apiserver".to_owned(),
            origin: Origin::Gc,
        };
        let mut call = Call::internal(self, &caller, std::sync::Arc::clone(kind), "", name);
        call.part = Part::Status;
        match Box::pin(call.change(Change::Replace(definition))).await {
            Ok(_) => true,
            Err(error) => {
                // Whoever changed it in between has it settled again.
                tracing::debug!(name, %error, "cannot report on a definition");
                false
            }
        }
    }
}
