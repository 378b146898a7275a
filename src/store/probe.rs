//! Tests a lake on a throw-away key: for `doctor` everything that publishing needs, including
//! races; before a run exports anything, whether it takes an object at all.
//!
//! Some stores pass every sequential test of conditional writes and still let several racing
//! writers win. So many writers race, several times: a store that checks before it writes fails
//! only when two writers check at the same moment.

use bytes::Bytes;
use futures::future::join_all;
use object_store::path::Path;
use object_store::{PutMode, UpdateVersion};

use super::{Error, Lake, StoreErrorKind, Version};

/// What is first put into the throw-away object.
/// More than a probe ever writes.
const MOST_BYTES: u64 = 1024;
const CONTENT: &[u8] = b"meetlake doctor";
/// Writers that race for one key.
const RACERS: usize = 16;
/// Races of each kind. The first also opens the connections, so its writers are spread out.
const ROUNDS: usize = 6;

/// One thing that was tried, and how it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeResult {
    /// What publishing needs.
    pub check: &'static str,
    /// What is wrong and what to do about it; `None` if all is well.
    pub problem: Option<String>,
}

impl Lake {
    /// Tries what publishing needs on the throw-away object `key` and removes it. Two probes at
    /// once need two keys.
    pub async fn probe(&self, key: &Path) -> Vec<ProbeResult> {
        vec![
            probe_result("write and read an object", self.probe_write(key).await),
            probe_result("list objects", self.list(key).await.map(drop)),
            probe_result(
                "replace an object only in the state it was read in",
                self.probe_replace(key).await,
            ),
            probe_result("delete an object", self.delete(key).await),
            ProbeResult {
                check: "one winner among racing writers",
                problem: self
                    .probe_races(key)
                    .await
                    .unwrap_or_else(|error| Some(error.to_string())),
            },
            probe_result("delete it again", self.delete(key).await),
        ]
    }

    /// Whether the store takes an object that must not exist yet: puts the throw-away object `key`
    /// there and removes it. Publishing removes nothing, so a store that refuses only that is good
    /// enough; `orphans` finds what stays.
    ///
    /// # Errors
    /// Why the store does not take it.
    pub async fn check_writable(&self, key: &Path) -> Result<(), Error> {
        let content = Bytes::from_static(CONTENT);
        self.put_once(key, &content, &PutMode::Create).await?;
        let _ = self.delete(key).await;
        Ok(())
    }

    async fn probe_write(&self, key: &Path) -> Result<(), Error> {
        self.put_create(key, Bytes::from_static(CONTENT)).await?;
        match self.get(key, MOST_BYTES).await? {
            Some(read) if read == CONTENT => Ok(()),
            _ => Err(self.refusal(
                StoreErrorKind::Other,
                "read back",
                key,
                "what was written is not what is read".to_owned(),
            )),
        }
    }

    async fn probe_replace(&self, key: &Path) -> Result<(), Error> {
        let Some((seen, _)) = self.head(key).await? else {
            return Err(self.refusal(
                StoreErrorKind::Other,
                "find",
                key,
                "it was just written and is gone".to_owned(),
            ));
        };
        self.put_if_unchanged(key, Bytes::from_static(b"meetlake doctor, second"), &seen)
            .await?;
        let stale = self
            .put_if_unchanged(key, Bytes::from_static(b"meetlake doctor, stale"), &seen)
            .await;
        match stale {
            Err(error) if error.kind() == StoreErrorKind::Conflict => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(self.refusal(
                StoreErrorKind::Other,
                "protect",
                key,
                "the store let a writer with a stale state win, so two processes must never share \
                 this lake"
                    .to_owned(),
            )),
        }
    }

    /// What went wrong in the first race without exactly one winner. A folder has no conditional
    /// replacement, so there only creation is raced.
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
        let standing = self.get(key, MOST_BYTES).await?;
        let standing = contents
            .iter()
            .position(|content| Some(content) == standing.as_ref());
        let winners: Vec<usize> = (0..RACERS).filter(|n| results[*n].is_ok()).collect();
        match (winners.as_slice(), standing) {
            ([winner], Some(standing)) if *winner == standing => Ok(None),
            // The winner was told that it lost, as can happen after a retried request.
            ([], Some(_)) => Ok(None),
            ([_], _) => Ok(Some(format!(
                "a writer was told that it {did} the object, and another one's bytes are there; \
                 {NOT_SAFE}"
            ))),
            ([], None) => Err(results
                .into_iter()
                .find_map(Result::err)
                .unwrap_or_else(|| {
                    self.refusal(
                        StoreErrorKind::Other,
                        "race for",
                        key,
                        "nobody won and nobody lost".to_owned(),
                    )
                })),
            (many, _) => Ok(Some(format!(
                "{} of {RACERS} racing writers were told that they {did} the same object; \
                 {NOT_SAFE}",
                many.len()
            ))),
        }
    }
}

/// What it means if a race did not have exactly one winner.
const NOT_SAFE: &str = "the store does not keep its promise of conditional writes, so processes \
                        that publish to it at the same time can undo one another's work: use \
                        another store, or see to it that only one process ever publishes here";

fn probe_result(check: &'static str, result: Result<(), Error>) -> ProbeResult {
    ProbeResult {
        check,
        problem: result.err().map(|error| error.to_string()),
    }
}
