//! Tests a lake as `doctor` does: what publishing needs is tried on a throw-away key, races included.
//!
//! Some stores pass every sequential test of conditional writes and still let several racing writers win, so races are run: many writers, and
//! several times, because a store that looks before it writes loses only the races in which two writers look at the same moment.

use bytes::Bytes;
use futures::future::join_all;
use object_store::path::Path;
use object_store::{PutMode, UpdateVersion};

use super::{Error, Kind, Lake, Version};

/// Writers that race for one key.
const RACERS: usize = 16;
/// Races, of each kind. The first also opens the connections, which spreads its writers out.
const ROUNDS: usize = 6;

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
                problem: self
                    .probe_races(key)
                    .await
                    .unwrap_or_else(|error| Some(error.to_string())),
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

    /// The first race that did not have exactly one winner. A folder has no conditional replacement, so there only the first writers race.
    async fn probe_races(&self, key: &Path) -> Result<Option<String>, Error> {
        for _ in 0..ROUNDS {
            self.delete(key).await?;
            if let Some(problem) = self.probe_race(key, "created", &PutMode::Create).await? {
                return Ok(Some(problem));
            }
            if self.folder.is_some() {
                continue;
            }
            let Some((Version { etag, version }, _)) = self.head(key).await? else {
                return Ok(Some("an object is gone that was just created".to_owned()));
            };
            let mode = PutMode::Update(UpdateVersion {
                e_tag: etag,
                version,
            });
            if let Some(problem) = self.probe_race(key, "replaced", &mode).await? {
                return Ok(Some(problem));
            }
        }
        Ok(None)
    }

    async fn probe_race(
        &self,
        key: &Path,
        did: &str,
        mode: &PutMode,
    ) -> Result<Option<String>, Error> {
        let contents: Vec<Bytes> = (0..RACERS)
            .map(|n| format!("meetlake doctor {did} by racer {n:02}").into())
            .collect();
        let racers = contents
            .iter()
            .map(|content| self.put_once(key, content, mode));
        let results = join_all(racers).await;
        let standing = self.get(key).await?;
        let standing = contents
            .iter()
            .position(|content| Some(content) == standing.as_ref());
        let winners: Vec<usize> = (0..RACERS).filter(|n| results[*n].is_ok()).collect();
        match (winners.as_slice(), standing) {
            ([winner], Some(standing)) if *winner == standing => Ok(None),
            // The winner was told otherwise, as a retried request is.
            ([], Some(_)) => Ok(None),
            ([_], _) => Ok(Some(format!(
                "a writer was told that it {did} the object, and another one's bytes are there; {NOT_SAFE}"
            ))),
            ([], None) => Err(results
                .into_iter()
                .find_map(Result::err)
                .unwrap_or_else(|| {
                    self.refuse(
                        Kind::Other,
                        "race for",
                        key,
                        "nobody won and nobody lost".to_owned(),
                    )
                })),
            (many, _) => Ok(Some(format!(
                "{} of {RACERS} racing writers were told that they {did} the same object; {NOT_SAFE}",
                many.len()
            ))),
        }
    }
}

/// What a lost race means.
const NOT_SAFE: &str = "the store does not keep its promise of conditional writes, so processes that publish to it at the same time can undo \
                        one another's work: use another store, or see to it that only one process ever publishes here";

fn finding(check: &'static str, result: Result<(), Error>) -> Finding {
    Finding {
        check,
        problem: result.err().map(|error| error.to_string()),
    }
}
