//! Tells a meeting that is hidden from the app from an app that may see none.
//!
//! Feishu refuses both with the same code. A meeting that somebody outside of the tenant owns, or
//! outside of the scope's accessible data range, stays hidden whatever the night's other meetings
//! are; a role that was lost hides all of them. So a refusal is judged: a meeting that was shown
//! before is asked for, after it. If that one is shown, the refused one is asked for once more, and
//! a second refusal is about it alone. A meeting of which the lake has a row is never called hidden
//! for that: its row stays, and its task fails by name.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

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
/// So many may be refused before any was shown. More are no accident, and each is a call.
const UNJUDGED: u32 = 20;

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
    /// Refusals since then of which nobody could say more.
    unjudged: u32,
}

/// A look at what the app is shown.
#[derive(Clone, Copy, Debug)]
struct Look {
    began_at: Instant,
    found: Sighting,
}

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sighting {
    /// A meeting is shown.
    Shown,
    /// Those that were shown before are not any more.
    Refused,
    /// None is known that could be shown.
    NoneKnown,
}

impl Look {
    /// What it says of a refusal: nothing, unless it began after it.
    fn says_of(self, refused_at: Instant) -> Option<Sighting> {
        (self.began_at >= refused_at).then_some(self.found)
    }
}

impl Shown {
    fn add(&mut self, id: &str) {
        self.unjudged = 0;
        self.ids.retain(|known| known != id);
        self.ids.push_front(id.to_owned());
        self.ids.truncate(KNOWN);
    }

    /// Whether one more refusal can be waited with that nobody can judge.
    fn may_wait(&mut self) -> bool {
        self.unjudged = self.unjudged.saturating_add(1);
        self.unjudged <= UNJUDGED
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
        match self.look(call, Instant::now()).await? {
            Sighting::Shown => {}
            Sighting::NoneKnown if self.fetcher.sight.shown(Shown::may_wait) => {
                return Err(refused.perhaps_hidden());
            }
            Sighting::Refused | Sighting::NoneKnown => return Err(refused),
        }
        let again = call.clone().taking_hidden();
        let body = self.looked_at(id, self.fetcher.client.page(&again).await?);
        let (ledger, task) = (&self.fetcher.ledger, self.task);
        let is_in_lake = !is_good(&body)
            && ledger
                .knows_meeting(&task.spec.tenant, task.spec.dataset(), task.job_window, id)
                .await
                // Without the ledger nothing is known, and the task says so at its next step.
                .unwrap_or(true);
        match is_in_lake {
            true => Err(refused.hidden()),
            false => Ok(body),
        }
    }

    /// Whether the app is shown anything, at some time after this refusal.
    async fn look(&self, call: &PageCall, refused_at: Instant) -> Result<Sighting, client::Error> {
        let sight = &self.fetcher.sight;
        let mut last = sight.0.look.lock().await;
        if let Some(found) = last.and_then(|look| look.says_of(refused_at)) {
            return Ok(found);
        }
        let began_at = Instant::now();
        let found = self.look_now(call).await?;
        *last = Some(Look { began_at, found });
        Ok(found)
    }

    async fn look_now(&self, call: &PageCall) -> Result<Sighting, client::Error> {
        let Fetcher { client, ledger, .. } = self.fetcher;
        let mut known: Vec<String> = self
            .fetcher
            .sight
            .shown(|shown| shown.ids.iter().cloned().collect());
        let spec = &self.task.spec;
        let recorded = ledger.known_meetings(&spec.tenant, spec.dataset(), KNOWN as u32);
        known.extend(recorded.await.unwrap_or_default());
        let mut found = Sighting::NoneKnown;
        for id in known {
            let asked = call.of_another(id);
            match client.page(&asked).await {
                Ok(_) => return Ok(Sighting::Shown),
                Err(error) if is_refusal(call, &error) => found = Sighting::Refused,
                Err(error) if error.kind() == Cause::Gone => {}
                // A server in trouble says nothing of the role.
                Err(error) => return Err(error),
            }
        }
        Ok(found)
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
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_look_says_nothing_of_what_was_refused_after_it_began() {
        let began_at = Instant::now() + Duration::from_secs(60);
        for found in [Sighting::Shown, Sighting::Refused, Sighting::NoneKnown] {
            let look = Look { began_at, found };
            let ms = Duration::from_millis(1);
            for (refused_at, says) in [
                (began_at - ms, Some(found)),
                (began_at, Some(found)),
                (began_at + ms, None),
            ] {
                assert_eq!(look.says_of(refused_at), says);
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
    fn before_any_is_shown_some_may_be_refused_and_not_all() {
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
