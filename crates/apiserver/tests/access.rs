//! Rights, tokens and accounts of a server that keeps them in its store.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower::Service;
use windlass_apiserver::{Access, Server, UserInfo};
use windlass_store::{Engine, Store};

async fn start(store: Store) -> Server {
    support::over(store).access(Access::default()).start().await.unwrap()
}

/// Code and body of the answer to `METHOD path`.
async fn ask(server: &Server, user: &UserInfo, line: &str, body: Value) -> (u16, Value) {
    let (method, path) = line.split_once(' ').unwrap();
    let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    let request = Request::builder().method(method).uri(path).body(Full::new(body)).unwrap();
    let answer = server.service(user.clone(), "test/1").call(request).await.unwrap();
    let code = answer.status().as_u16();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    (code, serde_json::from_slice(&bytes).unwrap_or_default())
}

/// Asks until the answer is as wanted.
async fn until(server: &Server, line: &str, wanted: impl Fn(u16, &Value) -> bool) -> Value {
    let root = UserInfo::admin("root");
    for _ in 0..500 {
        let (code, body) = ask(server, &root, line, Value::Null).await;
        if wanted(code, &body) {
            return body;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{line} never came to what was wanted");
}

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

#[tokio::test]
async fn a_token_counts_while_its_account_is_there_and_after_a_restart() {
    let engine = Engine::memory();
    let server = start(engine.store("a")).await;
    let root = UserInfo::admin("root");
    until(&server, &format!("GET {ACCOUNTS}/default"), |code, _| code == 200).await;
    let request = json!({"spec": {"expirationSeconds": 100_000}});
    let (code, answer) = ask(&server, &root, &format!("POST {ACCOUNTS}/default/token"), request).await;
    assert_eq!(code, 201);
    let token = answer["status"]["token"].as_str().unwrap().to_owned();
    let user = server.token_user(&token).unwrap();
    assert_eq!(user.name, "system:serviceaccount:default:default");
    assert!(user.groups.contains(&"system:serviceaccounts:default".to_owned()));
    assert_eq!(server.token_user(&format!("{token}x")), None);
    server.stop().await;

    let again = start(engine.store("a")).await;
    assert_eq!(again.token_user(&token), Some(user));
    ask(&again, &root, &format!("DELETE {ACCOUNTS}/default"), Value::Null).await;
    assert_eq!(again.token_user(&token), None);
    // The account of the same name that takes its place is another one.
    until(&again, &format!("GET {ACCOUNTS}/default"), |code, _| code == 200).await;
    assert_eq!(again.token_user(&token), None);
}

#[tokio::test]
async fn a_secret_gets_a_token_and_goes_with_its_account() {
    let server = start(Engine::memory().store("a")).await;
    let root = UserInfo::admin("root");
    ask(&server, &root, &format!("POST {ACCOUNTS}"), json!({"metadata": {"name": "robot"}})).await;
    let secret = json!({
        "metadata": {"name": "t", "annotations": {"kubernetes.io/service-account.name": "robot"}},
        "type": "kubernetes.io/service-account-token",
    });
    ask(&server, &root, "POST /api/v1/namespaces/default/secrets", secret).await;
    let path = "GET /api/v1/namespaces/default/secrets/t";
    let filled = until(&server, path, |_, secret| secret["data"]["token"].is_string()).await;
    let token = BASE64.decode(filled["data"]["token"].as_str().unwrap()).unwrap();
    let token = String::from_utf8(token).unwrap();
    assert_eq!(server.token_user(&token).unwrap().name, "system:serviceaccount:default:robot");
    let label =
        |secret: &Value| secret["metadata"]["labels"]["kubernetes.io/legacy-token-last-used"].is_string();
    until(&server, path, |_, secret| label(secret)).await;
    ask(&server, &root, &format!("DELETE {ACCOUNTS}/robot"), Value::Null).await;
    until(&server, path, |code, _| code == 404).await;
    assert_eq!(server.token_user(&token), None);
}

#[tokio::test]
async fn the_roles_of_the_system_are_objects() {
    let server = start(Engine::memory().store("a")).await;
    let rules = |role: &Value| role["rules"].as_array().map_or(0, Vec::len);
    let view = until(&server, &format!("GET {RBAC}/clusterroles/view"), |_, role| rules(role) > 0).await;
    let admin =
        until(&server, &format!("GET {RBAC}/clusterroles/admin"), |_, role| rules(role) > rules(&view)).await;
    assert!(rules(&admin) > rules(&view));
    let kim = UserInfo::new("kim", &["team"]);
    let pods = "GET /api/v1/namespaces/default/pods";
    assert_eq!(ask(&server, &kim, pods, Value::Null).await.0, 403);
    let binding = json!({
        "metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "Group", "name": "team"}],
    });
    let root = UserInfo::admin("root");
    let path = format!("POST {RBAC}/namespaces/default/rolebindings");
    assert_eq!(ask(&server, &root, &path, binding.clone()).await.0, 201);
    assert_eq!(ask(&server, &kim, pods, Value::Null).await.0, 200);
    // Nobody gives what they have not got, not even what they may look at.
    let (code, refused) = ask(&server, &kim, &path, binding).await;
    assert_eq!((code, refused["reason"].as_str()), (403, Some("Forbidden")));
}

#[tokio::test]
async fn servers_that_were_not_asked_keep_nothing() {
    let server = support::server().await;
    let root = UserInfo::admin("root");
    let (_, roles) = ask(&server, &root, &format!("GET {RBAC}/clusterroles"), Value::Null).await;
    assert_eq!(roles["items"], json!([]));
    assert_eq!(server.store().len(), 4, "namespaces only");
    // The roles of the system count all the same.
    let review = json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}});
    let path = "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let (code, answer) = ask(&server, &UserInfo::new("kim", &[]), path, review).await;
    assert_eq!((code, &answer["status"]["allowed"]), (201, &json!(false)));
}
