//! The options of a store: which there are, which are not for the configuration to set, and what
//! they may be. Checked when the configuration is read, without any connection.

use object_store::ClientConfigKey;
use object_store::aws::AmazonS3ConfigKey;
use object_store::azure::AzureConfigKey;
use object_store::gcp::GoogleConfigKey;
use url::Url;

use crate::network;

/// What is wrong with an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionProblem {
    /// The store has no such option.
    Unknown,
    /// This store has no options at all.
    NoneHere,
    /// The option is decided elsewhere; the text says where.
    NotYours(&'static str),
    /// It is neither true nor false.
    NotABoolean,
    /// It is no address.
    NotAnAddress,
    /// It is no proxy that can be used; the text says why.
    NotAProxy(&'static str),
    /// An address without encryption, on another machine.
    PlainHttp,
}

const BUCKET: &str = "the bucket stands in [lake] url";
const CONDITIONAL: &str = "meetlake always writes with If-Match and If-None-Match";
const CHECKSUM: &str = "meetlake always sends SHA-256";
const CERTIFICATES: &str = "the variable SSL_CERT_FILE names the certificates that are trusted";
const ALLOW_HTTP: &str = "name the host in allow_http of [lake]";

/// What an option is for, as far as it matters here.
enum Meaning {
    Switch,
    Address,
    Proxy,
    NotYours(&'static str),
    Other,
}

/// Options that people set, for suggestions.
#[must_use]
pub fn usual(scheme: &str) -> &'static [&'static str] {
    match scheme {
        "s3" => &[
            "access_key_id",
            "secret_access_key",
            "session_token",
            "region",
            "endpoint",
            "virtual_hosted_style_request",
            "skip_signature",
            "role_arn",
            "web_identity_token_file",
            "server_side_encryption",
            "sse_kms_key_id",
            "proxy_url",
            "timeout",
            "connect_timeout",
        ],
        "gs" => &[
            "service_account",
            "service_account_key",
            "application_credentials",
            "base_url",
            "proxy_url",
            "timeout",
        ],
        "az" => &[
            "account_name",
            "access_key",
            "client_id",
            "client_secret",
            "tenant_id",
            "sas_key",
            "endpoint",
            "federated_token_file",
            "use_azure_cli",
            "proxy_url",
            "timeout",
        ],
        _ => &[],
    }
}

/// What is wrong with an option of the store behind `scheme`; `None` if nothing is. An address may
/// be plain HTTP on this machine and on `http_hosts`.
#[must_use]
pub fn problem(
    scheme: &str,
    name: &str,
    value: &str,
    http_hosts: &[String],
) -> Option<OptionProblem> {
    let name = name.to_ascii_lowercase();
    let meaning = match scheme {
        "s3" => name.parse().map(of_s3).ok(),
        "gs" => name.parse().map(of_gcs).ok(),
        "az" => name.parse().map(of_azure).ok(),
        _ => return Some(OptionProblem::NoneHere),
    };
    match meaning {
        None => Some(OptionProblem::Unknown),
        Some(Meaning::NotYours(why)) => Some(OptionProblem::NotYours(why)),
        Some(Meaning::Switch) if !is_boolean(value) => Some(OptionProblem::NotABoolean),
        Some(Meaning::Address) => match Url::parse(value) {
            Err(_) => Some(OptionProblem::NotAnAddress),
            Ok(url) if !["http", "https"].contains(&url.scheme()) => {
                Some(OptionProblem::NotAnAddress)
            }
            Ok(url) => (!may_be_reached(&url, http_hosts)).then_some(OptionProblem::PlainHttp),
        },
        Some(Meaning::Proxy) => network::proxy_url(value)
            .err()
            .map(OptionProblem::NotAProxy),
        Some(Meaning::Switch | Meaning::Other) => None,
    }
}

/// Whether requests may go to an address: over TLS, to this machine, or to a host that the
/// configuration allows.
pub(super) fn may_be_reached(url: &Url, http_hosts: &[String]) -> bool {
    let host = url.host_str().unwrap_or_default();
    let is_allowed = http_hosts
        .iter()
        .any(|allowed| allowed.eq_ignore_ascii_case(host));
    url.scheme() != "http" || network::is_loopback(url) || is_allowed
}

/// Whether a switch is on, as the store's client reads it.
#[must_use]
pub fn is_on(value: &str) -> bool {
    const ON: [&str; 5] = ["1", "true", "on", "yes", "y"];
    ON.contains(&value.to_ascii_lowercase().as_str())
}

fn is_boolean(value: &str) -> bool {
    const OFF: [&str; 5] = ["0", "false", "off", "no", "n"];
    is_on(value) || OFF.contains(&value.to_ascii_lowercase().as_str())
}

fn of_s3(key: AmazonS3ConfigKey) -> Meaning {
    use AmazonS3ConfigKey as Key;
    match key {
        Key::Bucket => Meaning::NotYours(BUCKET),
        Key::ConditionalPut | Key::CopyIfNotExists => Meaning::NotYours(CONDITIONAL),
        Key::Checksum => Meaning::NotYours(CHECKSUM),
        Key::Endpoint | Key::S3Endpoint | Key::StsEndpoint => Meaning::Address,
        Key::VirtualHostedStyleRequest
        | Key::S3Express
        | Key::ImdsV1Fallback
        | Key::UnsignedPayload
        | Key::SkipSignature
        | Key::DisableTagging
        | Key::DisableBulkDelete => Meaning::Switch,
        Key::Client(client) => of_client(client),
        _ => Meaning::Other,
    }
}

fn of_gcs(key: GoogleConfigKey) -> Meaning {
    use GoogleConfigKey as Key;
    match key {
        Key::Bucket => Meaning::NotYours(BUCKET),
        Key::BaseUrl => Meaning::Address,
        Key::SkipSignature => Meaning::Switch,
        Key::Client(client) => of_client(client),
        _ => Meaning::Other,
    }
}

fn of_azure(key: AzureConfigKey) -> Meaning {
    use AzureConfigKey as Key;
    match key {
        Key::ContainerName => Meaning::NotYours(BUCKET),
        Key::Endpoint => Meaning::Address,
        Key::UseEmulator
        | Key::UseAzureCli
        | Key::SkipSignature
        | Key::UseFabricEndpoint
        | Key::DisableTagging => Meaning::Switch,
        Key::Client(client) => of_client(client),
        _ => Meaning::Other,
    }
}

fn of_client(key: ClientConfigKey) -> Meaning {
    use ClientConfigKey as Key;
    match key {
        Key::AllowHttp => Meaning::NotYours(ALLOW_HTTP),
        Key::NoSystemCertificates | Key::ProxyCaCertificate => Meaning::NotYours(CERTIFICATES),
        Key::ProxyUrl => Meaning::Proxy,
        Key::AllowInvalidCertificates
        | Key::Http1Only
        | Key::Http2Only
        | Key::Http2KeepAliveWhileIdle
        | Key::RandomizeAddresses => Meaning::Switch,
        _ => Meaning::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_known_and_not_misread() {
        use OptionProblem::{
            NoneHere, NotABoolean, NotAProxy, NotAnAddress, NotYours, PlainHttp, Unknown,
        };
        let allowed = ["minio.storage.svc".to_owned()];
        for (scheme, name, value, expected) in [
            ("s3", "region", "eu-central-1", None),
            ("s3", "aws_region", "eu-central-1", None),
            ("s3", "regoin", "x", Some(Unknown)),
            ("s3", "account_name", "x", Some(Unknown)),
            ("s3", "virtual_hosted_style_request", "true", None),
            (
                "s3",
                "virtual_hosted_style_request",
                "ture",
                Some(NotABoolean),
            ),
            ("s3", "skip_signature", "2", Some(NotABoolean)),
            ("s3", "bucket", "b", Some(NotYours(BUCKET))),
            (
                "s3",
                "conditional_put",
                "disabled",
                Some(NotYours(CONDITIONAL)),
            ),
            (
                "s3",
                "checksum_algorithm",
                "crc32",
                Some(NotYours(CHECKSUM)),
            ),
            ("s3", "allow_http", "true", Some(NotYours(ALLOW_HTTP))),
            ("s3", "endpoint", "https://s3.example", None),
            ("s3", "endpoint", "http://127.0.0.1:9000", None),
            ("s3", "endpoint", "http://minio.storage.svc:9000", None),
            (
                "s3",
                "endpoint",
                "http://minio.other.svc:9000",
                Some(PlainHttp),
            ),
            ("s3", "endpoint", "minio:9000", Some(NotAnAddress)),
            ("s3", "endpoint", "s3.example", Some(NotAnAddress)),
            ("s3", "proxy_url", "http://proxy.example:3128", None),
            ("s3", "proxy_url", "proxy.example:3128", None),
            (
                "s3",
                "disable_system_certificates",
                "true",
                Some(NotYours(CERTIFICATES)),
            ),
            ("gs", "service_account", "/key.json", None),
            ("gs", "base_url", "http://10.0.0.1", Some(PlainHttp)),
            ("az", "account_name", "acme", None),
            ("az", "use_azure_cli", "maybe", Some(NotABoolean)),
            ("az", "container_name", "c", Some(NotYours(BUCKET))),
            ("file", "region", "x", Some(NoneHere)),
        ] {
            let found = problem(scheme, name, value, &allowed);
            assert_eq!(found, expected, "{scheme} {name} {value}");
        }
        for (name, value) in [("proxy_url", "socks5://p"), ("aws_proxy_url", "http://")] {
            let found = problem("s3", name, value, &allowed);
            assert!(matches!(found, Some(NotAProxy(_))), "{name} {value}");
        }
        for scheme in ["s3", "gs", "az"] {
            for name in usual(scheme) {
                let found = problem(scheme, name, "https://true.example", &[]);
                assert!(matches!(found, None | Some(NotABoolean)), "{scheme} {name}");
            }
        }
    }
}
