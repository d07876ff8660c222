//! Inputs that cost much to look at: each gets an answer that is no fault of
//! the server's, and others are served meanwhile.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode, header};
use serde_json::{Value, json};
use support::place::{MAPS, Place, post, text};
use tokio::time::timeout;

const THINGS: &str = "/apis/test.dev/v1/namespaces/default/things";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// Sends a body while others are served; the answer's status and text.
async fn send(place: &Place, method: &str, path: &str, media: &str, body: impl Into<Bytes>) -> (u16, String) {
    let mut request = post(path, "noisy", body);
    *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
    request.headers_mut().insert(header::CONTENT_TYPE, media.parse().unwrap());
    let attack = async {
        let mut sender = place.http2().await;
        let answer = timeout(Duration::from_secs(40), sender.send_request(request)).await;
        let answer = answer.expect("an answer comes").unwrap();
        (answer.status().as_u16(), text(answer).await)
    };
    place.meanwhile(attack).await
}

async fn create(place: &Place, path: &str, object: &Value) -> (u16, String) {
    send(place, "POST", path, "application/json", object.to_string()).await
}

/// A definition of `Thing` with this schema for its `spec`.
fn definition(spec: &Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.test.dev"},
        "spec": {
            "group": "test.dev", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": spec},
            }}}],
        },
    })
}

fn thing(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "test.dev/v1", "kind": "Thing", "metadata": {"name": name}, "spec": spec})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_protobuf_is_the_fault_of_its_sender() {
    let place = Place::start().await;
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/decoded_protobuf");
    let mut bodies: Vec<Vec<u8>> =
        std::fs::read_dir(corpus).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
    // Schemas in schemas: `not` and `allOf` of JSONSchemaProps.
    let field = |number: u32, inner: &[u8]| {
        let varint = |mut number: usize| {
            let mut bytes = Vec::new();
            while number >= 128 {
                bytes.push(u8::try_from(number % 128).unwrap() | 128);
                number /= 128;
            }
            bytes.push(u8::try_from(number).unwrap());
            bytes
        };
        [varint((number << 3 | 2) as usize), varint(inner.len()), inner.to_vec()].concat()
    };
    for number in [25, 28] {
        let schema = (0..5000).fold(Vec::new(), |inner, _| field(number, &inner));
        let spec = field(7, &field(4, &field(1, &schema)));
        let object = [field(1, &field(1, b"a.b")), field(2, &spec)].concat();
        let kind = [field(1, b"apiextensions.k8s.io/v1"), field(2, b"CustomResourceDefinition")].concat();
        bodies.push([b"k8s\0".to_vec(), field(1, &kind), field(2, &object)].concat());
    }
    // A length far beyond the end, and a group that never ends.
    bodies.push(b"k8s\0\x0a\xff\xff\xff\xff\x0f".to_vec());
    bodies.push([b"k8s\0".as_slice(), &vec![0x0b; 100_000]].concat());
    let mut sender = place.http2().await;
    for (number, body) in bodies.into_iter().enumerate() {
        for path in [MAPS, "/api/v1/namespaces/default/pods", DEFINITIONS] {
            let mut request = post(&format!("{path}?dryRun=All"), "noisy", body.clone());
            let media = "application/vnd.kubernetes.protobuf".parse().unwrap();
            request.headers_mut().insert(header::CONTENT_TYPE, media);
            sender.ready().await.unwrap();
            let answer = sender.send_request(request).await.unwrap();
            assert!(answer.status() < StatusCode::INTERNAL_SERVER_ERROR, "body {number} at {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patterns_take_no_more_time_than_their_text() {
    let place = Place::start().await;
    let (code, said) = create(
        &place,
        DEFINITIONS,
        &definition(&json!({"type": "string", "pattern": "ab?".repeat(350_000)})),
    )
    .await;
    assert_eq!(code, 422, "{said:.300}");
    // What takes backtracking engines for ever.
    let rule = "self.matches('^(((a*)*)*)*b$') || self.matches('(x+x+)+y')";
    let spec = json!({"type": "object", "properties": {
        "pattern": {"type": "string", "pattern": "^(((a*)*)*)*$"},
        "rule": {"type": "string", "maxLength": 10000, "x-kubernetes-validations": [{"rule": rule}]},
    }});
    assert_eq!(create(&place, DEFINITIONS, &definition(&spec)).await.0, 201);
    let a = "a".repeat(100_000);
    assert_eq!(create(&place, THINGS, &thing("a", &json!({"pattern": a}))).await.0, 201);
    let b = format!("{a}b");
    assert_eq!(create(&place, THINGS, &thing("b", &json!({"pattern": b}))).await.0, 422);
    let ruled = format!("{}c", "a".repeat(9_000));
    assert_eq!(create(&place, THINGS, &thing("c", &json!({"rule": ruled}))).await.0, 422);
    // A pattern out of the object itself.
    let spec = json!({"type": "object", "properties": {
        "text": {"type": "string", "maxLength": 10_000}, "pattern": {"type": "string", "maxLength": 2400}},
        "x-kubernetes-validations": [{"rule": "self.text.matches(self.pattern)"}]});
    let mut definition = definition(&spec).to_string().replace("things", "others").replace("Thing", "Other");
    definition = definition.replace("test.dev", "more.dev");
    let (code, said) = send(&place, "POST", DEFINITIONS, "application/json", definition).await;
    assert_eq!(code, 201, "{said:.300}");
    for (pattern, expected) in
        [("((a{100}){100}){100}".to_owned(), 422), ("(a?)".repeat(600), 201), ("(".repeat(2400), 422)]
    {
        let mut object = thing("o", &json!({"text": &a[..9000], "pattern": pattern}));
        object["apiVersion"] = json!("more.dev/v1");
        object["kind"] = json!("Other");
        let path = "/apis/more.dev/v1/namespaces/default/others?dryRun=All";
        let (code, said) = create(&place, path, &object).await;
        assert_eq!(code, expected, "{pattern:.30} {said:.300}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_definitions_and_lists_keep_nobody_waiting() {
    let place = Place::start().await;
    let properties = |count: usize| -> Value {
        (0..count)
            .map(|n| (format!("p{n}"), json!({"type": "string", "description": "x".repeat(60)})))
            .collect()
    };
    let large = definition(&json!({"type": "object", "properties": properties(24_000)}));
    assert!(large.to_string().len() > 2_000_000);
    assert_eq!(create(&place, DEFINITIONS, &large).await.0, 201);
    let answer = place.http2().await.send_request({
        let mut request = post(&format!("{DEFINITIONS}/things.test.dev"), "root", "");
        *request.method_mut() = Method::DELETE;
        request
    });
    assert_eq!(answer.await.unwrap().status(), StatusCode::OK);
    let item = json!({"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}}});
    let text = json!({"type": "string"});
    let spec = json!({"type": "object", "properties": {
        "map": {"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]},
        "set": {"type": "array", "items": text, "x-kubernetes-list-type": "set"},
        "plain": {"type": "array", "items": text},
        "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }});
    timeout(Duration::from_secs(20), async {
        while create(&place, DEFINITIONS, &definition(&spec)).await.0 != 201 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .unwrap();
    let map: Vec<Value> = (0..10_000).map(|n| json!({"k": format!("{n}")})).collect();
    let set: Vec<Value> = (0..50_000).map(|n| json!(format!("{n}"))).collect();
    let any: Value = (0..20_000).map(|n| (format!("k{n}"), json!(n))).collect();
    for (name, spec) in [
        ("map", json!({"map": map})),
        ("set", json!({"set": set})),
        ("plain", json!({"plain": set})),
        ("any", json!({"any": any})),
    ] {
        let object = thing(name, &spec);
        let (code, said) = create(&place, THINGS, &object).await;
        // With the owners of its items it may be larger than an object may be.
        assert!(code == 201 || said.contains("request is too large"), "{name}: {code} {said:.300}");
        let path = format!("{THINGS}/{name}-applied?fieldManager=m&force=true");
        let applied = thing(&format!("{name}-applied"), &spec);
        for _ in 0..2 {
            let media = "application/apply-patch+yaml";
            let (code, said) = send(&place, "PATCH", &path, media, applied.to_string()).await;
            assert!(
                matches!(code, 200 | 201) || said.contains("request is too large"),
                "{name}: {code} {said:.300}"
            );
        }
    }
}
