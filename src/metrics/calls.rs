//! What each app called, what came of it, and how much of the quota that is.

use super::families::{Family, Number, number};
use crate::client::{BOUNDS_S, Client, Usage};

/// The calls of all apps as families.
pub fn families(apps: &[(String, Client)]) -> Vec<Family> {
    let mut requests = Family::counter(
        "meetlake_api_requests",
        "Calls of the API that were answered or failed, by HTTP status and the API's code; empty \
         without an answer, or where the code is not documented",
    );
    let mut took = Family::durations(
        "meetlake_api_request_duration",
        "How long calls took, from sending to the end of the answer",
    );
    let mut waited = Family::counter(
        "meetlake_api_quota_wait_seconds",
        "How long calls waited for the quota of their endpoint",
    );
    let mut quota = Family::gauge(
        "meetlake_api_quota_used_ratio",
        "Calls of the last minute, as a part of those that the endpoint allows in one",
    );
    for (tenant, client) in apps {
        let labels = |endpoint: &str| {
            let tenant = ("tenant", tenant.clone());
            [tenant, ("endpoint", endpoint.to_owned())]
        };
        for (endpoint, usage) in client.usage() {
            for (answered, times) in &usage.answers {
                let [tenant, endpoint] = labels(endpoint);
                let status = ("status", number_or_nothing(answered.status));
                let code = ("code", number_or_nothing(answered.code));
                requests.push([tenant, endpoint, status, code], number(*times));
            }
            took.push_durations(labels(endpoint), durations(&usage));
            waited.push(labels(endpoint), usage.waited_s);
        }
        for (endpoint, used) in client.limits().used() {
            quota.push(labels(endpoint), used);
        }
    }
    vec![requests, took, waited, quota]
}

fn durations(usage: &Usage) -> Number {
    let bounds = BOUNDS_S.into_iter().chain([f64::INFINITY]);
    let buckets: Vec<_> = bounds.zip(usage.took).collect();
    Number::Durations(usage.took_s, usage.took.iter().sum(), buckets)
}

fn number_or_nothing(number: Option<impl ToString>) -> String {
    number.map_or(String::new(), |number| number.to_string())
}
