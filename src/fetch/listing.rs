//! Reads a listing page by page, all or nothing.
//!
//! Feishu pages by offset. While a list changes, an item can come twice or not at all. So the first
//! and the last page are read again at its end: whatever came or went in between moved the last.
//! If their ids differ, the list is read once more from its beginning. Only ids are compared: what
//! an item says may change meanwhile, as the state of an alert does. So this holds for the list of
//! a window too, which gets no new items once the window is over.
//!
//! Of a walk, these are the page right below the root and the one that was read last. A level that
//! moves elsewhere while the tree is walked can be missed.

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::client::{self, Client};
use crate::datasets::listing::{self, Listing, PageCall};
use crate::datasets::{Endpoint, Request};

/// How often a list that changes while it is read is read from its beginning.
const READINGS: usize = 2;

/// Asks for the pages of a listing.
pub trait PageSource {
    /// The unchanged body of one call.
    ///
    /// # Errors
    /// What the API refused with, after the retries.
    fn page(&self, call: &PageCall) -> impl Future<Output = Result<Bytes, client::Error>> + Send;
}

impl PageSource for Client {
    async fn page(&self, call: &PageCall) -> Result<Bytes, client::Error> {
        Self::page(self, call).await
    }
}

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
    pages: &impl PageSource,
    request: &Request,
    sink: &mut S,
) -> Result<Result<(), client::Error>, S::Error> {
    for _ in 0..READINGS {
        sink.restart()?;
        match read_once(pages, request, sink).await? {
            Ok(true) => return Ok(Ok(())),
            Ok(false) => {}
            Err(error) => return Ok(Err(error)),
        }
    }
    let changed = listing::Error::Changed;
    Ok(Err(client::Error::unlisted(
        &request.source().endpoint,
        &changed,
    )))
}

/// Says whether the first and the last page were still the same at the end.
async fn read_once<S: PageSink>(
    pages: &impl PageSource,
    request: &Request,
    sink: &mut S,
) -> Result<Result<bool, client::Error>, S::Error> {
    let source = request.source();
    let endpoint = &source.endpoint;
    let Some(mut listing) = source.listing(request) else {
        let not_listed = listing::Error::NotListed;
        return Ok(Err(client::Error::unlisted(endpoint, &not_listed)));
    };
    let mut ends = Ends::default();
    while let Some(call) = listing.next_call() {
        let list = listing.list_of_next();
        // A list that ended is looked at again before what follows from it is asked for.
        if ends.list != list {
            match still_holds(pages, endpoint, &listing, std::mem::take(&mut ends)).await {
                Ok(true) => ends.list = list,
                changed => return Ok(changed),
            }
        }
        let body = match pages.page(&call).await {
            Ok(body) => body,
            Err(error) => return Ok(Err(error)),
        };
        let items = match (listing.take(&body), &call.about) {
            (Ok(items), _) => items,
            (Err(listing::Error::Garbled(why)), Some(about)) => {
                let named = listing::Error::Garbled(format!("{why} ({about})"));
                return Ok(Err(client::Error::unlisted(endpoint, &named)));
            }
            (Err(error), _) => return Ok(Err(client::Error::unlisted(endpoint, &error))),
        };
        crash_point!("w05-page-listed");
        match (list, &ends.first) {
            (Some(_), None) => ends.first = Some((call, body.clone())),
            (Some(_), Some(_)) => ends.last = Some((call, body.clone())),
            (None, _) => {}
        }
        sink.page(&body, items)?;
    }
    Ok(still_holds(pages, endpoint, &listing, ends).await)
}

/// The ends of a list that was read.
#[derive(Default)]
struct Ends {
    /// Which list; `None` for what is no list.
    list: Option<usize>,
    first: Option<(PageCall, Bytes)>,
    /// The last page, if it is not the first one.
    last: Option<(PageCall, Bytes)>,
}

/// Whether the first page and the last one are the same still.
async fn still_holds(
    pages: &impl PageSource,
    endpoint: &Endpoint,
    listing: &Listing,
    ends: Ends,
) -> Result<bool, client::Error> {
    let (Some(list), Some(last)) = (ends.list, ends.last) else {
        // A list of one page cannot change under its reader.
        return Ok(true);
    };
    for (call, before) in ends.first.into_iter().chain([last]) {
        let after = pages.page(&call).await?;
        let ids = |body: &Bytes| {
            let ids = listing.ids_on(list, body);
            ids.map_err(|error| client::Error::unlisted(endpoint, &error))
        };
        if ids(&before)? != ids(&after)? {
            return Ok(false);
        }
    }
    Ok(true)
}
