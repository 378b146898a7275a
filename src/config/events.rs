//! `[tenants.NAME.events]`: how the events of a tenant come in.

use std::net::SocketAddr;

use super::document::Section;
use super::tenant::{SecretKeys, SecretPlaces, optional_secret, secret};
use super::text;
use crate::inlet::WebhookSecrets;

/// How events come in.
#[derive(Clone, Debug)]
pub enum InletConfig {
    /// Over a connection that we open: no public address and no keys are needed. Only self-built
    /// apps have it.
    LongConnection,
    /// By calls of Feishu's.
    Webhook {
        /// Where we are called.
        listen: SocketAddr,
        /// By which a call is believed.
        secrets: WebhookSecrets,
    },
}

const VERIFICATION_TOKEN: SecretKeys = SecretKeys {
    inline: "verification_token",
    file: "verification_token_file",
};
const ENCRYPT_KEY: SecretKeys = SecretKeys {
    inline: "encrypt_key",
    file: "encrypt_key_file",
};

/// Reads the section; `None` if it is not there, or wrong.
pub(super) fn read(section: Section<'_>, places: SecretPlaces<'_>) -> Option<InletConfig> {
    if !section.is_present() {
        return None;
    }
    let kinds = [("long_connection", false), ("webhook", true)];
    let is_webhook = section.required("inlet", |field| field.parse(|t| text::word(t, &kinds)));
    let inlet = match is_webhook {
        Some(true) => webhook(&section, places),
        Some(false) => Some(InletConfig::LongConnection),
        None => None,
    };
    if is_webhook == Some(false) {
        let of_webhook = [VERIFICATION_TOKEN, ENCRYPT_KEY];
        let keys = of_webhook.iter().flat_map(|keys| [keys.inline, keys.file]);
        for key in keys.chain(["listen"]).filter(|key| section.has(key)) {
            section.problem(
                key,
                format!("`{key}` is of the webhook; a long connection has none: remove it"),
            );
        }
    }
    section.finish();
    inlet
}

fn webhook(section: &Section<'_>, places: SecretPlaces<'_>) -> Option<InletConfig> {
    const MESSAGE: &str = "is not an address with a port; write 127.0.0.1:8643";
    let listen = section.required("listen", |field| {
        field.parse(|t| text::parsed::<SocketAddr>(t, MESSAGE))
    });
    let verification_token = secret(section, VERIFICATION_TOKEN, places);
    let encrypt_key = optional_secret(section, ENCRYPT_KEY, places);
    if encrypt_key.is_none() {
        section.warning(
            "inlet",
            "without `encrypt_key`, nothing is signed, and a call is believed by its token alone; \
             set an Encrypt Key in the app's console and here",
        );
    }
    Some(InletConfig::Webhook {
        listen: listen?,
        secrets: WebhookSecrets {
            verification_token: verification_token?,
            encrypt_key,
        },
    })
}
