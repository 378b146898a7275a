//! Tests a lake as `doctor` does: what publishing needs is tried on a throw-away key, races included.
//!
//! Some stores pass every sequential test of conditional writes and still let several racing writers win, so the race is run.

use bytes::Bytes;
use futures::future::join_all;
use object_store::path::Path;

use super::{Error, Kind, Lake};

/// Writers that race for one key; the look-alikes that fail do so with far fewer.
const RACERS: usize = 8;

/// One thing that was tried, and how it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What publishing needs.
    pub check: &'static str,
    /// What is wrong and what to do about it; `None` if all is well.
    pub problem: Option<String>,
}

impl Lake {
    /// Tries what publishing needs on the throw-away object `key` and removes it. Two probes at once need two keys.
    pub async fn probe(&self, key: &Path) -> Vec<Finding> {
        vec![
            finding("write and read an object", self.probe_write(key).await),
            finding("list objects", self.list(key).await.map(drop)),
            finding(
                "replace an object only in the state it was read in",
                self.probe_replace(key).await,
            ),
            finding("delete an object", self.delete(key).await),
            Finding {
                check: "one winner among racing writers",
                problem: self.probe_race(key).await,
            },
            finding("delete it again", self.delete(key).await),
        ]
    }

    async fn probe_write(&self, key: &Path) -> Result<(), Error> {
        let content = Bytes::from_static(b"meetlake doctor");
        self.put_create(key, content.clone()).await?;
        match self.get(key).await? {
            Some(read) if read == content => Ok(()),
            _ => Err(self.refuse(
                Kind::Other,
                "read back",
                key,
                "what was written is not what is read".to_owned(),
            )),
        }
    }

    async fn probe_replace(&self, key: &Path) -> Result<(), Error> {
        let Some((seen, _)) = self.head(key).await? else {
            return Err(self.refuse(Kind::Other, "find", key, "it was just written".to_owned()));
        };
        self.put_if_unchanged(key, Bytes::from_static(b"meetlake doctor, second"), &seen)
            .await?;
        let stale = self
            .put_if_unchanged(key, Bytes::from_static(b"meetlake doctor, stale"), &seen)
            .await;
        match stale {
            Err(error) if error.kind() == Kind::Conflict => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(self.refuse(
                Kind::Other,
                "protect",
                key,
                "the store let a writer with a stale state win, so two processes must never share this lake".to_owned(),
            )),
        }
    }

    async fn probe_race(&self, key: &Path) -> Option<String> {
        let racers = (0..RACERS).map(|n| self.put_create(key, format!("racer {n}").into()));
        let results = join_all(racers).await;
        let winners = results.iter().filter(|result| result.is_ok()).count();
        if winners == 1 {
            return None;
        }
        match results.into_iter().find_map(Result::err) {
            Some(error) if winners == 0 => Some(error.to_string()),
            _ => Some(format!(
                "{winners} of {RACERS} racing writers were told that they created the same object; \
                 the store does not keep its promise, so only one process may publish to it"
            )),
        }
    }
}

fn finding(check: &'static str, result: Result<(), Error>) -> Finding {
    Finding {
        check,
        problem: result.err().map(|error| error.to_string()),
    }
}
