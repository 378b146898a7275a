//! Reads a listing page by page, all or nothing.
//!
//! Feishu pages by offset. While a list changes, an item can come twice or not at all. So at the
//! end the first page is read again. If its ids differ, the list is read once more from its
//! beginning. Of a walk that is the page right below the root: a level that moves deeper down while
//! the tree is walked can be missed, or come twice and is then taken once.

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

/// Says whether the first page was still the same at the end.
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
    let mut first = None;
    let mut later_pages = 0_u64;
    while let Some(call) = listing.next_call() {
        let is_first = first.is_none() && listing.is_at_first_page();
        let body = match client.page(dataset, call.clone()).await {
            Ok(body) => body,
            Err(error) => return Ok(Err(error)),
        };
        let items = match listing.take(&body) {
            Ok(items) => items,
            Err(error) => return Ok(Err(client::Error::unlisted(dataset, &error))),
        };
        crash_point!("w05-page-listed");
        later_pages += u64::from(first.is_some());
        if is_first {
            first = Some((call, body.clone()));
        }
        sink.page(&body, items)?;
    }
    let Some((call, before)) = first.filter(|_| later_pages > 0) else {
        return Ok(Ok(true));
    };
    let after = match client.page(dataset, call).await {
        Ok(body) => body,
        Err(error) => return Ok(Err(error)),
    };
    let ids = |body: &Bytes| listing.ids_on(body);
    Ok(match (ids(&before), ids(&after)) {
        (Ok(before), Ok(after)) => Ok(before == after),
        (Err(error), _) | (_, Err(error)) => Err(client::Error::unlisted(dataset, &error)),
    })
}
