//! Calls beyond those of the datasets: any method of the API that a person asks for, and which
//! scopes the app has.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::error::Error;
use super::http::{Answer, Call};
use super::lenient;
use crate::datasets::{ApiPath, GrantedScopes, Method, Parameters};

/// A call of any method of the API.
#[derive(Clone, Debug)]
pub struct AskedCall {
    /// How it is called.
    pub method: Method,
    /// Where it is.
    pub path: ApiPath,
    /// Parameters in the URL.
    pub query: Vec<(String, String)>,
    /// Parameters in a JSON body.
    pub body: Option<Value>,
}

impl AskedCall {
    /// A `GET` of a path.
    #[must_use]
    pub fn get(path: ApiPath, query: &[(&str, &str)]) -> Self {
        let query = query
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self {
            method: Method::Get,
            path,
            query: query.collect(),
            body: None,
        }
    }

    pub(super) fn as_call(&self) -> Call {
        let endpoint = self.path.endpoint(self.method);
        let action = format!("call {} {}", self.method.as_str(), self.path);
        let mut call = Call::of(endpoint, action, Parameters::default());
        call.method = self.method.into();
        call.path = ["vc", "v1"].map(str::to_owned).to_vec();
        call.path.extend_from_slice(self.path.segments());
        let query = self.query.iter().cloned();
        call.query = query
            .map(|(name, value)| (Cow::Owned(name), value))
            .collect();
        call.body.clone_from(&self.body);
        call
    }
}

/// The answer to a call that a person asked for.
#[derive(Clone, Debug)]
pub struct AskedAnswer {
    /// The unchanged body: a JSON envelope with code 0. It may hold secrets.
    pub body: Bytes,
    /// The limit that Feishu's header names, if a good answer has that header.
    pub call_limit: Option<u32>,
    /// Feishu's id of the call.
    pub log_id: Option<String>,
}

/// The call that asks which scopes the app has. It needs none itself (resources, 6.4).
pub(super) fn scopes_call() -> Call {
    let path = ["application", "v6", "scopes"];
    Call::get("scopes", "ask which scopes the app has", &path)
}

/// The scopes in the answer. `scope_type` is not documented, and real answers have it.
pub(super) fn scopes(answer: &Answer) -> Result<GrantedScopes, Error> {
    #[derive(Deserialize)]
    struct ScopeList {
        #[serde(default)]
        scopes: Vec<ScopeEntry>,
    }
    #[derive(Deserialize)]
    struct ScopeEntry {
        #[serde(deserialize_with = "lenient::text")]
        scope_name: String,
        #[serde(deserialize_with = "lenient::integer")]
        grant_status: i64,
        #[serde(default, deserialize_with = "lenient::text")]
        scope_type: String,
    }
    const GRANTED: i64 = 1;
    let listed: ScopeList = answer.data()?;
    let scopes = listed.scopes.iter().map(|scope| {
        let kind = Some(scope.scope_type.as_str()).filter(|kind| !kind.is_empty());
        (
            scope.scope_name.as_str(),
            kind,
            scope.grant_status == GRANTED,
        )
    });
    Ok(GrantedScopes::of(scopes))
}
