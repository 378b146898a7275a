//! Calls of the webhook, signed and encrypted as the service does it: what a test or a person posts to the address that is configured.

use aes::Aes256;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeEncrypt as _, KeyIvInit as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// What the app has in its console.
#[derive(Clone, Debug)]
pub struct WebhookSender {
    /// The Verification Token.
    pub verification_token: String,
    /// The Encrypt Key, if there is one.
    pub encrypt_key: Option<String>,
}

/// A call: headers and body.
#[derive(Clone, Debug)]
pub struct WebhookCall {
    /// Names and values.
    pub headers: Vec<(&'static str, String)>,
    /// As it goes over the wire.
    pub body: Vec<u8>,
}

impl WebhookSender {
    /// The call that asks whether somebody is there, which is not signed.
    #[must_use]
    pub fn challenge(&self, challenge: &str) -> WebhookCall {
        let body = json!({
            "challenge": challenge, "token": self.verification_token, "type": "url_verification",
        });
        WebhookCall {
            headers: Vec::new(),
            body: self.wrapped(&body.to_string()),
        }
    }

    /// The call that brings an event.
    #[must_use]
    pub fn event(&self, body: &str, nonce: &str) -> WebhookCall {
        let body = self.wrapped(body);
        let timestamp = "1700000000".to_owned();
        let headers = self.encrypt_key.as_ref().map(|key| {
            let mut hash = Sha256::new();
            for part in [
                timestamp.as_bytes(),
                nonce.as_bytes(),
                key.as_bytes(),
                &body,
            ] {
                hash.update(part);
            }
            let signature = hash
                .finalize()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            vec![
                ("X-Lark-Request-Timestamp", timestamp),
                ("X-Lark-Request-Nonce", nonce.to_owned()),
                ("X-Lark-Signature", signature),
            ]
        });
        WebhookCall {
            headers: headers.unwrap_or_default(),
            body,
        }
    }

    fn wrapped(&self, clear: &str) -> Vec<u8> {
        let Some(key) = &self.encrypt_key else {
            return clear.as_bytes().to_vec();
        };
        let hash = Sha256::digest(clear.as_bytes());
        let vector = &hash[..16];
        let key = Sha256::digest(key.as_bytes());
        let mut buffer = vec![0; clear.len() + 16];
        buffer[..clear.len()].copy_from_slice(clear.as_bytes());
        let cipher = cbc::Encryptor::<Aes256>::new_from_slices(&key, vector);
        let cipher = cipher.expect("a key of 32 bytes and a vector of 16");
        let text = cipher.encrypt_padded::<Pkcs7>(&mut buffer, clear.len());
        let bytes = [vector, text.expect("a block more is room enough")].concat();
        json!({ "encrypt": STANDARD.encode(bytes) })
            .to_string()
            .into_bytes()
    }
}
