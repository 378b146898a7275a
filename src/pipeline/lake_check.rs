//! Whether the lake takes what will be published, asked before anything is exported: an export for
//! a lake that refuses would only be kept in the spool, and its calls are limited.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::cause::{Cause, Failure};
use crate::publish::location;
use crate::store::{Lake, StoreErrorKind};

/// The lake is not asked again for so long, by the machine's clock, so that a run of many tenants
/// costs two requests.
const GOOD_FOR: Duration = Duration::from_secs(15 * 60);
/// A refusal counts for so long: for the other tenants of a run, and not for the next try of a
/// server.
const BAD_FOR: Duration = Duration::from_secs(60);

/// The lake of all tenants of a process, and what it said last.
#[derive(Debug)]
pub struct LakeCheck {
    lake: Lake,
    last: Mutex<Option<(Instant, Option<Failure>)>>,
}

impl LakeCheck {
    /// A check that has not asked yet.
    #[must_use]
    pub fn new(lake: Lake) -> Self {
        Self {
            lake,
            last: Mutex::default(),
        }
    }

    /// Why the lake takes nothing until somebody does something about it. `None` if it takes a
    /// throw-away object, or fails in a way that may pass: what is exported then waits in the
    /// spool.
    pub async fn refusal(&self) -> Option<Failure> {
        let mut last = self.last.lock().await;
        if let Some((at, refusal)) = &*last {
            let good_for = if refusal.is_some() { BAD_FOR } else { GOOD_FOR };
            if at.elapsed() < good_for {
                return refusal.clone();
            }
        }
        let key = location::probe(Timestamp::now());
        // On a disk of this machine, space comes and goes: the next publish says whether it is there.
        let may_return =
            |kind: StoreErrorKind| kind == StoreErrorKind::Full && self.lake.is_on_a_disk();
        let stays = |kind: StoreErrorKind| kind.is_lasting() && !may_return(kind);
        let refusal = match self.lake.check_writable(&key).await {
            Err(error) if stays(error.kind()) => {
                let message = format!("nothing is exported while the lake takes nothing: {error}");
                Some(Failure::new(Cause::Storage, message))
            }
            Ok(()) | Err(_) => None,
        };
        *last = Some((Instant::now(), refusal.clone()));
        refusal
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::store::file_url;

    #[tokio::test]
    async fn one_answer_counts_for_all_tenants() {
        let folder = tempfile::tempdir().expect("a folder");
        let lake = |name: &str| {
            let url = file_url(&folder.path().join(name)).expect("a url");
            Lake::open(&url, &BTreeMap::new()).expect("a lake")
        };
        // A file in place of the folder for throw-away objects stops root too.
        let break_it = |name: &str| std::fs::write(folder.path().join(name).join("_doctor"), "");
        let good = LakeCheck::new(lake("good"));
        assert_eq!(good.refusal().await, None);
        break_it("good").expect("written");
        assert_eq!(good.refusal().await, None);
        let bad = LakeCheck::new(lake("bad"));
        break_it("bad").expect("written");
        let refusal = bad.refusal().await.expect("refused");
        assert_eq!(refusal.cause, Cause::Storage);
        std::fs::remove_file(folder.path().join("bad/_doctor")).expect("removed");
        assert_eq!(bad.refusal().await, Some(refusal));
    }
}
