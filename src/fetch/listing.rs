//! Reads a listing page by page, all or nothing.
//!
//! Feishu pages by offset. While a list changes, an item can come twice or not at all. So the first
//! and the last page are read again at the end: whatever came or went in between moved the last one.
//! If their ids differ, the list is read once more from its beginning. Only ids are compared: what
//! an item says may change meanwhile, as the state of an alert does. So this holds for the list of
//! a window too, which gets no new items once the window is over.
//!
//! Of a walk, these are the page right below the root and the one that was read last. A level that
//! moves elsewhere while the tree is walked can be missed.

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::client::{self, Client};
use crate::datasets::{Request, listing};

/// How often a list that changes while it is read is read from its beginning.
const READINGS: usize = 2;

/// Takes the pages of a listing.
pub trait PageSink {
    /// Why it cannot take more.
    type Error;

    /// Forgets all pages, because the list is read again.
    ///
    /// # Errors
    /// The sink's own.
    fn restart(&mut self) -> Result<(), Self::Error>;

    /// Takes the next page: its body as it came, and the items that were not on an earlier page.
    ///
    /// # Errors
    /// The sink's own.
    fn page(&mut self, body: &Bytes, items: Vec<Map<String, Value>>) -> Result<(), Self::Error>;
}

/// Reads the listing that answers `request` into `sink`. The outer error is the sink's, the inner
/// one Feishu's.
///
/// # Errors
/// The sink cannot take a page.
pub async fn read<S: PageSink>(
    client: &Client,
    request: &Request,
    sink: &mut S,
) -> Result<Result<(), client::Error>, S::Error> {
    for _ in 0..READINGS {
        sink.restart()?;
        match read_once(client, request, sink).await? {
            Ok(true) => return Ok(Ok(())),
            Ok(false) => {}
            Err(error) => return Ok(Err(error)),
        }
    }
    let changed = listing::Error::Changed;
    Ok(Err(client::Error::unlisted(request.dataset, &changed)))
}

/// Says whether the first and the last page were still the same at the end.
async fn read_once<S: PageSink>(
    client: &Client,
    request: &Request,
    sink: &mut S,
) -> Result<Result<bool, client::Error>, S::Error> {
    let dataset = request.dataset;
    let Some(mut listing) = dataset.listing(request) else {
        let not_listed = listing::Error::NotListed;
        return Ok(Err(client::Error::unlisted(dataset, &not_listed)));
    };
    // The first page of a list, and the last page if it is another one.
    let (mut first, mut last) = (None, None);
    while let Some(call) = listing.next_call() {
        let is_of_list = listing.is_at_list();
        let body = match client.page(&call).await {
            Ok(body) => body,
            Err(error) => return Ok(Err(error)),
        };
        let items = match listing.take(&body) {
            Ok(items) => items,
            Err(error) => return Ok(Err(client::Error::unlisted(dataset, &error))),
        };
        crash_point!("w05-page-listed");
        let read = (call, body.clone());
        match (is_of_list, &first) {
            (true, None) => first = Some(read),
            (true, Some(_)) => last = Some(read),
            (false, _) => {}
        }
        sink.page(&body, items)?;
    }
    // A list of one page cannot change under its reader.
    let again = first.filter(|_| last.is_some()).into_iter().chain(last);
    for (call, before) in again {
        let after = match client.page(&call).await {
            Ok(body) => body,
            Err(error) => return Ok(Err(error)),
        };
        match (listing.ids_on(&before), listing.ids_on(&after)) {
            (Ok(before), Ok(after)) if before == after => {}
            (Ok(_), Ok(_)) => return Ok(Ok(false)),
            (Err(error), _) | (_, Err(error)) => {
                return Ok(Err(client::Error::unlisted(dataset, &error)));
            }
        }
    }
    Ok(Ok(true))
}
