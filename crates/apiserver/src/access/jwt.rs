//! Signed tokens: ES256 JSON Web Tokens (RFC 7515, RFC 7518 §3.4), and the
//! keys that sign them.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Longest token that is looked at.
const LONGEST: usize = 16 * 1024;
/// SubjectPublicKeyInfo of a P-256 key up to its point (RFC 5480).
const SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A key that is none, or cannot sign.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not a P-256 key in PKCS#8.
    #[error("cannot use the service account key: it is no P-256 key in PKCS#8")]
    Unreadable,
    /// The library refused.
    #[error("cannot {0} with the service account key")]
    Refused(&'static str),
}

/// The text is no token, or none of these keys signed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSignature;

/// A key pair with the id tokens name it by.
struct Key {
    pair: EcdsaKeyPair,
    id: String,
}

/// How many tokens are remembered as signed.
const REMEMBERED: usize = 1024;

/// The keys of a server: the first one signs, all verify.
pub struct Keys {
    keys: Vec<Key>,
    /// Digests of tokens that were found signed, with their claims: checking a
    /// signature costs more than most requests. Whether the claims hold is
    /// looked up each time all the same.
    signed: Mutex<HashMap<[u8; 32], Arc<Value>>>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.id)).finish()
    }
}

impl Keys {
    /// Keys from PKCS#8 documents, the one that signs first.
    ///
    /// # Errors
    /// When one is no P-256 key.
    pub fn of<'a>(documents: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, KeyError> {
        let read = |document| {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document)
                .map_err(|_| KeyError::Unreadable)?;
            let mut info = SPKI.to_vec();
            info.extend_from_slice(pair.public_key().as_ref());
            Ok(Key { id: BASE64URL.encode(Sha256::digest(info)), pair })
        };
        let keys = documents.into_iter().map(read).collect::<Result<_, _>>()?;
        Ok(Self { keys, signed: Mutex::default() })
    }

    /// A new key, as PKCS#8.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn generate() -> Result<Vec<u8>, KeyError> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        Ok(document.map_err(|_| KeyError::Refused("make a key"))?.as_ref().to_vec())
    }

    /// A token with these claims.
    ///
    /// # Errors
    /// When there is no key or the library refuses.
    pub fn sign(&self, claims: &Value) -> Result<String, KeyError> {
        let key = self.keys.first().ok_or(KeyError::Unreadable)?;
        let part = |value: &Value| BASE64URL.encode(value.to_string());
        let message = format!("{}.{}", part(&json!({"alg": "ES256", "kid": key.id})), part(claims));
        let signature =
            key.pair.sign(&SystemRandom::new(), message.as_bytes()).map_err(|_| KeyError::Refused("sign"))?;
        Ok(format!("{message}.{}", BASE64URL.encode(signature.as_ref())))
    }

    /// The claims of a token, if one of the keys signed it.
    ///
    /// # Errors
    /// When none did.
    pub fn verify(&self, token: &str) -> Result<Arc<Value>, BadSignature> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        if let Some(claims) = self.signed.lock().get(&digest) {
            return Ok(Arc::clone(claims));
        }
        let claims = Arc::new(self.check(token)?);
        let mut signed = self.signed.lock();
        if signed.len() >= REMEMBERED {
            signed.clear();
        }
        signed.insert(digest, Arc::clone(&claims));
        Ok(claims)
    }

    fn check(&self, token: &str) -> Result<Value, BadSignature> {
        let (message, signature) = token.rsplit_once('.').ok_or(BadSignature)?;
        let (header, claims) = message.split_once('.').ok_or(BadSignature)?;
        let header = json_part(header).ok_or(BadSignature)?;
        let signature = BASE64URL.decode(signature).map_err(|_| BadSignature)?;
        if header["alg"] != "ES256" || token.len() > LONGEST {
            return Err(BadSignature);
        }
        let named = header["kid"].as_str();
        let mut keys = self.keys.iter().filter(|key| named.is_none_or(|id| id == key.id));
        let signed = keys.any(|key| {
            let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.pair.public_key().as_ref());
            public.verify(message.as_bytes(), &signature).is_ok()
        });
        if signed { json_part(claims).ok_or(BadSignature) } else { Err(BadSignature) }
    }

    /// The public keys as a JSON Web Key Set.
    pub fn public(&self) -> Value {
        let keys = self.keys.iter().map(|key| {
            let point = key.pair.public_key().as_ref();
            let coordinate = |from: usize| BASE64URL.encode(point.get(from..from + 32).unwrap_or_default());
            json!({
                "use": "sig", "kty": "EC", "kid": key.id, "crv": "P-256", "alg": "ES256",
                "x": coordinate(1), "y": coordinate(33),
            })
        });
        json!({"keys": keys.collect::<Vec<_>>()})
    }
}

fn json_part(text: &str) -> Option<Value> {
    serde_json::from_slice(&BASE64URL.decode(text).ok()?).ok()
}

/// The issuer a token names, signed or not; `None` when it is no token.
pub fn issuer(token: &str) -> Option<String> {
    let mut parts = token.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || token.len() > LONGEST {
        return None;
    }
    Some(json_part(claims)?["iss"].as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_signed_is_believed() {
        let (old, new) = (Keys::generate().unwrap(), Keys::generate().unwrap());
        let before = Keys::of([old.as_slice()]).unwrap();
        let rotated = Keys::of([new.as_slice(), &old]).unwrap();
        let claims = json!({"iss": "me", "sub": "x"});
        let token = before.sign(&claims).unwrap();
        for _ in 0..2 {
            assert_eq!(rotated.verify(&token).as_deref(), Ok(&claims));
        }
        assert_eq!(issuer(&token).as_deref(), Some("me"));
        let newer = rotated.sign(&claims).unwrap();
        assert_eq!(before.verify(&newer), Err(BadSignature));
        let (head, signature) = token.rsplit_once('.').unwrap();
        let other = BASE64URL.encode(r#"{"iss":"me","sub":"y"}"#);
        let forged = format!("{}.{other}.{signature}", head.split('.').next().unwrap());
        let none =
            format!("{}.{}.", BASE64URL.encode(r#"{"alg":"none"}"#), BASE64URL.encode(claims.to_string()));
        for bad in [forged.as_str(), none.as_str(), head, "", "a.b.c", "..", &format!("{token}x")] {
            assert_eq!(rotated.verify(bad), Err(BadSignature), "{bad}");
        }
        assert!(!format!("{rotated:?}").contains(&BASE64URL.encode(&new[..8])));
    }

    #[test]
    fn public_keys_are_published_without_their_secrets() {
        let document = Keys::generate().unwrap();
        let public = Keys::of([document.as_slice()]).unwrap().public();
        let key = &public["keys"][0];
        assert_eq!((key["x"].as_str().unwrap().len(), key["y"].as_str().unwrap().len()), (43, 43));
        assert_eq!(key["d"], Value::Null);
    }
}
