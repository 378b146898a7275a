//! Endpoints of the API: how each is called, and how often it may be.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

/// How often one app may call an endpoint for one tenant. The names are Feishu's (resources, 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// 20 calls a minute.
    Two,
    /// 100 calls a minute.
    Three,
    /// 1,000 calls a minute and 50 a second.
    Four,
    /// Not published. We begin with half of what most endpoints allow, and follow the limit in
    /// Feishu's headers.
    Special,
}

/// Calls a minute that we allow ourselves. Lower them if another program shares the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLimits {
    /// Each endpoint of tier 3, which the exports and the alerts are.
    pub exports: u32,
    /// Each endpoint of tier 4, which rooms and room levels are.
    pub directory: u32,
    /// Each endpoint without a published limit, which the reports are. `None` begins with the
    /// tier's own and follows Feishu's headers.
    pub reports: Option<u32>,
    /// How much of all these we use, percent, 1 to 100. The rest is for other programs of the app.
    pub share: u32,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            exports: Tier::Three.per_minute(),
            directory: Tier::Four.per_minute(),
            reports: None,
            share: 100,
        }
    }
}

impl CallLimits {
    /// Calls a minute that an endpoint of this tier gets, as long as no header says otherwise.
    #[must_use]
    pub fn per_minute(&self, tier: Tier) -> u32 {
        self.shared(match tier {
            Tier::Two => tier.per_minute(),
            Tier::Three => self.exports,
            Tier::Four => self.directory,
            Tier::Special => self.reports.unwrap_or(tier.per_minute()),
        })
    }

    /// Calls a second that an endpoint of this tier gets besides.
    #[must_use]
    pub fn per_second(&self, tier: Tier) -> Option<u32> {
        tier.per_second().map(|most| self.shared(most))
    }

    /// Our share of a limit; never nothing.
    fn shared(&self, limit: u32) -> u32 {
        let share = u64::from(limit) * u64::from(self.share) / 100;
        u32::try_from(share).unwrap_or(limit).max(1)
    }

    /// The most to which a header may raise it.
    #[must_use]
    pub fn ceiling(&self, tier: Tier) -> u32 {
        match (tier, self.reports) {
            (Tier::Special, None) => u32::MAX,
            _ => self.per_minute(tier),
        }
    }
}

impl Tier {
    /// Calls a minute that Feishu allows, or that we begin with.
    #[must_use]
    pub const fn per_minute(self) -> u32 {
        match self {
            Self::Two => 20,
            Self::Three => 100,
            Self::Four => 1_000,
            Self::Special => 60,
        }
    }

    /// Calls a second that Feishu allows besides.
    #[must_use]
    pub const fn per_second(self) -> Option<u32> {
        match self {
            Self::Four => Some(50),
            Self::Two | Self::Three | Self::Special => None,
        }
    }
}

/// The HTTP methods. Datasets read by the first two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `GET`.
    Get,
    /// `POST`, for a request whose parameters are a JSON body.
    Post,
    /// `PUT`.
    Put,
    /// `PATCH`.
    Patch,
    /// `DELETE`.
    Delete,
}

impl Method {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

impl FromStr for Method {
    type Err = String;

    /// Reads the word on the wire, in capitals or not.
    fn from_str(word: &str) -> Result<Self, String> {
        let all = [Self::Get, Self::Post, Self::Put, Self::Patch, Self::Delete];
        let named = |method: &Self| method.as_str().eq_ignore_ascii_case(word);
        let found = all.into_iter().find(named);
        found.ok_or_else(|| format!("write one of {}", all.map(Self::as_str).join(", ")))
    }
}

/// An endpoint with a limit of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The name in logs and in the record of recent calls; unique.
    pub name: &'static str,
    /// How it is called.
    pub method: Method,
    /// Where it is, below `open-apis/vc/v1`.
    pub path: &'static str,
    /// How often it may be called.
    pub tier: Tier,
}

impl fmt::Display for Endpoint {
    /// `GET reports/get_daily`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method.as_str(), self.path)
    }
}

/// Asks where an export task stands; all exports share it.
pub const POLL: Endpoint = Endpoint {
    name: "poll",
    method: Method::Get,
    path: "exports/:task_id",
    tier: Tier::Three,
};

/// Downloads the workbook of an export task; all exports share it.
pub const DOWNLOAD: Endpoint = Endpoint {
    name: "download",
    method: Method::Get,
    path: "exports/download",
    tier: Tier::Three,
};

/// What one call of an endpoint sends, beside its path.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters {
    /// A further segment of the path.
    pub segment: Option<String>,
    /// Parameters in the URL.
    pub query: Vec<(&'static str, String)>,
    /// Parameters in a JSON body, for `POST`.
    pub body: Option<Value>,
}

impl Parameters {
    /// Parameters that are all in the URL.
    #[must_use]
    pub fn query(query: Vec<(&'static str, String)>) -> Self {
        Self {
            query,
            ..Self::default()
        }
    }

    /// Parameters in a JSON body.
    #[must_use]
    pub fn body(body: Value) -> Self {
        Self {
            body: Some(body),
            ..Self::default()
        }
    }

    /// The same with one more parameter in the URL, if there is a value.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.query
            .extend(value.map(|value| (name, value.to_string())));
        self
    }
}
