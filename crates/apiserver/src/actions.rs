//! Subresources that do something instead of showing a part of the object.

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::body::{self, Body};
use crate::call::{Call, Part};
use crate::delete::{DeleteOptions, Deletion};
use crate::object::{member, meta_str, metadata_mut};
use crate::status::ApiError;
use crate::write::Change;

type Answer = Result<Response<Body>, ApiError>;

fn created() -> Response<Body> {
    let status =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    body::value(StatusCode::CREATED, &status)
}

impl Call<'_> {
    /// Does what the subresource is for; `None` when it shows a part of the object.
    pub(crate) async fn act(&self, request: &Request<Bytes>) -> Option<Answer> {
        match self.part {
            Part::Eviction => Some(Box::pin(self.evict(request)).await),
            Part::Binding => Some(Box::pin(self.bind(request)).await),
            Part::Log | Part::Connect => Some(Box::pin(self.connect(request)).await),
            Part::Token => {
                Some(crate::decode::options(request.headers(), request.body()).and_then(|asked| {
                    let answer = crate::access::token_request(self, asked)?;
                    Ok(body::value(StatusCode::CREATED, &answer))
                }))
            }
            Part::Object
            | Part::Status
            | Part::Scale
            | Part::Finalize
            | Part::Approval
            | Part::EphemeralContainers
            | Part::Resize => None,
        }
    }

    fn present(&self) -> Result<Value, ApiError> {
        let entry = self.server.inner.store.get(&self.key()).ok_or_else(|| self.not_found())?;
        self.parse(&entry)
    }

    /// Deletes a pod as its eviction asks; budgets are not enforced, since
    /// nothing here counts healthy pods.
    async fn evict(&self, request: &Request<Bytes>) -> Answer {
        self.present()?;
        let eviction = crate::decode::options(request.headers(), request.body())?;
        let options = DeleteOptions::of(&eviction["deleteOptions"], &self.options)?;
        let mut call = Call::internal(
            self.server,
            self.caller,
            std::sync::Arc::clone(&self.kind),
            &self.namespace,
            &self.name,
        );
        call.options = self.options.clone();
        match Box::pin(call.delete(&options)).await? {
            Deletion::Gone(_) | Deletion::Waiting(_) => Ok(created()),
        }
    }

    /// Puts a pod on the node its binding names.
    async fn bind(&self, request: &Request<Bytes>) -> Answer {
        let binding = crate::decode::options(request.headers(), request.body())?;
        let mut pod = self.present()?;
        let node = binding.pointer("/target/name").and_then(Value::as_str).unwrap_or_default();
        let on = pod.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default();
        if !on.is_empty() {
            let why = format!("pod {} is already assigned to node {on:?}", self.name);
            return Err(ApiError::conflict(self.kind.resource(), &self.name, &why));
        }
        if !meta_str(&pod, "deletionTimestamp").is_empty() {
            let why = format!("pod {} is being deleted, cannot be assigned to a host", self.name);
            return Err(ApiError::conflict(self.kind.resource(), &self.name, &why));
        }
        *member(member(&mut pod, "spec"), "nodeName") = json!(node);
        metadata_mut(&mut pod).remove("managedFields");
        Box::pin(self.change(Change::Replace(pod))).await?;
        Ok(created())
    }

    /// Streams need something that runs.
    async fn connect(&self, request: &Request<Bytes>) -> Answer {
        self.judge_connection(request.uri().query().unwrap_or_default()).await?;
        let object = self.present()?;
        let host = object.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default();
        if self.part == Part::Log {
            // A pod that nobody runs has said nothing.
            let mut answer = Response::new(Body::Full(None));
            *answer.status_mut() = StatusCode::NO_CONTENT;
            let cache = HeaderValue::from_static("no-cache, private");
            answer.headers_mut().insert(header::CACHE_CONTROL, cache);
            return Ok(answer);
        }
        if self.kind.plural == "pods" && host.is_empty() {
            let why = format!("pod {} does not have a host assigned", self.name);
            return Err(ApiError::bad_request(why));
        }
        Err(ApiError::unavailable("nothing runs here that could be connected to"))
    }
}
