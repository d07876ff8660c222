//! Plays a script against a server and writes down what it answers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::Full;
use serde_json::{Map, Value, json};

use crate::answer::{Answer, Content, Recorded};
use crate::client::{Client, Identity, Reply};
use crate::fixtures;
use crate::normalise::{Normaliser, Rules};
use crate::script::{Action, Encoding, Request, Script, Step, User};
use crate::streams::Streams;
use crate::target::{Target, USERS};
use crate::trust::now;
use crate::variables::Variables;

/// How long to wait for events that a script counts on.
const EVENTS: Duration = Duration::from_secs(10);
/// Between two looks at what is to come.
const AGAIN: Duration = Duration::from_millis(100);

/// One script under way.
pub(crate) struct Player<'a> {
    pub(crate) target: &'a Target,
    pub(crate) variables: Variables,
    id: String,
    client: Client,
    streams: Streams,
    normaliser: Normaliser<'a>,
    rules: &'a Rules,
}

/// Plays a script from its first step to its last.
///
/// # Errors
/// When the server does not answer at all, or the script cannot be played as written.
pub async fn play(target: &Target, script: &Script, rules: &Rules, fixtures: &Path) -> Result<Vec<Recorded>> {
    let mut player = Player::new(target, script, rules);
    let installed = player.prepare(script, fixtures).await?;
    let mut answers = Vec::new();
    for step in &script.steps {
        let answer = player.step(step).await.with_context(|| format!("step {}", step.title))?;
        answers.push((answer.title.clone(), answer.render()));
    }
    if target.real {
        // So that later scripts do not wait for what it does with hundreds of kinds.
        for name in &installed.definitions {
            let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
            player.quietly("DELETE", &path, None).await?;
        }
    }
    Ok(answers)
}

impl<'a> Player<'a> {
    fn new(target: &'a Target, script: &Script, rules: &'a Rules) -> Self {
        let mut variables = Variables::new(target.real);
        let ca = BASE64.encode(target.trust.ca());
        variables.word("id", &script.id());
        variables.word("hook", &target.hook.url());
        variables.word("hook.ca", &ca);
        if script.namespace {
            variables.word("ns", &script.id());
        }
        let mut normaliser = Normaliser::new(rules, now());
        normaliser.know(&ca, "<hook.ca>");
        normaliser.know(&target.hook.url(), "<hook>");
        normaliser.know(target.hook.url().trim_start_matches("https://"), "<hook>");
        normaliser.know(&target.address.to_string(), "<server>");
        let client = Client::new(target.address, Arc::clone(&target.trust));
        Self {
            target,
            variables,
            id: script.id(),
            client,
            streams: Streams::new(rules.skip_bookmarks()),
            normaliser,
            rules,
        }
    }

    async fn prepare(&mut self, script: &Script, folder: &Path) -> Result<fixtures::Installed> {
        if script.namespace {
            let id = &script.id();
            let namespace = json!({"metadata": {"name": id}});
            let (status, said) = self.quietly("POST", "/api/v1/namespaces", Some(&namespace)).await?;
            if status != 201 {
                bail!("cannot create the namespace {id}: {said}");
            }
            for object in ["configmaps/kube-root-ca.crt", "serviceaccounts/default"] {
                self.furnished(id, object).await?;
            }
        }
        fixtures::install(self, folder, &script.fixtures).await
    }

    /// Waits for what controllers put into every namespace, if this server has such.
    async fn furnished(&mut self, namespace: &str, object: &str) -> Result<()> {
        let there =
            self.quietly("GET", &format!("/api/v1/namespaces/default/{object}"), None).await?.0 == 200;
        if !there && !self.target.real {
            return Ok(());
        }
        for _ in 0..600 {
            let (status, _) =
                self.quietly("GET", &format!("/api/v1/namespaces/{namespace}/{object}"), None).await?;
            if status == 200 {
                return Ok(());
            }
            tokio::time::sleep(AGAIN / 2).await;
        }
        bail!("there is no {object} in {namespace}")
    }

    /// A request of the administrator that is not recorded: its code and its answer.
    pub(crate) async fn quietly(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Value)> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = http::Request::builder()
            .method(method)
            .uri(format!("https://{}{path}", self.target.address))
            .header("authorization", format!("Bearer {}", USERS[0].0))
            .header("content-type", "application/json")
            .body(Full::from(body))?;
        let reply = self.client.send(None, false, request).await?;
        Ok((reply.status.as_u16(), serde_json::from_slice(&reply.body).unwrap_or_default()))
    }

    async fn step(&mut self, step: &Step) -> Result<Answer> {
        tokio::time::sleep(step.sleep).await;
        let (head, headers, body) = match &step.action {
            Action::Request { request, until } => {
                let reply = self.request(request, until.as_ref()).await?;
                let body = content(&reply);
                self.remember(&step.title, &body, &reply.headers);
                (status(reply.status), self.headers(&reply.headers), body)
            }
            Action::Watch(request) => self.watch(&step.title, request).await?,
            Action::Events { stream, count, quiet } => {
                let longest = EVENTS.min(self.target.patience);
                let events = self.streams.take(stream, *count, longest, *quiet).await?;
                if events.len() < *count && self.target.real {
                    bail!("only {} of {count} events came: {}", events.len(), Value::Array(events));
                }
                self.events(&step.title, events)
            }
            Action::Closed { stream } => {
                let (events, ended) = self.streams.closed(stream, self.target.patience).await?;
                let (head, headers, body) = self.events(&step.title, events);
                (format!("{head}, {}", if ended { "closed" } else { "still open" }), headers, body)
            }
            Action::Reviews { count } => {
                for _ in 0..50 {
                    if self.target.hook.count(&self.id) >= *count {
                        break;
                    }
                    tokio::time::sleep(AGAIN).await;
                }
                let reviews = self.target.hook.take(&self.id);
                (format!("{} reviews", reviews.len()), Vec::new(), Content::Json(Value::Array(reviews)))
            }
        };
        Ok(self.written(step, &head, headers, &body))
    }

    /// What is recorded: normalised first, so that numbers do not depend on what is shown.
    fn written(&mut self, step: &Step, head: &str, headers: Vec<(String, String)>, body: &Content) -> Answer {
        if step.times {
            self.normaliser.keep_order_of_times(body.json());
        }
        let headers = headers.into_iter().map(|(name, value)| (name, self.normaliser.text(&value))).collect();
        let body = match body {
            Content::Nothing => Content::Nothing,
            Content::Json(value) => Content::Json(self.normaliser.value(value)),
            Content::Text(text) => Content::Text(self.normaliser.text(text)),
        };
        self.normaliser.hide_times();
        Answer { title: step.title.clone(), head: head.to_owned(), headers, body }.shown(step.show.as_deref())
    }

    async fn request(&mut self, request: &Request, until: Option<&crate::pick::Condition>) -> Result<Reply> {
        let tries = self.target.patience.as_millis() / AGAIN.as_millis();
        let mut tried = 0;
        loop {
            let (identity, built) = self.build(request)?;
            let reply = self.client.send(identity, request.http1, built).await?;
            let Some(until) = until else { return Ok(reply) };
            let body = serde_json::from_slice(&reply.body).unwrap_or_default();
            tried += 1;
            if until.holds(reply.status.as_u16(), &body) {
                return Ok(reply);
            }
            if tried > tries {
                if self.target.real {
                    bail!("what it waits for does not come; the last answer was {} {body:#}", reply.status);
                }
                return Ok(reply);
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn watch(
        &mut self,
        title: &str,
        request: &Request,
    ) -> Result<(String, Vec<(String, String)>, Content)> {
        let (identity, built) = self.build(request)?;
        let response = self.client.open(identity, request.http1, built).await?;
        let (parts, body) = response.into_parts();
        let head = status(parts.status);
        let headers = self.headers(&parts.headers);
        if parts.status.is_success() {
            self.streams.follow(title, body);
            return Ok((head, headers, Content::Nothing));
        }
        let body = http_body_util::BodyExt::collect(body).await?.to_bytes();
        let reply = Reply { status: parts.status, headers: parts.headers, body };
        Ok((head, headers, content(&reply)))
    }

    fn events(&mut self, title: &str, events: Vec<Value>) -> (String, Vec<(String, String)>, Content) {
        let head = format!("{} events", events.len());
        let body = Value::Array(events);
        self.variables.answer(title, body.clone());
        (head, Vec::new(), Content::Json(body))
    }

    fn remember(&mut self, title: &str, body: &Content, headers: &HeaderMap) {
        let mut answer = body.json().clone();
        if answer.is_null() {
            answer = json!({});
        }
        if let Some(map) = answer.as_object_mut()
            && !map.contains_key("headers")
        {
            let named: Map<String, Value> = headers
                .iter()
                .filter_map(|(name, value)| Some((name.as_str().to_owned(), json!(value.to_str().ok()?))))
                .collect();
            map.insert("headers".to_owned(), Value::Object(named));
        }
        self.variables.answer(title, answer);
    }

    fn headers(&self, headers: &HeaderMap) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for header in &self.rules.headers {
            for value in headers.get_all(&header.name) {
                let value = if header.presence {
                    "<present>".to_owned()
                } else {
                    String::from_utf8_lossy(value.as_bytes()).into_owned()
                };
                let ours = header.without.as_ref().is_some_and(|text| value.contains(text));
                if !ours {
                    found.push((header.name.clone(), value));
                }
            }
        }
        found
    }

    fn build(&self, request: &Request) -> Result<(Identity, http::Request<Full<Bytes>>)> {
        let path = self.variables.fill(&request.path)?.replace(' ', "%20");
        let mut built = http::Request::builder()
            .method(request.method.as_str())
            .uri(format!("https://{}{path}", self.target.address));
        if request.http1 {
            built = http::Request::builder()
                .method(request.method.as_str())
                .uri(&path)
                .header("host", self.target.address.to_string());
        }
        let mut identity = None;
        match &request.user {
            User::Anonymous => {}
            User::Named(name) => {
                built = built.header("authorization", format!("Bearer differential-{name}"));
            }
            User::Token(token) => {
                built = built.header("authorization", format!("Bearer {}", self.variables.fill(token)?));
            }
            User::Certificate { name, groups } => {
                let fill = |text: &String| self.variables.fill(text);
                identity = Some((fill(name)?, groups.iter().map(fill).collect::<Result<_>>()?));
            }
        }
        let given = |name: &str| request.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        for (name, value) in &request.headers {
            built = built.header(name, self.variables.fill(value)?);
        }
        if given("user-agent").is_none() {
            built = built.header("user-agent", "differential/1");
        }
        let kind = given("content-type").map_or("application/json", |(_, value)| value.as_str());
        let body = self.body(request, kind)?;
        if !body.is_empty() && given("content-type").is_none() {
            built = built.header("content-type", kind);
        }
        Ok((identity, built.body(Full::new(body))?))
    }

    fn body(&self, request: &Request, kind: &str) -> Result<Bytes> {
        let text = self.variables.fill(&request.body)?;
        let media = kind.split(';').next().unwrap_or_default().trim();
        Ok(match request.encoding {
            Encoding::Base64 => {
                let packed: String = text.split_whitespace().collect();
                BASE64.decode(packed).context("the body is not base64")?.into()
            }
            Encoding::Usual if media.ends_with("json") && !text.is_empty() => {
                let value: Value = match serde_json::from_str(&text) {
                    Ok(value) => value,
                    Err(_) => crate::yaml::one(&text).context("the body is neither JSON nor YAML")?,
                };
                value.to_string().into()
            }
            Encoding::Usual | Encoding::Raw => text.into(),
        })
    }
}

fn status(code: StatusCode) -> String {
    format!("{} {}", code.as_u16(), code.canonical_reason().unwrap_or("Unknown"))
}

fn content(reply: &Reply) -> Content {
    if reply.body.is_empty() {
        return Content::Nothing;
    }
    if let Ok(value) = serde_json::from_slice::<Value>(&reply.body)
        && (value.is_object() || value.is_array())
    {
        return Content::Json(value);
    }
    let kind = reply.headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.starts_with("application/vnd.kubernetes.protobuf")
        && let Ok(value) = windlass_apiserver::protobuf::decode(&reply.body)
    {
        return Content::Json(value);
    }
    match std::str::from_utf8(&reply.body) {
        Ok(text) if kind.starts_with("application/yaml") => match crate::yaml::one(text) {
            Ok(value) => Content::Json(value),
            Err(_) => Content::Text(text.to_owned()),
        },
        Ok(text) => Content::Text(text.to_owned()),
        Err(_) => Content::Text(format!("<{} bytes>", reply.body.len())),
    }
}
