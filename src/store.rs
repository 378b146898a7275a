//! stub
use std::collections::BTreeMap;
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct Error;
#[derive(Clone, Debug)]
pub struct Lake;
pub struct Probe;
impl Probe { pub fn problem(&self) -> Option<String> { None } }
impl std::fmt::Display for Probe { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("") } }
impl Lake {
    pub fn open(_: &url::Url, _: &BTreeMap<String, secrecy::SecretString>) -> Result<Self, Error> { Ok(Self) }
    pub async fn probe(&self) -> Result<Probe, Error> { Ok(Probe) }
}
