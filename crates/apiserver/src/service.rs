//! From requests to answers: the one door for sockets and in-process clients.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use serde_json::{Value, json};

use crate::access;
use crate::admission::Origin;
use crate::body::{self, Body};
use crate::call::{Call, Caller, Part};
use crate::decode::{self, BODY_LIMIT};
use crate::delete::{DeleteOptions, Deletion};
use crate::discovery;
use crate::encode;
use crate::negotiate::{PatchType, Shape, body_format, encoding, patch_type, shape};
use crate::object::meta_str;
use crate::patches;
use crate::pods;
use crate::render;
use crate::request::{Options, ResourcePath, Route, Verb};
use crate::scale;
use crate::server::Server;
use crate::status::{self, ApiError};
use crate::user::UserInfo;
use crate::write::Change;
use crate::write::Outcome;

type Answer = Result<Response<Body>, ApiError>;

impl Server {
    /// Answers one request of an authenticated user.
    pub async fn handle(&self, caller: &Caller, request: Request<Bytes>) -> Response<Body> {
        let encoding = encoding(request.headers());
        let response = match Box::pin(self.answer(caller, &request)).await {
            Ok(response) => response,
            Err(error) => {
                if error.code >= 500 {
                    tracing::warn!(path = request.uri().path(), %error, "a request failed");
                }
                body::error(&error)
            }
        };
        encode::encoded(response, encoding)
    }

    async fn answer(&self, caller: &Caller, request: &Request<Bytes>) -> Answer {
        let other = access::impersonated(self, caller, request.headers())?;
        let caller = other.as_ref().unwrap_or(caller);
        self.authorize(&caller.user, request.method(), request.uri())?;
        let path = request.uri().path();
        let kinds = self.kinds();
        let route = Route::of(path);
        let ok = |value: Value| Ok(body::value(StatusCode::OK, &value));
        match route {
            Route::Health(check) => return health(&check),
            Route::Version if request.method() != Method::GET => return Err(ApiError::method_not_allowed()),
            Route::Version => return ok(self.version_document()),
            Route::Root => return ok(discovery::paths(&kinds)),
            Route::Resource(resource) => return Box::pin(self.resource(caller, request, &resource)).await,
            Route::Metrics => return self.metrics(),
            Route::Backup => return self.backup(),
            _ => {}
        }
        match route {
            Route::CoreVersions => discovery::root(&kinds, true, request.headers()),
            Route::Groups => discovery::root(&kinds, false, request.headers()),
            Route::Group(group) => ok(discovery::group(&kinds, &group)?),
            Route::Resources { group, version } => ok(discovery::resources(&kinds, &group, &version)?),
            Route::OpenApiV2 => {
                let openapi = &kinds.documents().openapi;
                Ok(openapi.v2(&kinds, request.headers(), &self.inner.version, self.now()))
            }
            Route::OpenApiV3 => Ok(kinds.documents().openapi.index(&kinds, self.now())),
            Route::OpenApiV3Document(path) => {
                let query = request.uri().query().unwrap_or_default();
                kinds.documents().openapi.document(&kinds, &path, query, request.headers(), self.now())
            }
            Route::Unknown => access::document(self, path).ok_or_else(|| discovery::missing(&kinds, path)),
            Route::Health(_)
            | Route::Metrics
            | Route::Backup
            | Route::Version
            | Route::Root
            | Route::Resource(_) => Err(discovery::missing(&kinds, path)),
        }
    }

    /// What the process has counted.
    fn metrics(&self) -> Answer {
        let text = self.inner.metrics.as_ref().ok_or_else(ApiError::no_such_path)?;
        Ok(body::text(StatusCode::OK, text()))
    }

    fn version_document(&self) -> Value {
        let version = self.inner.version.as_str();
        let mut parts = version.trim_start_matches('v').split(['.', '+', '-']);
        let (major, minor) = (parts.next().unwrap_or("1"), parts.next().unwrap_or("0"));
        json!({
            "major": major, "minor": minor, "gitVersion": version, "gitCommit": "", "gitTreeState": "clean",
            "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc",
            "emulationMajor": major, "emulationMinor": minor,
            "minCompatibilityMajor": major, "minCompatibilityMinor": minor,
            "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
        })
    }

    async fn resource(&self, caller: &Caller, request: &Request<Bytes>, path: &ResourcePath) -> Answer {
        if path.is_port_forward() {
            return Box::pin(self.forward_port(caller, request, path)).await;
        }
        let method = request.method();
        let kinds = self.kinds();
        let kind = kinds
            .get(&path.group, &path.resource)
            .ok_or_else(|| discovery::missing(&kinds, request.uri().path()))?;
        // Whether this is a watch changes nothing about the method.
        let verb = Verb::of(method, path, false).ok_or_else(|| match *method {
            Method::PUT | Method::PATCH if !kind.builtin => ApiError::bad_request("name must be provided"),
            _ => ApiError::method_not_allowed(),
        })?;
        discovery::routed(kind, verb, path)?;
        let options = Options::of(request.uri().query().unwrap_or_default())?;
        let verb = Verb::of(method, path, options.watch).unwrap_or(verb);
        let call = Call::of(self, caller, path, options)?;
        if let Some(text) = &call.version().deprecation {
            call.warn(text);
        }
        let mut answer = match Box::pin(call.dispatch(verb, request)).await {
            Ok(answer) => answer,
            Err(error) => body::error(&error),
        };
        for warning in call.take_warnings() {
            body::warn(&mut answer, &warning);
        }
        Ok(answer)
    }

    /// A client in this process: no sockets, no TLS, the same rules.
    ///
    /// Must be called inside a tokio runtime: kube's client runs a task.
    pub fn client(&self, user: UserInfo, user_agent: &str) -> kube::Client {
        kube::Client::new(self.service(user, user_agent), "default")
    }

    /// The service behind [`Server::client`].
    pub fn service(&self, user: UserInfo, user_agent: &str) -> InProcess {
        let caller = Caller { user, user_agent: user_agent.to_owned(), origin: Origin::Client };
        InProcess { server: self.clone(), caller: Arc::new(caller) }
    }
}

/// The checks that can be asked for one by one.
const CHECKS: [&str; 4] = ["ping", "log", "etcd", "informer-sync"];

/// Whoever is asked is well: nothing is served before everything is there.
fn health(check: &str) -> Answer {
    if check.is_empty() || CHECKS.contains(&check) {
        return Ok(body::text(StatusCode::OK, "ok"));
    }
    Err(ApiError::no_such_page())
}

impl Call<'_> {
    /// Refuses verbs that the resource or subresource does not have.
    fn check_method(&self, verb: Verb) -> Result<(), ApiError> {
        let read_and_written = matches!(verb, Verb::Get | Verb::Update | Verb::Patch);
        let known = || self.kind.verbs.is_empty() || self.kind.verbs.contains(&verb.as_str());
        let allowed = match self.part {
            // Objects of all namespaces are listed and watched, not deleted.
            Part::Object if verb == Verb::DeleteCollection => {
                known() && (!self.kind.namespaced || !self.namespace.is_empty())
            }
            Part::Object => known() && (verb != Verb::Create || self.name.is_empty()),
            Part::Status | Part::Scale | Part::Approval | Part::EphemeralContainers | Part::Resize => {
                read_and_written
            }
            Part::Finalize => verb == Verb::Update,
            Part::Eviction | Part::Binding | Part::Token => verb == Verb::Create,
            Part::Log => verb == Verb::Get,
            Part::Connect => true,
        };
        match allowed {
            true => Ok(()),
            false if self.kind.builtin && verb == Verb::Watch => {
                Err(ApiError::unsupported_verb(verb.as_str(), self.kind.resource()))
            }
            false if self.kind.builtin => Err(ApiError::method_not_allowed()),
            false => Err(ApiError::unsupported_verb(verb.as_str(), self.kind.resource())),
        }
    }

    async fn dispatch(&self, verb: Verb, request: &Request<Bytes>) -> Answer {
        let collection = matches!(verb, Verb::List | Verb::Watch | Verb::Get);
        let shape = shape(request.headers(), self.kind.builtin, collection)?;
        self.check_shape(shape)?;
        if self.kind.hook.is_virtual() {
            return self.review(verb, request);
        }
        self.check_method(verb)?;
        if let Some(answer) = Box::pin(self.act(request)).await {
            return answer;
        }
        match verb {
            Verb::Get if matches!(shape, Shape::MetadataList(_)) => Err(render::not_many()),
            Verb::Get => self.answer_get(shape).await,
            Verb::List => {
                if let Shape::Metadata(_) = shape {
                    return Err(render::not_one(&self.kind));
                }
                let page = self.list().await?;
                Ok(body::list(self.renderer(shape).page(page)?))
            }
            Verb::Watch => {
                let stream = self.watch(self.renderer(shape)).await?;
                let mut answer = Response::new(Body::Stream(Box::pin(stream)));
                let headers = answer.headers_mut();
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(crate::negotiate::JSON));
                headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
                Ok(answer)
            }
            Verb::Create => {
                body_format(request.headers())?;
                crate::rules::check_options(&self.options, "CreateOptions", None)?;
                let object = self.decode(request.headers(), request.body())?;
                let outcome = Box::pin(self.create(object)).await?;
                self.answer_write(outcome, shape)
            }
            Verb::Update => self.answer_update(request, shape).await,
            Verb::Patch => self.answer_patch(request, shape).await,
            Verb::Delete => self.answer_delete(request, shape).await,
            Verb::DeleteCollection => {
                let body = decode::options(request.headers(), request.body())?;
                let options = DeleteOptions::of(&body, &self.options)?;
                let page = Box::pin(self.delete_collection(&options)).await?;
                Ok(body::list(self.renderer(shape).page(page)?))
            }
        }
    }

    async fn answer_get(&self, shape: Shape) -> Answer {
        let entry = self.get().await?;
        if self.part == Part::Scale {
            let scale = scale::of(&self.kind, self.version(), &self.parse(&entry)?)?;
            return Ok(body::value(StatusCode::OK, &scale));
        }
        let bytes = self.renderer(shape).stored(&entry.value, entry.mod_revision)?;
        Ok(body::json(StatusCode::OK, bytes))
    }

    /// The error of a verb that a path does not have; custom kinds have their own.
    async fn answer_update(&self, request: &Request<Bytes>, shape: Shape) -> Answer {
        crate::rules::check_options(&self.options, "UpdateOptions", None)?;
        let object = if self.part == Part::Scale {
            self.decode_scale(request.headers(), request.body())?
        } else {
            self.decode(request.headers(), request.body())?
        };
        let outcome = Box::pin(self.change(Change::Replace(object))).await?;
        self.answer_write(outcome, shape)
    }

    async fn answer_patch(&self, request: &Request<Bytes>, shape: Shape) -> Answer {
        let kind = patch_type(request.headers(), self.kind.builtin)?;
        let apply = kind == PatchType::Apply;
        let first = patches::options_error(&self.options, apply);
        crate::rules::check_options(&self.options, "PatchOptions", first)?;
        let change = if apply {
            Change::Apply(self.configuration(request.body())?)
        } else {
            Change::Patch(kind, self.decode_patch(request.body(), kind))
        };
        let outcome = Box::pin(self.change(change)).await?;
        self.answer_write(outcome, shape)
    }

    async fn answer_delete(&self, request: &Request<Bytes>, shape: Shape) -> Answer {
        crate::rules::check_options(&self.options, "DeleteOptions", None)?;
        let body = decode::options(request.headers(), request.body())?;
        let options = DeleteOptions::of(&body, &self.options)?;
        let (object, gone) = match Box::pin(self.delete(&options)).await? {
            Deletion::Gone(object) => (object, true),
            Deletion::Waiting(object) => (object, false),
        };
        if gone && !self.returns_deleted() {
            let uid = meta_str(&object, "uid");
            return Ok(body::value(StatusCode::OK, &status::deleted(self.kind.resource(), &self.name, uid)));
        }
        // How clients of old are told that something is still to come.
        let code = if !gone && options.old_background { StatusCode::ACCEPTED } else { StatusCode::OK };
        Ok(body::json(code, self.renderer(shape).object(object)))
    }

    fn answer_write(&self, outcome: Outcome, shape: Shape) -> Answer {
        let (code, bytes, revision) = match outcome {
            Outcome::Created(bytes, revision) => (StatusCode::CREATED, bytes, revision),
            Outcome::Updated(bytes, revision)
            | Outcome::Unchanged(bytes, revision)
            | Outcome::Removed(bytes, revision) => (StatusCode::OK, bytes, revision),
            Outcome::DryRun { object, created } => {
                let code = if created { StatusCode::CREATED } else { StatusCode::OK };
                if self.part == Part::Scale {
                    return Ok(body::value(code, &scale::of(&self.kind, self.version(), &object)?));
                }
                return Ok(body::json(code, self.renderer(shape).object(object)));
            }
        };
        if self.part == Part::Scale {
            let object = crate::call::parse(&self.kind, &self.api_version, &bytes, revision)?;
            return Ok(body::value(code, &scale::of(&self.kind, self.version(), &object)?));
        }
        Ok(body::json(code, self.renderer(shape).stored(&bytes, revision)?))
    }

    /// Kinds that are questions: answered, never stored.
    fn review(&self, verb: Verb, request: &Request<Bytes>) -> Answer {
        if !self.name.is_empty() || (self.kind.namespaced && self.namespace.is_empty()) {
            return Err(ApiError::no_such_path());
        }
        if verb != Verb::Create {
            return Err(ApiError::method_not_allowed());
        }
        let object = access::review(self, self.decode(request.headers(), request.body())?)?;
        Ok(body::value(StatusCode::CREATED, &object))
    }
}

/// A client's way into the server without sockets.
#[derive(Clone, Debug)]
pub struct InProcess {
    server: Server,
    caller: Arc<Caller>,
}

impl<B> tower::Service<Request<B>> for InProcess
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Self { server, mut caller } = self.clone();
        // A client may speak for several programs: its controllers.
        if let Some(agent) =
            request.headers().get(http::header::USER_AGENT).and_then(|agent| agent.to_str().ok())
        {
            agent.clone_into(&mut Arc::make_mut(&mut caller).user_agent);
        }
        if request.headers().contains_key(http::header::UPGRADE) {
            return Box::pin(async move { Ok(pods::upgrade(server, caller, request).await) });
        }
        Box::pin(async move {
            let response = match collect(request).await {
                Ok(request) => server.handle(&caller, request).await,
                Err(error) => body::error(&error),
            };
            Ok(response)
        })
    }
}

/// Reads a body up to the limit.
///
/// # Errors
/// 413 when it is longer, 400 when it breaks off.
pub async fn collect<B>(request: Request<B>) -> Result<Request<Bytes>, ApiError>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (parts, body) = request.into_parts();
    if parts.method == Method::GET {
        return Ok(Request::from_parts(parts, Bytes::new()));
    }
    match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(body) => Ok(Request::from_parts(parts, body.to_bytes())),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(ApiError::too_large(BODY_LIMIT)),
        Err(_) => Err(ApiError::bad_request("the body broke off")),
    }
}
