//! A simulated company behind the Feishu video-conferencing API: deterministic data, real quotas, delays and faults.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use meetlake_simulator::{Options, Server};
//!
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let server = Server::start(listener, Options::default())?;
//! println!("{} has data up to {}", server.base_url(), server.last_day());
//! // … a client works …
//! println!("{:?}", server.report());
//! server.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! Written from the API's reference with its own wire types, so that a mistake in the client cannot be a mistake here too. In reading
//! order:
//!
//! - [`Company`] is the truth: people, rooms, meetings, bookings, from a seed
//! - [`Options`] and [`Knobs`] are what can be chosen; [`SimClock`] is simulated time
//! - `server` is the way of a request: [`Fault`]s, tokens (`auth`), `limits`, then `exports`, `reports`, `rooms`, `alerts` or [`meetings`]
//! - `exports` → `tables` → `workbook` makes the files, on the thread of `press`
//! - `events` are what the company gives cause for, `feed` tells them one by one, and `link` is the long connection that brings them
//! - [`Report`] is what was received

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test that panics has failed")
)]

mod clock;
pub use clock::SimClock;

mod random;

pub mod company;
pub use company::Company;

mod knobs;
pub use knobs::{
    AlertPages, DayBucket, ExportTimes, ExtraSheets, Face, HiddenMeetings, Knobs, Language, Layout,
    MeetingFilter, ScopeList, Selection, TopUserUnit, UnknownTarget, WebinarList,
};

mod options;
pub use options::Options;

mod server;
pub use server::Server;

mod endpoint;
mod line;
mod params;
mod wire;

mod faults;
pub use faults::{Fault, FaultError, FaultKind, Frequency};

mod auth;
mod limits;

mod events;
pub use events::SentEvent;

mod feed;

mod link;
pub use link::{LinkFaults, LinkReport, TICKET};

mod webhook;
pub use webhook::{WebhookCall, WebhookSender};

mod exports;
mod press;
mod tables;
mod workbook;

mod alerts;
mod configs;
pub mod meetings;
mod queries;
mod reports;
mod reserves;
mod rooms;

mod report;
pub use report::{EndpointReport, Report};
