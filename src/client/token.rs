//! The tenant's access token, and the cache for any access token. A token is renewed before it
//! expires, by one caller at a time.
//!
//! Its lifetime counts on our [`Clock`] from the moment the token was requested.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;

use super::error::Error;
use super::http::{Answer, Call, Http};
use super::lenient;
use crate::clock::Clock;

/// How long before its end a token is renewed. Feishu gives a new one once less than 30 minutes are
/// left (API reference, 1.2).
const MARGIN: Duration = Duration::from_secs(600);

/// A new token and how long it lives.
pub(super) struct FreshToken {
    pub(super) token: SecretString,
    pub(super) lifetime: Duration,
}

/// The current token of one identity.
#[derive(Default)]
pub(super) struct TokenCache {
    cached: Mutex<CachedToken>,
    /// How many renewals have failed.
    failures: AtomicU64,
}

#[derive(Default)]
struct CachedToken {
    current: Option<(SecretString, Timestamp)>,
    failure: Option<(u64, Error)>,
}

impl TokenCache {
    /// The current token, or a new one. Callers that wait for a renewal share its outcome, success
    /// or failure.
    pub(super) async fn get(
        &self,
        clock: &Clock,
        renewal: impl Future<Output = Result<FreshToken, Error>>,
    ) -> Result<SecretString, Error> {
        let failures_before = self.failures.load(Ordering::Acquire);
        let mut cached = self.cached.lock().await;
        let asked_at = clock.now();
        match (&cached.current, &cached.failure) {
            (Some((token, renew_at)), _) if asked_at < *renew_at => return Ok(token.clone()),
            (_, Some((number, error))) if *number > failures_before => return Err(error.clone()),
            _ => {}
        }
        match renewal.await {
            Ok(FreshToken { token, lifetime }) => {
                cached.current = Some((token.clone(), renew_at(asked_at, lifetime)));
                Ok(token)
            }
            Err(error) => {
                let number = self.failures.fetch_add(1, Ordering::AcqRel) + 1;
                cached.failure = Some((number, error.clone()));
                Err(error)
            }
        }
    }

    /// Forgets the token if it is still the one that was refused.
    pub(super) async fn invalidate(&self, refused: &SecretString) {
        let mut cached = self.cached.lock().await;
        let is_current =
            |(token, _): &(SecretString, _)| token.expose_secret() == refused.expose_secret();
        if cached.current.as_ref().is_some_and(is_current) {
            cached.current = None;
        }
    }
}

/// Ten minutes before the end, or after three quarters of a lifetime below 40 minutes.
fn renew_at(asked_at: Timestamp, lifetime: Duration) -> Timestamp {
    let usable = lifetime.saturating_sub(MARGIN.min(lifetime / 4));
    let usable = SignedDuration::try_from(usable).unwrap_or(SignedDuration::MAX);
    asked_at.checked_add(usable).unwrap_or(Timestamp::MAX)
}

/// Seconds from the API as a duration; zero if negative.
pub(super) fn lifetime(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// Whether a text can be sent in a header.
fn is_token(token: &SecretString) -> bool {
    let token = token.expose_secret();
    !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Asks for a `tenant_access_token` of a self-built app (API reference, 1.2). Failures come with
/// HTTP 200.
pub(super) async fn fetch_tenant_token(
    http: &Http,
    app_id: &str,
    app_secret: &SecretString,
) -> Result<(FreshToken, Answer), Error> {
    #[derive(Deserialize)]
    struct Flat {
        #[serde(deserialize_with = "lenient::secret")]
        tenant_access_token: SecretString,
        #[serde(deserialize_with = "lenient::integer")]
        expire: i64,
    }
    let body = json!({ "app_id": app_id, "app_secret": app_secret.expose_secret() });
    let path = ["auth", "v3", "tenant_access_token", "internal"];
    let call = Call::post(
        "tenant_access_token",
        "get a tenant access token",
        &path,
        body,
    );
    let answer = http.send(&call, None).await?;
    let flat: Flat = answer.flat()?;
    if !is_token(&flat.tenant_access_token) {
        return Err(answer.garbled("what it calls a token is none"));
    }
    let fresh = FreshToken {
        token: flat.tenant_access_token,
        lifetime: lifetime(flat.expire),
    };
    Ok((fresh, answer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn fresh(token: &str, seconds: u64) -> Result<FreshToken, Error> {
        Ok(FreshToken {
            token: token.into(),
            lifetime: Duration::from_secs(seconds),
        })
    }

    #[test]
    fn a_token_is_renewed_ten_minutes_early_and_a_short_one_is_used_at_all() {
        let renewed_after =
            |seconds| renew_at(Timestamp::UNIX_EPOCH, Duration::from_secs(seconds)).as_second();
        assert_eq!(renewed_after(7200), 6600);
        assert_eq!(renewed_after(400), 300);
        assert_eq!(renewed_after(0), 0);
    }

    #[tokio::test]
    async fn only_the_refused_token_is_forgotten() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let cache = TokenCache::default();
        cache
            .get(&clock, async { fresh("t-1", 7200) })
            .await
            .expect("a token");
        cache.invalidate(&"t-0".into()).await;
        let kept = cache
            .get(&clock, async { fresh("t-2", 7200) })
            .await
            .expect("a token");
        assert_eq!(kept.expose_secret(), "t-1");
        cache.invalidate(&"t-1".into()).await;
        let renewed = cache
            .get(&clock, async { fresh("t-2", 7200) })
            .await
            .expect("a token");
        assert_eq!(renewed.expose_secret(), "t-2");
    }

    #[tokio::test]
    async fn who_waits_for_a_renewal_that_fails_does_not_ask_again() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let cache = Arc::new(TokenCache::default());
        let asked = Arc::new(AtomicU64::new(0));
        let callers = (0..20).map(|_| {
            let (cache, clock, asked) = (Arc::clone(&cache), clock.clone(), Arc::clone(&asked));
            tokio::spawn(async move {
                let renewal = async {
                    asked.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    Err(Error::other("get a token", "no"))
                };
                cache.get(&clock, renewal).await.is_err()
            })
        });
        for caller in callers.collect::<Vec<_>>() {
            assert!(caller.await.expect("a caller"));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        let later = cache.get(&clock, async { fresh("t-1", 7200) }).await;
        assert!(later.is_ok(), "a later caller asks anew");
    }
}
