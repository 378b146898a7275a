//! Tells a meeting that is hidden from the app from an app that may see none.
//!
//! Feishu refuses both with the same code. A meeting that somebody outside of the tenant owns, or
//! outside of the scope's accessible data range, stays hidden whatever the night's other meetings
//! are; a role that was lost hides all of them. So a refusal is judged: meetings that were shown
//! before are asked for, after it. If one is shown, the refused one is asked for once more, and a
//! second refusal is about it alone. A meeting of which the lake has a row is never called hidden
//! for that: its row stays, and its task fails by name. Where none is shown, the task is put off,
//! because others may be shown meanwhile; so many times in a row that is a role that was lost.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Deserialize;

use super::Fetcher;
use super::listing::PageSource;
use crate::cause::Cause;
use crate::client;
use crate::datasets::listing::PageCall;
use crate::record::TaskRow;

/// So many that were shown in this process are asked for, and as many that the ledger knows: each
/// may be hidden or gone by now.
const KNOWN: usize = 5;
/// So many may be refused in a row without one that is shown. More are no accident, and each is a
/// call.
const UNJUDGED: u32 = 20;
/// So far from its window the detail of a meeting may say that it began.
const NEAR: Duration = Duration::from_secs(2 * 86_400);

/// What the app was shown; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Sight(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    shown: Mutex<Shown>,
    /// One looks at a time; whoever waited for it takes what it found.
    look: tokio::sync::Mutex<Option<Look>>,
}

/// Which meetings were shown in this process.
#[derive(Debug, Default)]
struct Shown {
    /// The last ones, the latest first.
    ids: VecDeque<String>,
    /// Refusals since then.
    refused: u32,
}

/// A look at what the app is shown.
#[derive(Clone, Debug)]
struct Look {
    began_at: Instant,
    /// Whether it is shown anything, or why nobody knows.
    found: Result<bool, client::Error>,
}

impl Look {
    /// What it says of a refusal: nothing, unless it began after it.
    fn says_of(&self, refused_at: Instant) -> Option<Result<bool, client::Error>> {
        (self.began_at >= refused_at).then(|| self.found.clone())
    }
}

impl Shown {
    fn add(&mut self, id: &str) {
        self.refused = 0;
        self.ids.retain(|known| known != id);
        self.ids.push_front(id.to_owned());
        self.ids.truncate(KNOWN);
    }

    /// Whether a task whose refusal nobody can judge may be put off.
    fn may_wait(&mut self) -> bool {
        self.refused = self.refused.saturating_add(1);
        self.refused <= UNJUDGED
    }
}

impl Sight {
    fn shown<T>(&self, then: impl FnOnce(&mut Shown) -> T) -> T {
        then(&mut self.0.shown.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Asks for the pages of one task.
pub(super) struct SightedPages<'f> {
    pub(super) fetcher: &'f Fetcher,
    pub(super) task: &'f TaskRow,
}

impl PageSource for SightedPages<'_> {
    async fn page(&self, call: &PageCall) -> Result<Bytes, client::Error> {
        let answer = self.fetcher.client.page(call).await;
        let Some(id) = call.may_be_hidden() else {
            return answer;
        };
        match answer {
            Ok(body) => Ok(self.looked_at(id, body)),
            Err(error) if is_refusal(call, &error) => self.judge(call, id, error).await,
            Err(error) => Err(error),
        }
    }
}

impl SightedPages<'_> {
    /// Remembers a meeting that is shown.
    fn looked_at(&self, id: &str, body: Bytes) -> Bytes {
        // That there is no such meeting says nothing of the others.
        if is_good(&body) {
            self.fetcher.sight.shown(|shown| shown.add(id));
        }
        body
    }

    /// Gives the answer that says that this one is hidden, if that is what its refusal says.
    async fn judge(
        &self,
        call: &PageCall,
        id: &str,
        refused: client::Error,
    ) -> Result<Bytes, client::Error> {
        if !self.look(call, Instant::now()).await? {
            return Err(match self.fetcher.sight.shown(Shown::may_wait) {
                true => refused.perhaps_hidden(),
                false => refused,
            });
        }
        let again = call.clone().taking_hidden();
        let body = self.looked_at(id, self.fetcher.client.page(&again).await?);
        if is_good(&body) || call.is_of_part || !self.is_in_lake(id).await {
            return Ok(body);
        }
        Err(refused.hidden())
    }

    /// Whether the lake may have a row of a meeting. Its detail may say that it began on another
    /// day than its list does.
    async fn is_in_lake(&self, id: &str) -> bool {
        let (spec, window) = (&self.task.spec, self.task.job_window);
        let near = window.widened(NEAR);
        let ledger = &self.fetcher.ledger;
        let known = ledger.knows_meeting(&spec.tenant, spec.dataset(), near, id);
        // Without the ledger nothing is known, and the task says so at its next step.
        known.await.unwrap_or(true)
    }

    /// Whether the app is shown anything, at some time after this refusal.
    async fn look(&self, call: &PageCall, refused_at: Instant) -> Result<bool, client::Error> {
        let mut last = self.fetcher.sight.0.look.lock().await;
        if let Some(found) = last.as_ref().and_then(|look| look.says_of(refused_at)) {
            return found;
        }
        let began_at = Instant::now();
        let found = self.look_now(call).await;
        *last = Some(Look {
            began_at,
            found: found.clone(),
        });
        found
    }

    async fn look_now(&self, call: &PageCall) -> Result<bool, client::Error> {
        let Fetcher { client, ledger, .. } = self.fetcher;
        let mut known: Vec<String> = self
            .fetcher
            .sight
            .shown(|shown| shown.ids.iter().cloned().collect());
        let spec = &self.task.spec;
        let recorded = ledger.known_meetings(&spec.tenant, spec.dataset(), KNOWN as u32);
        known.extend(recorded.await.unwrap_or_default());
        // One that cannot be told may be broken by itself. Each costs the patience of a call.
        let mut trouble = None;
        for id in known {
            match client.page(&call.of_another(id)).await {
                Ok(_) => return Ok(true),
                Err(error) if is_refusal(call, &error) || error.kind() == Cause::Gone => {}
                // A server in trouble says nothing of the role.
                Err(error) if trouble.is_some() => return Err(error),
                Err(error) => trouble = Some(error),
            }
        }
        trouble.map_or(Ok(false), Err)
    }
}

fn is_refusal(call: &PageCall, error: &client::Error) -> bool {
    error.code().is_some_and(|code| call.hidden.contains(&code))
}

#[derive(Deserialize)]
struct AnswerCode {
    code: i64,
}

fn is_good(body: &[u8]) -> bool {
    serde_json::from_slice(body).is_ok_and(|AnswerCode { code }| code == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_says_nothing_of_what_was_refused_after_it_began() {
        let began_at = Instant::now() + Duration::from_secs(60);
        let ms = Duration::from_millis(1);
        for shows in [true, false] {
            let look = Look {
                began_at,
                found: Ok(shows),
            };
            for (refused_at, says) in [
                (began_at - ms, Some(shows)),
                (began_at, Some(shows)),
                (began_at + ms, None),
            ] {
                let said = look.says_of(refused_at).map(|found| found.expect("known"));
                assert_eq!(said, says);
            }
        }
    }

    #[test]
    fn the_last_ones_shown_are_known_the_latest_first() {
        let mut shown = Shown::default();
        for id in ["a", "b", "c", "d", "b", "e", "f"] {
            shown.add(id);
        }
        assert_eq!(shown.ids, ["f", "e", "b", "d", "c"]);
    }

    #[test]
    fn some_may_be_refused_in_a_row_and_not_all() {
        let mut shown = Shown::default();
        let waits = |shown: &mut Shown| (0..100).filter(|_| shown.may_wait()).count();
        assert_eq!(waits(&mut shown), 20);
        assert_eq!(waits(&mut shown), 0);
        shown.add("a");
        assert_eq!(waits(&mut shown), 20);
    }

    #[test]
    fn only_a_good_answer_shows_anything() {
        for (body, is_shown) in [
            (r#"{"code":0,"data":{}}"#, true),
            (r#"{"code":121004,"msg":"not found"}"#, false),
            ("<html>", false),
        ] {
            assert_eq!(is_good(body.as_bytes()), is_shown, "{body}");
        }
    }
}
