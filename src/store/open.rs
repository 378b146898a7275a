//! A URL and options become a lake: which store, with which credentials, checksums and deadlines.

use std::collections::{BTreeMap, HashMap};
#[cfg(any(test, feature = "testing"))]
use std::path::Path as FilePath;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum, S3ConditionalPut};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ClientConfigKey, ObjectStore, RetryConfig};
use secrecy::SecretString;
use url::Url;

use super::options::may_be_reached;
use super::transport::Connector;
use super::{Error, Lake, StoreErrorKind};
use crate::network::{self, Proxies};
use crate::text::control_characters;

/// Time for one request, in the format of the store's options. A pack of 64 MB fits at 2 Mbit/s.
const REQUEST_TIMEOUT: &str = "300 seconds";
/// Shorter option values are not hidden in error texts: hiding "1" would hide every digit 1.
const MIN_SECRET_CHARS: usize = 8;

/// How the store may be reached.
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    /// Hosts that may be asked without encryption.
    pub http_hosts: &'a [String],
    /// What may stand in between.
    pub proxies: &'a Proxies,
}

impl Lake {
    /// Opens the lake at `url`. `options` are the store's own keys (`endpoint`, `region`,
    /// `access_key_id`, …). What they leave open is read from the environment variables of the
    /// cloud's own tools. A missing local folder is made; nothing else is written, and no request
    /// is sent.
    ///
    /// # Errors
    /// [`StoreErrorKind::Misconfigured`] for an unknown scheme or option, credentials in the URL,
    /// or plain HTTP to another machine.
    pub fn open_with(
        url: &str,
        options: &BTreeMap<String, String>,
        access: Access<'_>,
    ) -> Result<Self, Error> {
        let parsed = parse(url)?;
        network::install_crypto_provider();
        let (store, secrets, folder) = build(&parsed, options, access)?;
        let prefix = match folder {
            Some(_) => Path::default(),
            None => Path::from_url_path(parsed.path())
                .map_err(|error| misconfigured(url, error.to_string()))?,
        };
        Ok(Self {
            store,
            prefix,
            url: parsed.to_string().trim_end_matches('/').to_owned(),
            folder,
            secrets: secrets.into(),
        })
    }

    /// The same without a proxy, and with encryption to any other machine.
    ///
    /// # Errors
    /// As for [`Lake::open_with`].
    #[cfg(any(test, feature = "testing"))]
    pub fn open(url: &str, options: &BTreeMap<String, String>) -> Result<Self, Error> {
        let access = Access {
            http_hosts: &[],
            proxies: &Proxies::default(),
        };
        Self::open_with(url, options, access)
    }
}

/// The `file://` URL of a folder, which need not exist; a relative path counts from the working
/// directory.
///
/// # Errors
/// [`StoreErrorKind::Misconfigured`] if the path has no URL.
#[cfg(any(test, feature = "testing"))]
pub fn file_url(folder: &FilePath) -> Result<String, Error> {
    let shown = folder.display().to_string();
    let absolute =
        std::path::absolute(folder).map_err(|error| misconfigured(&shown, error.to_string()))?;
    Url::from_directory_path(&absolute)
        .map(|url| url.to_string().trim_end_matches('/').to_owned())
        .map_err(|()| misconfigured(&shown, "it has no file:// url".to_owned()))
}

type OpenedStore = (Arc<dyn ObjectStore>, Vec<SecretString>, Option<PathBuf>);

fn build(
    url: &Url,
    options: &BTreeMap<String, String>,
    access: Access<'_>,
) -> Result<OpenedStore, Error> {
    match url.scheme() {
        "file" => local(url, options),
        "memory" => memory(url, options),
        "s3" => s3(url, options, access),
        "gs" => gcs(url, options, access),
        "az" => azure(url, options, access),
        scheme => Err(misconfigured(
            url.as_str(),
            format!("`{scheme}://` is not supported; there are file, s3, gs, az and memory"),
        )),
    }
}

fn parse(url: &str) -> Result<Url, Error> {
    // A URL that does not parse or may hold a secret is not repeated.
    let parsed =
        Url::parse(url).map_err(|error| misconfigured("the lake's url", error.to_string()))?;
    let has_user = !parsed.username().is_empty() || parsed.password().is_some();
    if has_user || parsed.query().is_some() || parsed.fragment().is_some() {
        let why = "it has a user, a query or a fragment; credentials belong into the options";
        return Err(misconfigured("the lake's url", why.to_owned()));
    }
    Ok(parsed)
}

fn local(url: &Url, options: &BTreeMap<String, String>) -> Result<OpenedStore, Error> {
    no_options(url, options)?;
    let folder = url
        .to_file_path()
        .map_err(|()| misconfigured(url.as_str(), "it is not an absolute path".to_owned()))?;
    let failed = |error| Error::from_store("open", "", url.as_str(), &error, &[]);
    std::fs::create_dir_all(&folder).map_err(|error| failed(super::store_error(error)))?;
    let store = LocalFileSystem::new_with_prefix(&folder).map_err(failed)?;
    // When the last object of a folder is deleted, the folder goes too, as in a bucket.
    let store = store.with_fsync(true).with_automatic_cleanup(true);
    Ok((Arc::new(store), Vec::new(), Some(folder)))
}

/// One store for each URL in a process, so that two opens see the same objects.
fn memory(url: &Url, options: &BTreeMap<String, String>) -> Result<OpenedStore, Error> {
    static STORES: LazyLock<Mutex<HashMap<String, Arc<InMemory>>>> = LazyLock::new(Mutex::default);
    no_options(url, options)?;
    let mut stores = STORES.lock().expect("nothing panics while holding the map");
    let store = Arc::clone(stores.entry(url.to_string()).or_default());
    Ok((store, Vec::new(), None))
}

fn s3(
    url: &Url,
    options: &BTreeMap<String, String>,
    access: Access<'_>,
) -> Result<OpenedStore, Error> {
    use AmazonS3ConfigKey as Key;
    check_texts::<Key>(url, "AWS_", options)?;
    let mut builder = AmazonS3Builder::from_env()
        .with_retry(retry())
        .with_config(Key::Client(ClientConfigKey::Timeout), REQUEST_TIMEOUT);
    for (key, value) in options {
        builder = builder.with_config(option_key(url, key)?, value);
    }
    let own_identities = [
        Key::AccessKeyId,
        Key::WebIdentityTokenFile,
        Key::ContainerCredentialsRelativeUri,
        Key::ContainerCredentialsFullUri,
    ];
    let has_identity = own_identities
        .iter()
        .any(|key| builder.get_config_value(key).is_some());
    let signs = builder.get_config_value(&Key::SkipSignature).as_deref() != Some("true");
    if signs && !has_identity {
        refuse_profile(url, |name| {
            std::env::var_os(name).is_some_and(|value| !value.is_empty())
        })?;
    }
    let endpoints = [Key::Endpoint, Key::S3Endpoint].map(|key| builder.get_config_value(&key));
    let allow_http = access.allow_http(url, &endpoints)?;
    let secrets = [Key::AccessKeyId, Key::SecretAccessKey, Key::Token]
        .map(|key| builder.get_config_value(&key));
    let store = builder
        .with_bucket_name(bucket(url)?)
        // Buckets with object lock refuse a PUT without a checksum. The tests check every PUT.
        .with_checksum_algorithm(Checksum::SHA256)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_http_connector(access.connector(allow_http))
        .with_allow_http(allow_http)
        .build()
        .map_err(|error| build_error(url, &error, options))?;
    Ok((Arc::new(store), secrets_to_hide(secrets, options), None))
}

/// A profile of `~/.aws` is not read. Whoever asks for one should not get the identity of the
/// machine in its place.
fn refuse_profile(url: &Url, is_set: impl Fn(&str) -> bool) -> Result<(), Error> {
    match ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"]
        .into_iter()
        .find(|name| is_set(name))
    {
        None => Ok(()),
        Some(name) => {
            let why = format!(
                "{name} is set, and meetlake does not read ~/.aws; set access_key_id and \
                 secret_access_key in [lake.options] or the environment, or unset {name} to use \
                 the role of this machine"
            );
            Err(misconfigured(url.as_str(), why))
        }
    }
}

/// Google and Azure get no checksum with a PUT: the client cannot send one, and their retention
/// policies need none. TLS notices damage on the connection, and the manifests' hashes check what
/// is read.
fn gcs(
    url: &Url,
    options: &BTreeMap<String, String>,
    access: Access<'_>,
) -> Result<OpenedStore, Error> {
    use GoogleConfigKey as Key;
    check_texts::<Key>(url, "GOOGLE_", options)?;
    let mut builder = GoogleCloudStorageBuilder::from_env()
        .with_retry(retry())
        .with_config(Key::Client(ClientConfigKey::Timeout), REQUEST_TIMEOUT);
    for (key, value) in options {
        builder = builder.with_config(option_key(url, key)?, value);
    }
    let allow_http = access.allow_http(url, &[builder.get_config_value(&Key::BaseUrl)])?;
    let secrets =
        [Key::ServiceAccountKey, Key::BearerToken].map(|key| builder.get_config_value(&key));
    let store = builder
        .with_bucket_name(bucket(url)?)
        .with_http_connector(access.connector(allow_http))
        .with_config(
            Key::Client(ClientConfigKey::AllowHttp),
            allow_http.to_string(),
        )
        .build()
        .map_err(|error| build_error(url, &error, options))?;
    Ok((Arc::new(store), secrets_to_hide(secrets, options), None))
}

fn azure(
    url: &Url,
    options: &BTreeMap<String, String>,
    access: Access<'_>,
) -> Result<OpenedStore, Error> {
    use AzureConfigKey as Key;
    check_texts::<Key>(url, "AZURE_", options)?;
    let mut builder = MicrosoftAzureBuilder::from_env()
        .with_retry(retry())
        .with_config(Key::Client(ClientConfigKey::Timeout), REQUEST_TIMEOUT);
    for (key, value) in options {
        builder = builder.with_config(option_key(url, key)?, value);
    }
    let allow_http = access.allow_http(url, &[builder.get_config_value(&Key::Endpoint)])?;
    let secrets = [Key::AccessKey, Key::ClientSecret, Key::SasKey, Key::Token]
        .map(|key| builder.get_config_value(&key));
    let store = builder
        .with_container_name(bucket(url)?)
        .with_http_connector(access.connector(allow_http))
        .with_allow_http(allow_http)
        .build()
        .map_err(|error| build_error(url, &error, options))?;
    Ok((Arc::new(store), secrets_to_hide(secrets, options), None))
}

fn bucket(url: &Url) -> Result<&str, Error> {
    url.host_str()
        .filter(|host| !host.is_empty())
        .ok_or_else(|| misconfigured(url.as_str(), "it names no bucket".to_owned()))
}

/// Parses an option's key. The builders would ignore or misread an unknown key.
fn option_key<K: FromStr>(url: &Url, key: &str) -> Result<K, Error> {
    let cause = || format!("`{key}` is not an option of `{}://`", url.scheme());
    key.parse()
        .map_err(|_| misconfigured(url.as_str(), cause()))
}

/// Refuses values that the client would put into a request as they are and give up over: a secret
/// made by `echo`, a line of a file made on Windows. The client reads its environment by `prefix`.
fn check_texts<K: FromStr>(
    url: &Url,
    prefix: &str,
    options: &BTreeMap<String, String>,
) -> Result<(), Error> {
    let is_ours = |name: &str| name.starts_with(prefix) && is_key::<K>(name);
    for (name, value) in std::env::vars_os() {
        if let Some(name) = name.to_str().filter(|name| is_ours(name))
            && value.to_str().is_none()
        {
            let why = format!("the variable `{name}` is no UTF-8 text; set it anew");
            return Err(misconfigured(url.as_str(), why));
        }
    }
    let environment = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok().filter(|name| is_ours(name))?;
        let value = value.into_string().ok()?;
        Some((format!("the variable `{name}`"), name, value))
    });
    let options = options.iter().map(|(name, value)| {
        let shown = format!("`{name}` in [lake.options]");
        (shown, name.clone(), value.clone())
    });
    for (shown, name, value) in environment.chain(options) {
        let name = name.to_ascii_lowercase();
        // A service account's key is JSON, which may have lines.
        if name.contains("service_account_key") {
            continue;
        }
        if let Some(wrong) = control_characters(&value) {
            return Err(misconfigured(url.as_str(), format!("{shown} {wrong}")));
        }
        // The client sends what is in this file as it is.
        if name.ends_with("container_authorization_token_file")
            && let Ok(token) = std::fs::read_to_string(&value)
            && let Some(wrong) = control_characters(&token)
        {
            let why = format!("the file {value}, named by {shown}, {wrong}");
            return Err(misconfigured(url.as_str(), why));
        }
    }
    Ok(())
}

fn is_key<K: FromStr>(name: &str) -> bool {
    name.to_ascii_lowercase().parse::<K>().is_ok()
}

fn no_options(url: &Url, options: &BTreeMap<String, String>) -> Result<(), Error> {
    match options.keys().next() {
        Some(key) => Err(misconfigured(
            url.as_str(),
            format!("`{}://` has no options, not even `{key}`", url.scheme()),
        )),
        None => Ok(()),
    }
}

impl Access<'_> {
    /// Whether requests may go over plain HTTP: to this machine, where nobody listens in between,
    /// and to hosts that the configuration allows.
    fn allow_http(self, url: &Url, endpoints: &[Option<String>]) -> Result<bool, Error> {
        let mut allowed = false;
        for endpoint in endpoints.iter().flatten() {
            let parsed = Url::parse(endpoint)
                .map_err(|error| misconfigured(url.as_str(), format!("the endpoint: {error}")))?;
            if parsed.scheme() != "http" {
                continue;
            }
            if !may_be_reached(&parsed, self.http_hosts) {
                let why = "a plain http endpoint is allowed on this machine only; use https, or \
                           name its host in allow_http of [lake]";
                return Err(misconfigured(url.as_str(), why.to_owned()));
            }
            allowed = true;
        }
        Ok(allowed)
    }

    fn connector(self, is_http: bool) -> Connector {
        Connector {
            proxies: self.proxies.clone(),
            scheme: if is_http { "http" } else { "https" },
        }
    }
}

/// Retries of one request within seconds. Retries within minutes belong to the ledger.
fn retry() -> RetryConfig {
    RetryConfig {
        max_retries: 5,
        retry_timeout: Duration::from_secs(60),
        ..RetryConfig::default()
    }
}

/// Values that must never show: known credentials, and every option whose name sounds like one.
fn secrets_to_hide<const N: usize>(
    known: [Option<String>; N],
    options: &BTreeMap<String, String>,
) -> Vec<SecretString> {
    let sounds_secret = |key: &str| {
        ["key", "secret", "token", "sas", "password"]
            .iter()
            .any(|word| key.to_ascii_lowercase().contains(word))
    };
    let named = options
        .iter()
        .filter(|(key, _)| sounds_secret(key))
        .map(|(_, value)| value.clone());
    let whole: Vec<String> = known.into_iter().flatten().chain(named).collect();
    // A value may be a query string with a signature. An error may repeat only a part of it.
    let parts = whole.iter().filter(|value| value.contains('='));
    let parts = parts.flat_map(|value| {
        let pairs = value.trim_start_matches('?').split('&');
        let raw = pairs.filter_map(|pair| Some(pair.split_once('=')?.1.to_owned()));
        let decoded = url::form_urlencoded::parse(value.as_bytes());
        raw.chain(decoded.map(|(_, value)| value.into_owned()))
    });
    let parts: Vec<String> = parts.collect();
    whole
        .into_iter()
        .chain(parts)
        .filter(|value| value.len() >= MIN_SECRET_CHARS)
        .map(SecretString::from)
        .collect()
}

fn build_error(
    url: &Url,
    error: &object_store::Error,
    options: &BTreeMap<String, String>,
) -> Error {
    let secrets: Vec<_> = options
        .values()
        .filter(|value| value.len() >= MIN_SECRET_CHARS)
        .map(|value| SecretString::from(value.as_str()))
        .collect();
    let opened = Error::from_store("open", "", url.as_str(), error, &secrets);
    misconfigured(url.as_str(), opened.cause().to_owned())
}

fn misconfigured(url: &str, cause: String) -> Error {
    Error::new(
        StoreErrorKind::Misconfigured,
        "open",
        "the lake",
        url,
        cause,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(url: &str, options: &[(&str, &str)]) -> String {
        let options = options
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let error = Lake::open(url, &options).expect_err("refused");
        assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{error}");
        error.to_string()
    }

    #[test]
    fn wrong_urls_and_options_are_named_and_secrets_are_not_repeated() {
        assert!(problem("ftp://x", &[]).contains("ftp"));
        assert!(problem("not a url", &[]).contains("relative URL"));
        assert!(!problem("s3://key:hunter22@bucket", &[]).contains("hunter22"));
        assert!(!problem("az://c?sig=hunter22", &[]).contains("hunter22"));
        assert!(problem("s3://b", &[("regoin", "x")]).contains("regoin"));
        assert!(problem("file:///tmp", &[("region", "x")]).contains("region"));
        let far = problem("s3://b", &[("endpoint", "http://10.0.0.1:9000")]);
        assert!(far.contains("https"), "{far}");
        let gcs = problem("gs://b", &[("service_account_key", "{hunter22-key")]);
        assert!(!gcs.contains("hunter22"), "{gcs}");
    }

    #[test]
    fn a_value_that_no_request_can_carry_is_refused_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let token = folder.path().join("token");
        std::fs::write(&token, "abc\n").expect("written");
        let token = token.display().to_string();
        for (url, key, value, expected) in [
            (
                "s3://b",
                "access_key_id",
                "AKIAEXAMPLE\n",
                "`access_key_id` in",
            ),
            ("s3://b", "aws_session_token", "t\r\n", "ends in a line end"),
            ("s3://b", "region", "eu\u{7}", "control character"),
            ("gs://b", "bucket", "b\n", "ends in a line end"),
            ("az://c", "account_name", "acme\n", "ends in a line end"),
            (
                "s3://b",
                "aws_container_authorization_token_file",
                token.as_str(),
                "ends in a line end",
            ),
        ] {
            let found = problem(url, &[(key, value)]);
            assert!(found.contains(expected), "{key}: {found}");
            assert!(!found.contains("AKIAEXAMPLE"), "{found}");
        }
    }

    #[test]
    fn a_profile_that_is_not_read_is_refused_and_a_host_may_be_allowed() {
        let url = Url::parse("s3://b").expect("a url");
        assert!(refuse_profile(&url, |_| false).is_ok());
        let error = refuse_profile(&url, |name| name == "AWS_PROFILE").expect_err("refused");
        assert!(error.to_string().contains("AWS_PROFILE is set"), "{error}");
        let options = [
            ("endpoint", "http://minio.storage.svc:9000"),
            ("access_key_id", "AKIAEXAMPLE"),
            ("secret_access_key", "hunter22hunter22"),
        ];
        let options = options.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let options = BTreeMap::from(options);
        let allowed = ["minio.storage.svc".to_owned()];
        let access = Access {
            http_hosts: &allowed,
            proxies: &Proxies::default(),
        };
        Lake::open_with("s3://b", &options, access).expect("allowed");
        Lake::open("s3://b", &options).expect_err("refused");
    }

    #[test]
    fn stores_open_without_asking_anyone() {
        let options = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect::<BTreeMap<_, _>>()
        };
        let keys = [
            ("access_key_id", "AKIAEXAMPLE"),
            ("secret_access_key", "hunter22hunter22"),
            ("region", "eu-central-1"),
        ];
        let lake = Lake::open("s3://bucket/a/b/", &options(&keys)).expect("s3");
        assert_eq!(lake.url(), "s3://bucket/a/b");
        assert_eq!(format!("{lake:?}"), "Lake(s3://bucket/a/b)");
        assert_eq!(lake.full_path(&Path::from("x/y")).as_ref(), "a/b/x/y");
        let azure = [("account_name", "acme"), ("access_key", "aHVudGVyMjI=")];
        Lake::open("az://container/x", &options(&azure)).expect("azure");
    }

    #[test]
    fn folders_become_urls() {
        assert_eq!(
            file_url(FilePath::new("/a/b c")).expect("url"),
            "file:///a/b%20c"
        );
        assert!(
            file_url(FilePath::new("lake"))
                .expect("url")
                .ends_with("/lake")
        );
    }
}
