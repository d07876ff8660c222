//! `ComponentStatus`: how what the server needs is. Nothing of it is stored.
//! kube-apiserver asks the ports of its machine for a scheduler and a
//! controller manager, too; here is the store alone.

use std::sync::Arc;

use serde_json::json;
use windlass_store::Entry;

use crate::call::Call;
use crate::kinds::Kind;
use crate::object::encode;
use crate::read::Page;
use crate::status::{ApiError, GroupResource};

/// The store, as clients know it. A server whose store has failed answers nobody.
const STORE: &str = "etcd-0";

fn store(kind: &Kind) -> Result<Arc<Entry>, ApiError> {
    let object = json!({
        "kind": kind.kind, "metadata": {"name": STORE},
        "conditions": [{"type": "Healthy", "status": "True", "message": "ok"}],
    });
    let value = encode(&object, &kind.storage_api_version)?;
    Ok(Arc::new(Entry { key: kind.key("", STORE).into(), value, mod_revision: 0, create_revision: 0 }))
}

impl Call<'_> {
    /// One component.
    ///
    /// # Errors
    /// 404.
    pub(crate) fn component(&self) -> Result<Arc<Entry>, ApiError> {
        if self.name != STORE {
            let what = GroupResource { group: "", resource: &self.kind.singular };
            return Err(ApiError::not_found(what, &self.name));
        }
        store(&self.kind)
    }

    /// All components that are asked for.
    ///
    /// # Errors
    /// 400 for selectors that cannot be read.
    pub(crate) fn components(&self) -> Result<Page, ApiError> {
        let selection = self.selection()?;
        let mut page = Page { entries: Vec::new(), revision: 0, next: None, remaining: None };
        let entry = store(&self.kind)?;
        if selection.matches(&self.kind, &self.api_version, &entry)? {
            page.entries.push(entry);
        }
        Ok(page)
    }
}
