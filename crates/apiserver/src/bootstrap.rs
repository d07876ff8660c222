//! What is there before the first request.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

use crate::admission::Origin;
use crate::call::{Call, Caller};
use crate::kinds::Kind;
use crate::server::{Server, StartError};
use crate::status::ApiError;
use crate::user::UserInfo;
use crate::write::Change;
use crate::write::Outcome;

/// Namespaces every cluster has.
const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

pub(crate) fn caller() -> Caller {
    Caller {
        user: UserInfo::admin("system:apiserver"),
        user_agent: "kube-apiserver".to_owned(),
        origin: Origin::Bootstrap,
    }
}

/// Creates the namespaces that are missing.
pub(crate) async fn namespaces(server: &Server) -> Result<(), StartError> {
    let kinds = server.kinds();
    let Some(kind) = kinds.get("", "namespaces") else { return Ok(()) };
    for name in NAMESPACES {
        if server.inner.store.get(&kind.key("", name)).is_none() {
            let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            put(server, kind, name, object)
                .await
                .map_err(|source| StartError::Bootstrap { name: format!("namespaces/{name}"), source })?;
        }
    }
    Ok(())
}

/// Creates an object or replaces its content; writes nothing when it is as it
/// should be.
pub(crate) async fn put(
    server: &Server,
    kind: &std::sync::Arc<Kind>,
    name: &str,
    object: Value,
) -> Result<Outcome, ApiError> {
    let caller = caller();
    let call = Call::internal(server, &caller, std::sync::Arc::clone(kind), "", name);
    if server.inner.store.get(&call.key()).is_some() {
        Box::pin(call.change(Change::Replace(object))).await
    } else {
        let mut call = call;
        call.name.clear();
        Box::pin(call.create(object)).await
    }
}

impl Server {
    /// Installs definitions, or upgrades those that are there; writes nothing
    /// when they are as given.
    ///
    /// # Errors
    /// When one is refused: the error names it.
    pub async fn install_crds(&self, definitions: &[CustomResourceDefinition]) -> Result<(), StartError> {
        let kinds = self.kinds();
        let Some(kind) = kinds.get("apiextensions.k8s.io", "customresourcedefinitions") else {
            return Ok(());
        };
        for definition in definitions {
            let name = definition.metadata.name.clone().unwrap_or_default();
            let refused =
                |source| StartError::Bootstrap { name: format!("customresourcedefinitions/{name}"), source };
            let mut object =
                serde_json::to_value(definition).map_err(|error| refused(ApiError::internal(error)))?;
            if let Some(map) = object.as_object_mut() {
                map.remove("status");
            }
            put(self, kind, &name, object).await.map_err(refused)?;
        }
        Ok(())
    }
}
