//! The pages of `serve` as HTML: values in, text out. No secret and no personal value is in them.
//!
//! ```text
//! status ─► overview: is a person needed, what is late, a calendar a tenant, what comes next
//!      └──► day: all that the ledger knows of one day of a dataset
//! ```
//! They work without a script and fetch nothing but their style. A colour never says anything that
//! a sign or a word does not say too.

mod calendar;
pub mod day;
pub mod overview;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use maud::{DOCTYPE, Markup, html};

use crate::record::LastTry;
use crate::status::text::{last_try, span};

/// The style of all pages.
pub const STYLE: &str = include_str!("page/style.css");

/// Where the style is; another version has another one.
pub const STYLE_PATH: &str = concat!("/style-", env!("CARGO_PKG_VERSION"), ".css");

/// What browsers may do with a page: fetch the style, send a form here, and nothing else.
pub const POLICY: &str = "default-src 'none'; style-src 'self'; form-action 'self'; \
     base-uri 'none'; frame-ancestors 'none'";

/// A page around its content.
fn shell(title: &str, content: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="stylesheet" href=(STYLE_PATH);
            }
            body {
                header { a.home href="/" { "meetlake" } }
                main { (content) }
                footer {
                    p {
                        "meetlake " (env!("CARGO_PKG_VERSION")) " · "
                        a href="/status.json" { "status.json" }
                    }
                }
            }
        }
    };
    page.into_string()
}

/// An instant as people of a zone read it, with the zone.
fn local(at: Timestamp, zone: &TimeZone) -> String {
    let zoned: Zoned = at.to_zoned(zone.clone());
    let name = zone
        .iana_name()
        .map_or_else(|| zoned.strftime("%:z").to_string(), ToOwned::to_owned);
    format!("{} {name}", zoned.strftime("%a %F %H:%M"))
}

/// Where a day's page is.
fn day_path(tenant: &str, dataset: impl std::fmt::Display, dt: jiff::civil::Date) -> String {
    format!("/day/{tenant}/{dataset}/{dt}")
}

/// `1 day`, `2 days`.
fn days(count: usize) -> String {
    match count {
        1 => "1 day".to_owned(),
        count => format!("{count} days"),
    }
}

/// How late something is; hours do not matter any more after two days.
fn lateness(seconds: u64) -> String {
    match seconds / 86_400 {
        0 | 1 => span(seconds),
        days => format!("{days} days"),
    }
}

/// When something was last tried, and when it is again.
fn tried(of: &LastTry, zone: &TimeZone, now: Timestamp) -> Markup {
    html! { p.why { "It was " (last_try(of, zone, now)) "." } }
}

/// Something to type.
fn command_line(command: &str) -> Markup {
    html! { code.command { (command) } }
}

/// What to know before typing.
fn beside_serve() -> Markup {
    html! {
        p.note {
            "While " code { "serve" } " runs, a command that writes ends at once with exit code 9: "
            "stop it first."
        }
    }
}
