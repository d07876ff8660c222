//! Who may use devices that others use: claims that ask for it must be in a
//! namespace that says so.

use serde_json::Value;
use windlass_apimachinery::FieldError;

use crate::call::Call;
use crate::object::Stored;

/// The label of namespaces in which claims may ask for the access of an administrator.
const LABEL: &str = "resource.kubernetes.io/admin-access";

/// The place of the first item of a list that asks for it.
fn asked(object: &Value, list: &str, item: &str) -> Option<usize> {
    let items = object.pointer(list).and_then(Value::as_array)?;
    items.iter().position(|asked| asked.pointer(item) == Some(&Value::Bool(true)))
}

impl Call<'_> {
    /// What is wrong with a claim, a template or an allocation that asks for
    /// the access of an administrator.
    pub(crate) fn admin_access(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        const RESULTS: &str = "/status/allocation/devices/results";
        if !self.kind.builtin || self.kind.group != "resource.k8s.io" || !self.kind.namespaced {
            return Vec::new();
        }
        let field = match old {
            // What was granted cannot be changed, nor can the request.
            Some(old) if asked(old, RESULTS, "/adminAccess").is_some() => None,
            Some(_) => asked(object, RESULTS, "/adminAccess")
                .map(|index| format!("status.allocation.devices.results[{index}].adminAccess")),
            None => ["/spec/devices/requests", "/spec/spec/devices/requests"]
                .iter()
                .find_map(|list| asked(object, list, "/exactly/adminAccess"))
                .map(|index| format!("spec.devices.requests[{index}].adminAccess")),
        };
        let allowed = || {
            let entry = self.server.inner.store.get(&format!("/registry/namespaces/{}", self.namespace));
            let meta = entry.and_then(|entry| Stored::of(&entry.value).ok()?.metadata().ok());
            meta.is_some_and(|meta| meta.labels.get(LABEL).is_some_and(|value| value == "true"))
        };
        let detail = || {
            format!("admin access to devices requires the `{LABEL}: true` label on the containing namespace")
        };
        field.filter(|_| !allowed()).map(|field| FieldError::forbidden(field, detail())).into_iter().collect()
    }
}
