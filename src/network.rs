//! What the environment says of the network: which proxy stands between this machine and an
//! address, and whose certificates are trusted. Read once, for Feishu and for the lake, so that
//! both go the same way.
//!
//! | variable | meaning |
//! |---|---|
//! | `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` | the proxy for `https`, for `http`, for both |
//! | `NO_PROXY` | hosts that are reached without it |
//! | `SSL_CERT_FILE`, `SSL_CERT_DIR` | the certificates that are trusted instead of the system's |
//!
//! The names of proxies may be in lower case too. A value that cannot be used is an error: whoever
//! set it wants it obeyed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Once;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};
use secrecy::{ExposeSecret as _, SecretString};
use url::{Host, Url};

/// Looks up a variable of the environment.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What is never reached through a proxy, whatever `NO_PROXY` says: this machine, and the services
/// of a cloud that answer for this machine. A proxy would see in the clear what is sent to this
/// machine, and would be answered with its own identity.
const ALWAYS_DIRECT: &str = "localhost,localhost.,127.0.0.0/8,::1,::ffff:127.0.0.0/104,\
                             169.254.0.0/16,fd00:ec2::/32,metadata.google.internal";
/// A list of hosts that covers every address.
const EVERYTHING: &str = "*,0.0.0.0/0,::/0";

/// What to do about a certificate that is not trusted.
pub const UNTRUSTED: &str = "check the address; if the host has a CA of its own, or a proxy \
    intercepts TLS, add that CA's certificate to the trusted certificates of this machine, or name \
    a file with all trusted ones in SSL_CERT_FILE";
/// What to do where something else than TLS is spoken.
const NO_TLS: &str = "what answers there does not speak TLS; check address, port and proxy (a \
    store without TLS needs an http:// endpoint, and its host in allow_http of [lake])";
/// What to do where a proxy wants to know who asks.
pub const PROXY_CREDENTIALS: &str = "write the proxy's user and password into the variable that \
    names it (http://USER:PASSWORD@HOST:PORT), or the host that is asked into NO_PROXY";

/// Whether an address is this machine's own.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => matches!(name, "localhost" | "localhost."),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
        None => false,
    }
}

// --- proxies ------------------------------------------------------------------------------------

/// The proxies that the environment names, checked. Without any, everything is reached directly.
#[derive(Clone, Default)]
pub struct Proxies {
    http: Option<SecretString>,
    https: Option<SecretString>,
    /// As `NO_PROXY` has it, in the form that the HTTP client knows.
    direct: String,
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxies")
            .field("http", &self.http.is_some())
            .field("https", &self.https.is_some())
            .field("direct", &self.direct)
            .finish()
    }
}

impl Proxies {
    /// Reads the proxies.
    ///
    /// # Errors
    /// Every variable that cannot be used, without its value.
    pub fn read(environment: Environment<'_>) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let mut proxy = |name| {
            let (name, value) = either_case(environment, name)?;
            match proxy_url(&value) {
                Ok(url) => Some(SecretString::from(String::from(url))),
                Err(wrong) => {
                    problems.push(format!("the variable {name} {wrong}, or unset it"));
                    None
                }
            }
        };
        let all = proxy("ALL_PROXY");
        let http = proxy("HTTP_PROXY").or_else(|| all.clone());
        let https = proxy("HTTPS_PROXY").or(all);
        if !problems.is_empty() {
            return Err(problems);
        }
        let listed = either_case(environment, "NO_PROXY");
        Ok(Self {
            http,
            https,
            direct: listed.map_or_else(String::new, |(_, list)| hosts(&list)),
        })
    }

    /// The proxy for requests to `http` or `https` addresses. [`Proxies::direct_hosts`] are reached
    /// without it.
    fn of_scheme(&self, scheme: &str) -> Option<&SecretString> {
        match scheme {
            "http" => self.http.as_ref(),
            _ => self.https.as_ref(),
        }
    }

    /// The hosts that are reached without a proxy, in the form of `NO_PROXY`.
    fn direct_hosts(&self) -> String {
        format!("{ALWAYS_DIRECT},{}", self.direct)
    }

    /// Tells a client's builder the way to `url`, and keeps it from reading the environment.
    ///
    /// # Errors
    /// If the proxy is not one that the client knows, which [`Proxies::read`] has checked.
    pub fn apply(
        &self,
        builder: reqwest::ClientBuilder,
        url: &Url,
    ) -> reqwest::Result<reqwest::ClientBuilder> {
        let Some(proxy) = self.of_scheme(url.scheme()) else {
            return Ok(builder.no_proxy());
        };
        let direct = reqwest::NoProxy::from_string(&self.direct_hosts());
        let proxy = reqwest::Proxy::all(proxy.expose_secret())?.no_proxy(direct);
        Ok(builder.proxy(proxy))
    }

    /// The address of a proxy, and the hosts that are reached without it, for a client that always
    /// has a proxy: `chosen` comes before the environment's, and without any proxy every host is
    /// reached directly.
    ///
    /// # Errors
    /// What is wrong with `chosen`; the fragment continues "`proxy_url` …".
    pub fn route(
        &self,
        scheme: &str,
        chosen: Option<&str>,
        chosen_direct: Option<&str>,
    ) -> Result<(String, String), &'static str> {
        let also = hosts(chosen_direct.unwrap_or_default());
        let direct = format!("{},{also}", self.direct_hosts());
        match (chosen, self.of_scheme(scheme)) {
            (Some(chosen), _) => Ok((proxy_url(chosen)?.into(), direct)),
            (None, Some(proxy)) => Ok((proxy.expose_secret().to_owned(), direct)),
            (None, None) => Ok(("http://localhost".to_owned(), EVERYTHING.to_owned())),
        }
    }
}

/// The address of a proxy, as people write it: `http://` may be left out.
///
/// # Errors
/// What is wrong, without the value, which may hold a password: the fragment continues "… {error}".
pub fn proxy_url(text: &str) -> Result<Url, &'static str> {
    const NO_URL: &str = "is not the address of a proxy; write http://HOST:PORT (in a password, \
                          write special characters as %XX)";
    let text = text.trim();
    let url = match text.contains("://") {
        true => Url::parse(text),
        false => Url::parse(&format!("http://{text}")),
    };
    let url = url.map_err(|_| NO_URL)?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        "socks4" | "socks4a" | "socks5" | "socks5h" => Err(
            "names a SOCKS proxy, which meetlake does not speak to; write http://HOST:PORT of \
                 an HTTP proxy",
        ),
        _ => Err(NO_URL),
    }
}

/// The first of `NAME` and `name` that is set to something.
fn either_case(environment: Environment<'_>, name: &str) -> Option<(String, String)> {
    [name.to_owned(), name.to_ascii_lowercase()]
        .into_iter()
        .find_map(|name| {
            let value = environment(&name).filter(|value| !value.trim().is_empty())?;
            Some((name, value))
        })
}

/// The list of `NO_PROXY` in the form that the HTTP client knows, which would not find `*.host` or
/// `host:443` on it: entries stand between commas or blanks, `.host` stands for what is below it
/// too, and ports and brackets are left out.
fn hosts(list: &str) -> String {
    let parts = list.split(|c: char| c == ',' || c.is_whitespace());
    let entries = parts.filter(|part| !part.is_empty()).map(|part| {
        let part = part.split_once("://").map_or(part, |(_, rest)| rest);
        match part {
            "*" => return EVERYTHING,
            part if part.starts_with('[') => {
                return part[1..].split(']').next().unwrap_or_default();
            }
            _ => {}
        }
        let part = part.strip_prefix('*').unwrap_or(part);
        match part.split_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => part,
        }
    });
    entries.collect::<Vec<_>>().join(",")
}

// --- certificates -------------------------------------------------------------------------------

/// Whether the TLS library trusts what [`SSL_CERT_FILE`] and [`SSL_CERT_DIR`] name. On Apple's
/// systems it asks the keychain.
const READS_FILES: bool = cfg!(not(target_vendor = "apple"));
const SSL_CERT_FILE: &str = "SSL_CERT_FILE";
const SSL_CERT_DIR: &str = "SSL_CERT_DIR";

/// Variables by which other programs find certificates and that are not read here, each with what
/// to do instead. A bucket of S3 has one of its own.
#[must_use]
pub fn unread_certificates(environment: Environment<'_>, is_s3: bool) -> Vec<String> {
    let is_set = |name: &&str| environment(name).is_some_and(|value| !value.is_empty());
    let (others, instead): (&[&str], _) = match (READS_FILES, is_s3) {
        (false, _) => (
            &[SSL_CERT_FILE, SSL_CERT_DIR],
            "add the certificates to the keychain",
        ),
        (true, true) if !is_set(&SSL_CERT_FILE) => {
            (&["AWS_CA_BUNDLE"], "name the file in SSL_CERT_FILE")
        }
        (true, _) => (&[], ""),
    };
    let unread = others.iter().copied().filter(is_set);
    unread
        .map(|name| format!("{name} is set, and meetlake does not read it; {instead}"))
        .collect()
}

/// Each variable that names certificates and cannot be used, and why. The TLS library would only
/// log it, and trust nobody.
#[must_use]
pub fn certificate_problems(environment: Environment<'_>) -> Vec<String> {
    if !READS_FILES {
        return Vec::new();
    }
    let value = |name| environment(name).filter(|value| !value.is_empty());
    let file = value(SSL_CERT_FILE).and_then(|file| {
        let path = Path::new(&file);
        let why = match certificates(path) {
            Ok(0) => "which holds no certificate in PEM format".to_owned(),
            Ok(_) => return None,
            Err(error) => format!("which cannot be read: {error}"),
        };
        Some(format!("the variable SSL_CERT_FILE names {file}, {why}"))
    });
    let folders = value(SSL_CERT_DIR).and_then(|folders| {
        let each: Vec<PathBuf> = std::env::split_paths(&folders).collect();
        let found: usize = each.iter().map(|folder| certificates_below(folder)).sum();
        (found == 0).then(|| {
            format!(
                "the variable SSL_CERT_DIR names {folders}, where no certificate in PEM format can \
                 be read"
            )
        })
    });
    let problems = file.into_iter().chain(folders);
    problems
        .map(|problem| format!("{problem}; name what is there, or unset it"))
        .collect()
}

/// How many certificates of a file can be used.
fn certificates(path: &Path) -> Result<usize, std::io::Error> {
    let unreadable = |error| match error {
        pem::Error::Io(error) => Some(error),
        _ => None,
    };
    let mut roots = rustls::RootCertStore::empty();
    let sections = match CertificateDer::pem_file_iter(path) {
        Ok(sections) => sections,
        Err(error) => return unreadable(error).map_or(Ok(0), Err),
    };
    for section in sections {
        match section {
            Ok(certificate) => drop(roots.add_parsable_certificates([certificate])),
            Err(error) => match unreadable(error) {
                Some(error) => return Err(error),
                None => continue,
            },
        }
    }
    Ok(roots.len())
}

fn certificates_below(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_file());
    files.map(|file| certificates(&file).unwrap_or(0)).sum()
}

// --- connections that fail ----------------------------------------------------------------------

/// What to do about a connection that failed and will fail again; `None` if it may work the next
/// time.
#[must_use]
pub fn lasting_advice(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    use rustls::Error as Tls;
    match tls_error(error) {
        Some(Tls::InvalidCertificate(_) | Tls::NoCertificatesPresented) => Some(UNTRUSTED),
        Some(Tls::InvalidMessage(_)) => Some(NO_TLS),
        Some(_) => None,
        None => wants_credentials(error).then_some(PROXY_CREDENTIALS),
    }
}

/// Whether a proxy refused to open a tunnel because nobody said who asks. The client's error says
/// so only in its text.
fn wants_credentials(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |cause| cause.source());
    causes.any(|cause| cause.to_string() == "tunnel error: proxy authorization required")
}

/// The TLS library's error among the causes.
#[must_use]
pub fn tls_error<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e rustls::Error> {
    if let Some(found) = error.downcast_ref() {
        return Some(found);
    }
    // `source()` of an `io::Error` skips the error that it was made from, so that one is asked
    // directly.
    let hidden = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref);
    let hidden = hidden.and_then(|hidden| tls_error(hidden));
    hidden.or_else(|| error.source().and_then(tls_error))
}

/// Names the process-wide TLS provider. The HTTP clients are built without one of their own, so
/// that only `ring` is compiled.
pub fn install_crypto_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error means that a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Proxies, Vec<String>> {
        Proxies::read(&|name| {
            let found = variables.iter().find(|(of, _)| *of == name)?;
            Some(found.1.to_owned())
        })
    }

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a url")
    }

    #[test]
    fn this_machine_is_known_by_every_name() {
        for here in [
            "http://localhost:1",
            "http://LOCALHOST",
            "http://localhost.",
            "http://127.0.0.1",
            "http://127.1",
            "http://127.8.9.10:9000",
            "http://[::1]:9000",
            "http://[::ffff:127.0.0.1]",
        ] {
            assert!(is_loopback(&url(here)), "{here}");
        }
        for elsewhere in [
            "http://localhost.example",
            "http://10.0.0.1",
            "http://[::2]",
        ] {
            assert!(!is_loopback(&url(elsewhere)), "{elsewhere}");
        }
    }

    #[test]
    fn a_proxy_is_found_in_either_case_and_by_scheme() {
        let of = |variables: &[(&str, &str)], scheme: &str| {
            let proxies = read(variables).expect("good");
            let proxy = proxies.of_scheme(scheme);
            proxy.map(|url| url.expose_secret().to_owned())
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(of(&[], "https"), None);
        assert_eq!(
            of(&[("https_proxy", "p:3128")], "https"),
            some("http://p:3128/")
        );
        assert_eq!(of(&[("HTTPS_PROXY", "http://p")], "http"), None);
        let both = [("ALL_PROXY", "http://a"), ("http_proxy", "http://h")];
        assert_eq!(of(&both, "http"), some("http://h/"));
        assert_eq!(of(&both, "https"), some("http://a/"));
        assert_eq!(
            of(&[("HTTP_PROXY", ""), ("http_proxy", "h")], "http"),
            some("http://h/")
        );
        // A password with an @ in it would be cut by the client's own reader.
        let odd = [("HTTPS_PROXY", "http://u:p@ss@proxy.example:3128/")];
        assert_eq!(
            of(&odd, "https"),
            some("http://u:p%40ss@proxy.example:3128/")
        );
    }

    #[test]
    fn a_proxy_that_is_none_is_named_without_its_value() {
        for value in [
            "http://",
            "http://:3128",
            "http://user:hunter22@",
            "http://user:hun#ter22@proxy:3128",
            "socks5://user:hunter22@proxy:1080",
            "ftp://proxy",
            "http://proxy:port",
            "a b",
        ] {
            for name in ["HTTPS_PROXY", "http_proxy", "ALL_PROXY"] {
                let problems = read(&[(name, value)]).expect_err(value);
                let [problem] = problems.as_slice() else {
                    panic!("{value}: {problems:?}");
                };
                assert!(problem.contains(name), "{problem}");
                assert!(
                    !problem.contains("hun") && !problem.contains("ter22"),
                    "{problem}"
                );
            }
        }
        let debug = format!("{:?}", read(&[("HTTP_PROXY", "http://u:hunter22@p")]));
        assert!(!debug.contains("hunter22"), "{debug}");
    }

    #[test]
    fn hosts_without_a_proxy_are_read_as_people_write_them() {
        for (written, expected) in [
            ("a.example,b.example", "a.example,b.example"),
            (" a.example , b.example", "a.example,b.example"),
            ("a.example b.example", "a.example,b.example"),
            ("*.corp.example", ".corp.example"),
            ("minio.corp.example:9000", "minio.corp.example"),
            ("https://minio.corp.example:9000", "minio.corp.example"),
            ("10.0.0.0/8,fd00::/8", "10.0.0.0/8,fd00::/8"),
            ("[fd00::1]:9000", "fd00::1"),
            ("fd00::1", "fd00::1"),
            ("*", EVERYTHING),
        ] {
            assert_eq!(hosts(written), expected, "{written}");
        }
        let proxies = read(&[("no_proxy", "*.corp.example")]).expect("good");
        assert!(proxies.direct_hosts().ends_with(",.corp.example"));
        assert!(proxies.direct_hosts().contains("127.0.0.0/8"));
    }

    #[test]
    fn a_route_leaves_this_machine_out_and_nothing_to_the_environment() {
        let none = Proxies::default().route("https", None, None).expect("good");
        assert_eq!(none.1, EVERYTHING);
        let chosen = Proxies::default().route("https", Some("p:1"), Some("*.x.example"));
        let (proxy, direct) = chosen.expect("good");
        assert_eq!(proxy, "http://p:1/");
        assert!(direct.starts_with(ALWAYS_DIRECT) && direct.ends_with(",.x.example"));
        let wrong = Proxies::default().route("https", Some("socks5://p"), None);
        assert!(wrong.expect_err("refused").contains("SOCKS"));
    }

    #[test]
    fn certificates_that_are_not_there_are_named_with_variable_and_path() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        let der = include_bytes!("../tests/fixtures/self-signed.crt.der");
        let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
        let good = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
        std::fs::create_dir(path("dir")).expect("made");
        std::fs::create_dir(path("empty")).expect("made");
        for (name, bytes) in [
            ("good.pem", good.as_bytes()),
            ("dir/ca.pem", good.as_bytes()),
            ("der.pem", der.as_slice()),
            ("empty.pem", b""),
            (
                "key.pem",
                b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            ),
            (
                "broken.pem",
                b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            ),
        ] {
            std::fs::write(path(name), bytes).expect("written");
        }
        let unreadable = Some("cannot be read");
        let empty = Some("no certificate in PEM format");
        for (variable, value, expected) in [
            ("SSL_CERT_FILE", path("good.pem"), None),
            ("SSL_CERT_FILE", String::new(), None),
            ("SSL_CERT_FILE", path("missing.pem"), unreadable),
            ("SSL_CERT_FILE", path("dir"), unreadable),
            ("SSL_CERT_FILE", path("der.pem"), empty),
            ("SSL_CERT_FILE", path("empty.pem"), empty),
            ("SSL_CERT_FILE", path("key.pem"), empty),
            ("SSL_CERT_FILE", path("broken.pem"), empty),
            ("SSL_CERT_DIR", path("dir"), None),
            (
                "SSL_CERT_DIR",
                format!("{}:{}", path("missing"), path("dir")),
                None,
            ),
            ("SSL_CERT_DIR", path("empty"), empty),
            ("SSL_CERT_DIR", path("missing"), empty),
        ] {
            let found = certificate_problems(&|name| (name == variable).then(|| value.clone()));
            match (expected, found.as_slice()) {
                (None, []) => {}
                (Some(expected), [one]) => {
                    let names = one.contains(variable) && one.contains(&value);
                    assert!(names && one.contains(expected), "{one}");
                }
                _ => panic!("{variable}={value}: {found:?}"),
            }
        }
    }
}
