//! How requests reach the store: past the proxies that the environment names, and without trying
//! again what cannot pass.
//!
//! The store's client retries whatever looks like trouble on the way or at the server. Some of that
//! stays: a certificate that nobody trusts, a feature that the store does not have, a full disk. It
//! is told apart here and given on as a kind of error that is not retried.

use futures::future::BoxFuture;
use object_store::ClientOptions;
use object_store::client::{
    ClientConfigKey, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest,
    HttpResponse, HttpService, ReqwestConnector,
};
use reqwest::StatusCode;

use super::error;
use crate::network::{self, Proxies};

/// Makes the clients of one store.
#[derive(Debug)]
pub(super) struct Connector {
    pub(super) proxies: Proxies,
    /// `http` or `https`: how the store is reached.
    pub(super) scheme: &'static str,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let of_user = |key| options.get_config_value(&key);
        let proxy = of_user(ClientConfigKey::ProxyUrl);
        let direct = of_user(ClientConfigKey::ProxyExcludes);
        let (proxy, direct) = self
            .proxies
            .route(self.scheme, proxy.as_deref(), direct.as_deref())
            .map_err(|wrong| object_store::Error::Generic {
                store: "lake",
                source: format!("proxy_url {wrong}").into(),
            })?;
        let options = options.clone().with_proxy_url(proxy);
        let client = ReqwestConnector::default().connect(&options.with_proxy_excludes(direct))?;
        Ok(HttpClient::new(Transport(client)))
    }
}

/// A client that says what cannot pass.
#[derive(Debug)]
struct Transport(HttpClient);

impl HttpService for Transport {
    // As the trait's `async fn` is written out.
    fn call<'s, 'f>(
        &'s self,
        request: HttpRequest,
    ) -> BoxFuture<'f, Result<HttpResponse, HttpError>>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let response = self.0.execute(request).await.map_err(unless_lasting)?;
            match response.status() {
                StatusCode::PROXY_AUTHENTICATION_REQUIRED => refused(response).await,
                status if status.is_server_error() => refused(response).await,
                _ => Ok(response),
            }
        })
    }
}

/// An answer that would be the same each time.
#[derive(Debug, thiserror::Error)]
#[error("Server returned non-2xx status code: {status}: {body}")]
pub(super) struct LastingAnswer {
    pub(super) status: StatusCode,
    body: String,
}

/// A connection that fails the same way each time.
#[derive(Debug, thiserror::Error)]
#[error("no connection to the host")]
struct LastingFailure(#[source] HttpError);

fn unless_lasting(error: HttpError) -> HttpError {
    match network::lasting_advice(&error) {
        Some(_) => HttpError::new(HttpErrorKind::Unknown, LastingFailure(error)),
        None => error,
    }
}

/// A refusal of the server or the proxy: given on to be tried again, unless its status or its code
/// says that it stays.
async fn refused(response: HttpResponse) -> Result<HttpResponse, HttpError> {
    let (head, body) = response.into_parts();
    let body = body.bytes().await?;
    let text = String::from_utf8_lossy(&body);
    let stays = !head.status.is_server_error() || head.status == StatusCode::NOT_IMPLEMENTED;
    if stays || error::is_lasting_answer(&text) {
        let answer = LastingAnswer {
            status: head.status,
            body: text.into_owned(),
        };
        return Err(HttpError::new(HttpErrorKind::Unknown, answer));
    }
    Ok(HttpResponse::from_parts(head, body.into()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    /// A proxy that refuses everything and tells what it was asked for.
    fn proxy() -> (String, mpsc::Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (tell, heard) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, mut bytes) = (stream.expect("a connection"), [0; 1024]);
                let count = stream.read(&mut bytes).unwrap_or(0);
                let head = String::from_utf8_lossy(&bytes[..count]).into_owned();
                let line = head.lines().next().unwrap_or_default().to_owned();
                // Told before it is answered. Nobody listens once the test is over.
                let _ = tell.send(line);
                let _ = stream.write_all(b"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n");
            }
        });
        (format!("http://127.0.0.1:{port}"), heard)
    }

    #[tokio::test]
    async fn this_machine_and_its_cloud_s_services_are_never_reached_through_a_proxy() {
        network::install_crypto_provider();
        let (address, heard) = proxy();
        let of_environment = Proxies::read(&|name| match name {
            "ALL_PROXY" => Some(address.clone()),
            "NO_PROXY" => Some("*.direct.example, 10.0.0.0/8".to_owned()),
            _ => None,
        });
        let of_environment = of_environment.expect("good");
        for (proxies, chosen) in [(of_environment, None), (Proxies::default(), Some(&address))] {
            let connector = Connector {
                proxies,
                scheme: "http",
            };
            let options = ClientOptions::default()
                .with_allow_http(true)
                .with_connect_timeout(Duration::from_millis(50))
                .with_timeout(Duration::from_millis(500));
            let options = match chosen {
                Some(proxy) => options
                    .with_proxy_url(proxy)
                    .with_proxy_excludes("*.direct.example,10.0.0.0/8"),
                None => options,
            };
            let client = connector.connect(&options).expect("a client");
            for (url, is_direct) in [
                ("http://store.example/x", false),
                ("http://192.0.2.1/x", false),
                ("http://localhost:1/x", true),
                ("http://LOCALHOST:1/x", true),
                ("http://localhost.:1/x", true),
                ("http://127.0.0.1:1/x", true),
                ("http://127.9.9.9:1/x", true),
                ("http://[::1]:1/x", true),
                ("http://[::ffff:127.0.0.1]:1/x", true),
                ("http://169.254.169.254/latest", true),
                ("http://169.254.170.2/v2", true),
                ("http://[fd00:ec2::23]/v1", true),
                ("http://metadata.google.internal/x", true),
                ("http://a.direct.example/x", true),
                ("http://10.1.2.3/x", true),
            ] {
                let mut asked: Vec<String> = Vec::new();
                // Addresses that nobody has cost a timeout each, so it is short: on a busy machine
                // the proxy may need another one.
                for _ in 0..if is_direct { 1 } else { 40 } {
                    let mut request = HttpRequest::new(bytes::Bytes::new().into());
                    *request.uri_mut() = url.parse().expect("an address");
                    let _ = client.execute(request).await;
                    asked.extend(heard.try_iter());
                    if !asked.is_empty() {
                        break;
                    }
                }
                assert_eq!(asked.is_empty(), is_direct, "{url}: {asked:?}");
            }
        }
    }
}
