//! The keys of service account tokens: given, or made and kept in the store.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use windlass_store::{Expect, Txn};

use super::jwt::{KeyError, Keys};
use crate::server::{Server, StartError};
use crate::status::ApiError;

/// Where the keys are kept: beside the objects, where no request leads.
const PLACE: &str = "/windlass/service-account-keys";
/// A new key signs after this long; the old ones go on verifying.
const ROTATE_AFTER: SignedDuration = SignedDuration::from_hours(24 * 365);

/// The keys of a server, newest first.
///
/// # Errors
/// When they cannot be read, made or stored.
pub async fn load(server: &Server) -> Result<Keys, StartError> {
    let refused =
        |source: ApiError| StartError::Bootstrap { name: "service account keys".to_owned(), source };
    let bad = |error: KeyError| refused(ApiError::internal(error));
    if let Some(key) = server.inner.rights.options.as_ref().and_then(|options| options.signing_key.as_ref()) {
        let pem = key.to_pkcs8_pem().map_err(|error| refused(ApiError::internal(error)))?;
        let der = pem_body(pem.expose()).ok_or(KeyError::Unreadable).map_err(bad)?;
        return Keys::of([der.as_slice()]).map_err(bad);
    }
    let entry = server.inner.store.get(PLACE);
    let mut kept: Vec<Value> =
        entry.as_ref().and_then(|entry| serde_json::from_slice(&entry.value).ok()).unwrap_or_default();
    if is_old(&kept, server.now()) {
        let key = Keys::generate().map_err(bad)?;
        kept.insert(0, json!({"made": server.now().to_string(), "pkcs8": BASE64.encode(key)}));
        let expect = entry.map_or(Expect::Absent, |entry| Expect::Revision(entry.mod_revision));
        let txn = Txn::new().put(PLACE, Value::from(kept.clone()).to_string(), expect);
        server.inner.store.commit(txn).await.map_err(|error| refused(ApiError::internal(error)))?;
    }
    let documents: Vec<Vec<u8>> =
        kept.iter().filter_map(|key| BASE64.decode(key["pkcs8"].as_str()?).ok()).collect();
    Keys::of(documents.iter().map(Vec::as_slice)).map_err(bad)
}

/// Whether it is time for a new key.
fn is_old(kept: &[Value], now: Timestamp) -> bool {
    let made: Option<Timestamp> =
        kept.first().and_then(|key| key["made"].as_str()).and_then(|text| text.parse().ok());
    made.is_none_or(|made| now.duration_since(made) >= ROTATE_AFTER)
}

fn pem_body(pem: &str) -> Option<Vec<u8>> {
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    BASE64.decode(body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_signs_for_a_year() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let kept = [json!({"made": "2026-01-01T00:00:00Z"})];
        assert!(is_old(&[], at("2026-01-01T00:00:00Z")));
        assert!(!is_old(&kept, at("2026-12-31T23:59:59Z")));
        assert!(is_old(&kept, at("2027-01-01T00:00:00Z")));
    }
}
