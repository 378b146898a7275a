//! What a simulator is started with.

use std::net::SocketAddr;
use std::time::Duration;

use jiff::civil::{Date, date};
use jiff::tz::TimeZone;

use crate::clock::SimClock;
use crate::faults::Fault;
use crate::knobs::{Face, Knobs};

/// Everything that can be chosen when a simulator is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// The same seed gives the same company. Default: 1.
    pub seed: u64,
    /// Civil days with data, at least 1. Default: 7.
    pub days: u32,
    /// Meetings on each of them, at most 20,000. Default: 12.
    pub meetings_per_day: u32,
    /// The last civil day with data. Default: 2026-10-18.
    pub last_day: Date,
    /// IANA name of the zone that cuts the days and in which files are written; with another one choose the clock too
    /// ([`SimClock::noon_after`]). Default: that of the site, [`Face::time_zone`].
    pub time_zone: String,
    /// Simulated time. Default: real speed, from noon after `last_day`, when all meetings of the days have ended.
    pub clock: SimClock,
    /// The app that may ask for tokens. Default: `cli_a000000000000001`.
    pub app_id: String,
    /// Its secret. Default: `simulator-secret`.
    pub app_secret: String,
    /// Another app, which may write. Default: `cli_a000000000000002`.
    pub write_app_id: String,
    /// Its secret. Default: `simulator-write-secret`.
    pub write_app_secret: String,
    /// Its Verification Token, which every event carries. Default: `simulator-verification-token`.
    pub verification_token: String,
    /// Its Encrypt Key, with which calls of a webhook are encrypted and signed. Default: `simulator-encrypt-key`.
    pub encrypt_key: String,
    /// Real time after which the next event of the company comes by itself. Default: none, events come when they are sent.
    pub event_every: Option<Duration>,
    /// Real time between two events on one connection. Default: 10 ms.
    pub event_pause: Duration,
    /// Where such events, and those that are asked for, are posted in place of the long connection. Default: nowhere.
    pub webhook: Option<SocketAddr>,
    /// The refresh token that is valid from the start, for a week. Default: `ur-simulator-refresh`.
    pub refresh_token: String,
    /// The authorization code that can be used once within five minutes of the clock's start. Default: `simulator-code`.
    pub authorization_code: String,
    /// How the API's open questions are answered.
    pub knobs: Knobs,
    /// Faults that are switched on from the start. Default: none.
    pub faults: Vec<Fault>,
    /// Factor of all limits; a limit is never below one call. Default: 1.
    pub quota_scale: f64,
    /// Seconds in answers (`expire`, `expires_in`, `x-ogw-ratelimit-reset`) are divided by the clock's speed and the announced limit is
    /// multiplied by it, because the client lives in real time. Default: true; it makes no difference at speed 1.
    pub real_time_headers: bool,
}

impl Options {
    /// The defaults with the days ending at `last_day` and the clock at noon after it, running at `speed`.
    #[must_use]
    pub fn ending(last_day: Date, speed: f64) -> Self {
        Self::of(Face::Feishu, last_day, speed)
    }

    /// The same for a site: its knobs, and a zone in which its companies may sit.
    #[must_use]
    pub fn of(face: Face, last_day: Date, speed: f64) -> Self {
        let time_zone = face.time_zone();
        let zone = TimeZone::get(time_zone).expect("the bundled zones hold those of the sites");
        Self {
            seed: 1,
            days: 7,
            meetings_per_day: 12,
            last_day,
            time_zone: time_zone.to_owned(),
            clock: SimClock::noon_after(last_day, &zone, speed),
            app_id: "cli_a000000000000001".to_owned(),
            app_secret: "simulator-secret".to_owned(),
            write_app_id: "cli_a000000000000002".to_owned(),
            write_app_secret: "simulator-write-secret".to_owned(),
            verification_token: "simulator-verification-token".to_owned(),
            encrypt_key: "simulator-encrypt-key".to_owned(),
            event_every: None,
            event_pause: Duration::from_millis(10),
            webhook: None,
            refresh_token: "ur-simulator-refresh".to_owned(),
            authorization_code: "simulator-code".to_owned(),
            knobs: Knobs::of(face),
            faults: Vec::new(),
            quota_scale: 1.0,
            real_time_headers: true,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::ending(date(2026, 10, 18), 1.0)
    }
}
