//! Whether a call of the webhook is Feishu's, and what it says (resources, 5.2).
//!
//! Pure: the bytes of a call in, an event or a refusal out.
//!
//! ```text
//! body ─► decrypted, if there is a key ─► challenge: its token ─► answered
//!                    │                └─► event: its signature over the raw body, its token
//!                    └── anything else is refused, and nobody is told why
//! ```
//! The challenge comes first, because Feishu does not sign it. Everything else is believed only with
//! a signature, where there is an Encrypt Key, and with the token in any case. A refusal is answered
//! alike whatever its reason: who could tell bad padding from a wrong token could read what is
//! encrypted.

use aes::Aes256;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt as _, KeyIvInit as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::text::hex;

/// Bytes of a block, and of the initialization vector before the text.
const BLOCK: usize = 16;

/// What only Feishu and we know.
#[derive(Clone, Debug)]
pub struct WebhookSecrets {
    /// The app's Verification Token, which every event carries.
    pub verification_token: SecretString,
    /// The app's Encrypt Key, if it has one. Without it nothing is encrypted or signed.
    pub encrypt_key: Option<SecretString>,
}

/// The headers that sign a call, as far as they are there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Signature<'h> {
    /// `X-Lark-Request-Timestamp`
    pub timestamp: Option<&'h str>,
    /// `X-Lark-Request-Nonce`
    pub nonce: Option<&'h str>,
    /// `X-Lark-Signature`
    pub signature: Option<&'h str>,
}

/// What a call is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AcceptedCall {
    /// Feishu asks whether we are here: the text to answer with.
    Challenge(String),
    /// An event: its body in the clear.
    Event(Vec<u8>),
}

/// Why a call is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum RefusedCall {
    /// The body is no JSON object.
    #[error("its body is no JSON object")]
    NoJson,
    /// It is in the clear although there is an Encrypt Key.
    #[error("it is not encrypted, and the app has an Encrypt Key")]
    NotEncrypted,
    /// It is encrypted and there is no key.
    #[error("it is encrypted, and no `encrypt_key` is configured")]
    NoKey,
    /// It cannot be decrypted under the key.
    #[error("it is not encrypted under the configured Encrypt Key")]
    NotOurs,
    /// It has no signature.
    #[error("it is not signed")]
    Unsigned,
    /// Its signature is another one.
    #[error("its signature is wrong")]
    WrongSignature,
    /// It has no token, or another one.
    #[error("its Verification Token is wrong")]
    WrongToken,
}

/// Decides over a call, by its headers and the bytes of its body as they came.
///
/// # Errors
/// It is not believed.
pub fn accept(
    secrets: &WebhookSecrets,
    signature: Signature<'_>,
    body: &[u8],
) -> Result<AcceptedCall, RefusedCall> {
    let clear = match &secrets.encrypt_key {
        Some(key) => decrypted_body(body, key)?,
        None => body.to_vec(),
    };
    let call: Value = serde_json::from_slice(&clear).map_err(|_| RefusedCall::NoJson)?;
    if !call.is_object() {
        return Err(RefusedCall::NoJson);
    }
    if secrets.encrypt_key.is_none() && call.get("encrypt").is_some() {
        return Err(RefusedCall::NoKey);
    }
    let own = call.get("token").and_then(Value::as_str);
    if call.get("type").and_then(Value::as_str) == Some("url_verification") {
        check_token(secrets, own)?;
        let challenge = call.get("challenge").and_then(Value::as_str);
        let challenge = challenge.ok_or(RefusedCall::NoJson)?;
        return Ok(AcceptedCall::Challenge(challenge.to_owned()));
    }
    if let Some(key) = &secrets.encrypt_key {
        check_signature(key, signature, body)?;
    }
    let of_header = call.pointer("/header/token").and_then(Value::as_str);
    check_token(secrets, of_header.or(own))?;
    Ok(AcceptedCall::Event(clear))
}

fn check_token(secrets: &WebhookSecrets, token: Option<&str>) -> Result<(), RefusedCall> {
    let expected = secrets.verification_token.expose_secret();
    let is_right = token.is_some_and(|token| is_same(token.as_bytes(), expected.as_bytes()));
    is_right.then_some(()).ok_or(RefusedCall::WrongToken)
}

/// hex(SHA-256(timestamp ‖ nonce ‖ key ‖ raw body)), which is no HMAC. The time is not looked at:
/// whether a call that comes again is stamped anew is not known, and its id stops it.
fn check_signature(
    key: &SecretString,
    signature: Signature<'_>,
    body: &[u8],
) -> Result<(), RefusedCall> {
    let (Some(timestamp), Some(nonce), Some(given)) =
        (signature.timestamp, signature.nonce, signature.signature)
    else {
        return Err(RefusedCall::Unsigned);
    };
    let expected = sign(key, timestamp, nonce, body);
    let is_right = is_same(given.to_ascii_lowercase().as_bytes(), expected.as_bytes());
    is_right.then_some(()).ok_or(RefusedCall::WrongSignature)
}

fn sign(key: &SecretString, timestamp: &str, nonce: &str, body: &[u8]) -> String {
    let mut hash = Sha256::new();
    for part in [
        timestamp.as_bytes(),
        nonce.as_bytes(),
        key.expose_secret().as_bytes(),
        body,
    ] {
        hash.update(part);
    }
    hex(&hash.finalize())
}

/// Compares without telling by its time where they differ.
fn is_same(given: &[u8], expected: &[u8]) -> bool {
    given.ct_eq(expected).into()
}

fn decrypted_body(body: &[u8], key: &SecretString) -> Result<Vec<u8>, RefusedCall> {
    #[derive(Deserialize)]
    struct EncryptedBody {
        encrypt: Option<String>,
    }
    let body: EncryptedBody = serde_json::from_slice(body).map_err(|_| RefusedCall::NoJson)?;
    decrypt(&body.encrypt.ok_or(RefusedCall::NotEncrypted)?, key)
}

/// AES-256 in CBC mode under SHA-256 of the key. The first block is the initialization vector.
fn decrypt(text: &str, key: &SecretString) -> Result<Vec<u8>, RefusedCall> {
    let bytes = STANDARD.decode(text).map_err(|_| RefusedCall::NotOurs)?;
    if bytes.len() < 2 * BLOCK || bytes.len() % BLOCK != 0 {
        return Err(RefusedCall::NotOurs);
    }
    let (vector, text) = bytes.split_at(BLOCK);
    let key = Sha256::digest(key.expose_secret().as_bytes());
    let cipher = cbc::Decryptor::<Aes256>::new_from_slices(&key, vector);
    let cipher = cipher.map_err(|_| RefusedCall::NotOurs)?;
    let mut text = text.to_vec();
    // Refused unless every byte of the padding is right.
    let clear = cipher.decrypt_padded::<Pkcs7>(&mut text);
    Ok(clear.map_err(|_| RefusedCall::NotOurs)?.to_vec())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Vectors that the vendor's own classes decrypt (resources, 5.4).
    const KEY: &str = "meetlake-test-encrypt-key";
    const V1: &str = "AAECAwQFBgcICQoLDA0OD4/4GBpf25PLEEdQj/nWwWP5v+e3H3qm7xNqWMcBHEuiGMtoaAaEW7UYyApLdEOMq7xgFtGkU2DyF7WUxpJYps+ywivC5NTUzR+/67yhux7E";
    const V2: &str = "EBESExQVFhcYGRobHB0eH8+213atzwIT6urRjXtQmDPcUAAJsOCKX+OXyU0qo9ej";

    fn key(text: &str) -> SecretString {
        text.to_owned().into()
    }

    fn secrets(encrypt_key: Option<&str>) -> WebhookSecrets {
        WebhookSecrets {
            verification_token: key("v-token-1"),
            encrypt_key: encrypt_key.map(key),
        }
    }

    #[test]
    fn the_vendors_texts_are_decrypted_and_damaged_ones_refused() {
        for (name, text, under, clear) in [
            (
                "V0",
                "P37w+VZImNgPEO1RBhJ6RtKl7n6zymIbEG1pReEzghk=",
                "test key",
                Some("hello world"),
            ),
            (
                "V1",
                V1,
                KEY,
                Some(r#"{"challenge":"ajls384kdj","token":"v-token-1","type":"url_verification"}"#),
            ),
            ("V2", V2, KEY, Some(r#"{"topic":"周会"}"#)),
            (
                "V3",
                "/////////////////////2JJCJGYdJ9nBq64iPR5mwPE8ip5hBBB9xcq52I+yN2R",
                KEY,
                Some("0123456789abcdef"),
            ),
            (
                "V4",
                "AAECAwQFBgcICQoLDA0OD6VO0M5aT+b+Qxf7oQX9cYQ=",
                KEY,
                Some(""),
            ),
            (
                "N1",
                "EBESExQVFhcYGRobHB0eH8+213atzwIT6urRjXtQmDPcUAAJsOCKX+OXyU0qo9ei",
                KEY,
                None,
            ),
            (
                "N2",
                "EBESExQVFhcYGRobHB0eH8+213atzwIT6urRjXtQmA==",
                KEY,
                None,
            ),
            ("N3", "EBESExQVFhcYGRobHB0eHw==", KEY, None),
            ("N4", V1, "wrong", None),
            ("no base64", "~~~", KEY, None),
            ("nothing", "", KEY, None),
        ] {
            let found = decrypt(text, &key(under)).ok();
            let found = found.map(|bytes| String::from_utf8(bytes).expect("text"));
            assert_eq!(found.as_deref(), clear, "{name}");
        }
    }

    #[test]
    fn the_vendors_signatures_are_over_the_raw_bytes() {
        let body = format!("{{\"encrypt\":\"{V1}\"}}");
        assert_eq!(body.len(), 142);
        let with_blank = body.replace(":\"", ": \"");
        for (name, under, body, signature) in [
            (
                "S1",
                KEY,
                &body,
                "0f143cd84977b4e3dba0b55d1a8c06ad37d4ea40d724e50f9800ca47d4959e26",
            ),
            (
                "S2",
                KEY,
                &with_blank,
                "740e345b04817813a3733493f0e618a9c4965fb45538e92048f40f33b38da37c",
            ),
            (
                "S3",
                "",
                &body,
                "933d746346fae93ff50b80ec26d71000bad99d853879e2a444e4c0730b58d84a",
            ),
        ] {
            let signed = sign(&key(under), "1700000000", "nonce-123", body.as_bytes());
            assert_eq!(signed, signature, "{name}");
        }
        // Without a key nothing is signed: a signature under no key is none.
        let s3 = Signature {
            timestamp: Some("1700000000"),
            nonce: Some("nonce-123"),
            signature: Some("933d746346fae93ff50b80ec26d71000bad99d853879e2a444e4c0730b58d84a"),
        };
        let found = accept(&secrets(None), s3, body.as_bytes());
        assert_eq!(found, Err(RefusedCall::NoKey));
    }

    /// Encrypts as Feishu does, for tests that need a body of their own.
    fn encrypted(clear: &str) -> String {
        use aes::cipher::BlockModeEncrypt as _;
        let vector = [7; BLOCK];
        let key = Sha256::digest(KEY.as_bytes());
        let cipher = cbc::Encryptor::<Aes256>::new_from_slices(&key, &vector).expect("a key");
        let mut buffer = vec![0; clear.len() + BLOCK];
        buffer[..clear.len()].copy_from_slice(clear.as_bytes());
        let text = cipher.encrypt_padded::<Pkcs7>(&mut buffer, clear.len());
        let bytes = [&vector[..], text.expect("room")].concat();
        format!("{{\"encrypt\":\"{}\"}}", STANDARD.encode(bytes))
    }

    const EVENT: &str = r#"{"header":{"token":"v-token-1","event_id":"e1"}}"#;

    #[test]
    fn only_what_feishu_could_have_sent_is_believed() {
        let challenge = r#"{"challenge":"c","token":"v-token-1","type":"url_verification"}"#;
        let wrong_challenge = challenge.replace("token-1", "token-2");
        let (event, other) = (EVENT.to_owned(), EVENT.replace("token-1", "token-2"));
        let without = EVENT.replace("token\":", "tok\":");
        let v1 = format!("{{\"encrypt\":\"{V1}\"}}");
        let is_challenge = |text: &str| Ok(AcceptedCall::Challenge(text.to_owned()));
        let is_event = |text: &str| Ok(AcceptedCall::Event(text.as_bytes().to_vec()));
        use RefusedCall::{
            NoJson, NoKey, NotEncrypted, NotOurs, Unsigned, WrongSignature, WrongToken,
        };
        let (some, none) = (Some(KEY), None);
        // Whether it is signed: rightly, wrongly or not at all.
        for (what, encrypt_key, body, signed, expected) in [
            (
                "a challenge",
                none,
                challenge.to_owned(),
                None,
                is_challenge("c"),
            ),
            (
                "another's challenge",
                none,
                wrong_challenge.clone(),
                None,
                Err(WrongToken),
            ),
            ("an event", none, event.clone(), None, is_event(&event)),
            (
                "another's event",
                none,
                other.clone(),
                None,
                Err(WrongToken),
            ),
            (
                "an event without a token",
                none,
                without.clone(),
                None,
                Err(WrongToken),
            ),
            (
                "an encrypted one without a key",
                none,
                encrypted(EVENT),
                Some(true),
                Err(NoKey),
            ),
            (
                "the vendor's challenge",
                some,
                v1,
                None,
                is_challenge("ajls384kdj"),
            ),
            (
                "another's challenge",
                some,
                encrypted(&wrong_challenge),
                None,
                Err(WrongToken),
            ),
            (
                "an event",
                some,
                encrypted(EVENT),
                Some(true),
                is_event(EVENT),
            ),
            (
                "an event without a signature",
                some,
                encrypted(EVENT),
                None,
                Err(Unsigned),
            ),
            (
                "an event with a wrong one",
                some,
                encrypted(EVENT),
                Some(false),
                Err(WrongSignature),
            ),
            (
                "a signed event of another app",
                some,
                encrypted(&other),
                Some(true),
                Err(WrongToken),
            ),
            (
                "an event in the clear",
                some,
                event,
                Some(true),
                Err(NotEncrypted),
            ),
            (
                "garbage that is encrypted",
                some,
                encrypted("garbage"),
                Some(true),
                Err(NoJson),
            ),
            (
                "garbage",
                some,
                r#"{"encrypt":"AAAA"}"#.to_owned(),
                Some(true),
                Err(NotOurs),
            ),
            ("no JSON", some, "hello".to_owned(), Some(true), Err(NoJson)),
            ("a list", none, "[]".to_owned(), None, Err(NoJson)),
        ] {
            let right = sign(&key(KEY), "1", "n", body.as_bytes());
            let wrong = "0".repeat(64);
            let signature = Signature {
                timestamp: signed.map(|_| "1"),
                nonce: signed.map(|_| "n"),
                signature: signed.map(|is_right| if is_right { &right } else { &wrong }.as_str()),
            };
            let found = accept(&secrets(encrypt_key), signature, body.as_bytes());
            assert_eq!(found, expected, "{what}, key {encrypt_key:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_none_are_believed(
            body in any::<Vec<u8>>(), text in any::<Vec<u8>>(), has_key in any::<bool>()
        ) {
            let secrets = secrets(has_key.then_some(KEY));
            prop_assert!(accept(&secrets, Signature::default(), &body).is_err());
            let wrapped = format!("{{\"encrypt\":\"{}\"}}", STANDARD.encode(text));
            prop_assert!(accept(&secrets, Signature::default(), wrapped.as_bytes()).is_err());
        }

        #[test]
        fn a_signed_event_that_was_tampered_with_is_refused(
            place in any::<prop::sample::Index>(), by in 1_u8..=255
        ) {
            let body = encrypted(EVENT).into_bytes();
            let right = sign(&key(KEY), "1", "n", &body);
            let signature = Signature { timestamp: Some("1"), nonce: Some("n"), signature: Some(&right) };
            prop_assert!(accept(&secrets(Some(KEY)), signature, &body).is_ok());
            let mut tampered = body;
            let at = place.index(tampered.len());
            tampered[at] ^= by;
            prop_assert!(accept(&secrets(Some(KEY)), signature, &tampered).is_err());
        }
    }
}
