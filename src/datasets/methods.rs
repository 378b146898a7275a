//! Every method of the API, whether a dataset uses it or not, so that a call that a person asks for
//! keeps the limit that Feishu has for it (resources, 1.1 and 1.2).

use std::fmt;

use super::{Dataset, Endpoint, Method, Tier};

/// Makes the list; a method's name is how it is called.
macro_rules! methods {
    ($($tier:ident { $($method:ident $verb:literal $path:literal,)+ })+) => {
        &[$($(Endpoint {
            name: concat!($verb, " ", $path),
            method: Method::$method,
            path: $path,
            tier: Tier::$tier,
        },)+)+]
    };
}

/// The methods that no dataset calls.
const METHODS: &[Endpoint] = methods! {
    Two {
        Post "POST" "rooms",
        Patch "PATCH" "rooms/:room_id",
        Delete "DELETE" "rooms/:room_id",
        Post "POST" "room_levels",
        Patch "PATCH" "room_levels/:room_level_id",
        Post "POST" "room_levels/del",
        Post "POST" "scope_config",
    }
    Three {
        Patch "PATCH" "reserve_configs/:scope_id",
        Patch "PATCH" "reserve_configs/:scope_id/form",
        Patch "PATCH" "reserve_configs/:scope_id/admin",
        Patch "PATCH" "reserve_configs/:scope_id/disable_inform",
        Post "POST" "meetings/search",
    }
    Four {
        Post "POST" "reserves/apply",
        Put "PUT" "reserves/:reserve_id",
        Delete "DELETE" "reserves/:reserve_id",
        Patch "PATCH" "meetings/:meeting_id/invite",
        Patch "PATCH" "meetings/:meeting_id/end",
        Post "POST" "meetings/:meeting_id/kickout",
        Patch "PATCH" "meetings/:meeting_id/set_host",
        Patch "PATCH" "meetings/:meeting_id/recording/set_permission",
        Get "GET" "rooms/:room_id",
        Post "POST" "rooms/mget",
        Post "POST" "rooms/search",
        Get "GET" "room_levels/:room_level_id",
        Post "POST" "room_levels/mget",
        Get "GET" "room_levels/search",
        Get "GET" "notes/:note_id",
    }
    Special {
        Patch "PATCH" "meetings/:meeting_id/recording/start",
        Patch "PATCH" "meetings/:meeting_id/recording/stop",
    }
};

/// Whatever is not documented; the limit is that of most methods.
const UNKNOWN: Endpoint = Endpoint {
    name: "undocumented",
    method: Method::Get,
    path: "",
    tier: Tier::Three,
};

/// What is sent by `POST` and only reads.
const READING_POSTS: [&str; 4] = [
    "rooms/mget",
    "room_levels/mget",
    "rooms/search",
    "meetings/search",
];

/// What answers a file and not JSON.
const FILES: [&str; 1] = ["exports/download"];

/// Where the paths begin.
const ROOT: &str = "open-apis/vc/v1";

/// Everything that has a limit of its own, each once: what datasets call comes first.
#[must_use]
pub fn all_methods() -> Vec<Endpoint> {
    let own = Dataset::all_endpoints();
    let others = METHODS.iter().copied().chain([UNKNOWN]);
    own.into_iter().chain(others).collect()
}

/// A path below `open-apis/vc/v1`, in segments that are not escaped yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiPath(Vec<String>);

impl ApiPath {
    /// Reads a path as a person writes it: `rooms/omm_1`, or `/open-apis/vc/v1/rooms/omm_1`.
    ///
    /// # Errors
    /// What is wrong, as a lower-case fragment for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains("://") || text.starts_with("//") || text.contains('\\') {
            return Err("names a host; write only the path, such as rooms/omm_1".to_owned());
        }
        if text.contains(['?', '#']) {
            return Err("has parameters; write each as --query NAME=VALUE".to_owned());
        }
        let path = text.strip_prefix('/').unwrap_or(text);
        let path = match path.strip_prefix(ROOT) {
            Some(rest) => rest
                .strip_prefix('/')
                .ok_or_else(|| format!("must go on after /{ROOT}"))?,
            None if path == "open-apis" || path.starts_with("open-apis/") => {
                return Err(format!("is of another service; only /{ROOT}/… is called"));
            }
            None => path,
        };
        let segments: Vec<&str> = path.split('/').collect();
        for segment in &segments {
            match *segment {
                "" => return Err("has an empty part between two slashes or at its end".to_owned()),
                "." | ".." => return Err(format!("has a part `{segment}`")),
                part if part.starts_with(':') => {
                    return Err(format!("has `{part}` where an id belongs"));
                }
                part if !part.chars().all(is_plain) => {
                    return Err("has a character that no path of the API has".to_owned());
                }
                _ => {}
            }
        }
        if FILES.contains(&path) {
            return Err("answers a file and no JSON; `meetlake run` fetches files".to_owned());
        }
        Ok(Self(segments.into_iter().map(str::to_owned).collect()))
    }

    /// The segments.
    #[must_use]
    pub fn segments(&self) -> &[String] {
        &self.0
    }

    /// The method of the API that this is, for its limit. Of two that fit, the one with fewer ids.
    #[must_use]
    pub fn endpoint(&self, method: Method) -> Endpoint {
        let fits = |endpoint: &Endpoint| {
            let pattern: Vec<&str> = endpoint.path.split('/').collect();
            let mut pairs = pattern.iter().zip(&self.0);
            endpoint.method == method
                && pattern.len() == self.0.len()
                && pairs.all(|(part, own)| part.starts_with(':') || part == own)
        };
        let ids = |endpoint: &Endpoint| endpoint.path.matches(':').count();
        let found = all_methods().into_iter().filter(fits).min_by_key(ids);
        found.unwrap_or(UNKNOWN)
    }

    /// Whether a call only reads.
    #[must_use]
    pub fn reads(&self, method: Method) -> bool {
        match method {
            Method::Get => true,
            Method::Post => READING_POSTS.contains(&self.to_string().as_str()),
            Method::Put | Method::Patch | Method::Delete => false,
        }
    }
}

/// Ids are of letters, digits and a few marks. Escapes are refused: they would be escaped again.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_-.=~@+,".contains(c)
}

impl fmt::Display for ApiPath {
    /// `rooms/omm_1`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("/"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_path_stays_within_the_api() {
        for (text, path) in [
            ("rooms", "rooms"),
            ("/rooms/omm_1", "rooms/omm_1"),
            ("/open-apis/vc/v1/reserves/7", "reserves/7"),
            ("open-apis/vc/v1/alerts", "alerts"),
            (
                "meetings/6911188411932033028/recording",
                "meetings/6911188411932033028/recording",
            ),
        ] {
            assert_eq!(
                ApiPath::parse(text).map(|path| path.to_string()),
                Ok(path.to_owned())
            );
        }
        for (text, why) in [
            ("https://open.feishu.cn/open-apis/vc/v1/rooms", "host"),
            ("//evil.example/rooms", "host"),
            ("file:///etc/passwd", "host"),
            ("\\\\evil\\rooms", "host"),
            ("/open-apis/contact/v3/users", "another service"),
            ("open-apis/vc/v2/rooms", "another service"),
            ("open-apis", "another service"),
            ("/open-apis/vc/v1", "go on"),
            ("/open-apis/vc/v1x/rooms", "go on"),
            ("rooms/../../../contact/v3/users", "`..`"),
            ("./rooms", "`.`"),
            ("rooms//x", "empty"),
            ("rooms/", "empty"),
            ("", "empty"),
            ("rooms?page_size=10", "--query"),
            ("rooms#x", "--query"),
            ("rooms/%2e%2e/x", "character"),
            ("rooms/a b", "character"),
            ("rooms/a\r\nHost: x", "character"),
            ("rooms/会议", "character"),
            ("rooms/:room_id", "id belongs"),
            ("exports/download", "file"),
        ] {
            let refused = ApiPath::parse(text).expect_err(text);
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }

    #[test]
    fn a_call_has_the_limit_of_its_method() {
        for (method, path, name, tier) in [
            (Method::Get, "rooms", "rooms", Tier::Four),
            (Method::Get, "rooms/omm_1", "GET rooms/:room_id", Tier::Four),
            (Method::Get, "exports/7", "poll", Tier::Three),
            (
                Method::Get,
                "room_levels/search",
                "GET room_levels/search",
                Tier::Four,
            ),
            (Method::Get, "alerts", "alerts", Tier::Three),
            (Method::Post, "rooms", "POST rooms", Tier::Two),
            (
                Method::Patch,
                "rooms/omm_1",
                "PATCH rooms/:room_id",
                Tier::Two,
            ),
            (
                Method::Post,
                "room_levels/del",
                "POST room_levels/del",
                Tier::Two,
            ),
            (
                Method::Post,
                "reserves/apply",
                "POST reserves/apply",
                Tier::Four,
            ),
            (
                Method::Get,
                "reserve_configs/omb_1/form",
                "reserve_form",
                Tier::Three,
            ),
            (Method::Get, "meetings", "undocumented", Tier::Three),
            (Method::Get, "rooms/omm_1/x", "undocumented", Tier::Three),
            (Method::Put, "rooms", "undocumented", Tier::Three),
        ] {
            let endpoint = ApiPath::parse(path).expect("a path").endpoint(method);
            assert_eq!(
                (endpoint.name, endpoint.tier),
                (name, tier),
                "{method:?} {path}"
            );
        }
    }

    #[test]
    fn only_gets_and_four_posts_read() {
        let reads = |method, path| ApiPath::parse(path).expect("a path").reads(method);
        for path in READING_POSTS {
            assert!(reads(Method::Post, path) && reads(Method::Get, path));
            assert!(!reads(Method::Patch, path) && !reads(Method::Delete, path));
        }
        for path in ["rooms", "rooms/mget/x", "reserves/apply", "exports/7"] {
            assert!(!reads(Method::Post, path), "{path}");
        }
    }

    #[test]
    fn what_a_dataset_calls_stands_there_only() {
        let shape = |endpoint: &Endpoint| {
            let parts = endpoint.path.split('/');
            let parts = parts.map(|part| if part.starts_with(':') { ":" } else { part });
            (endpoint.method.as_str(), parts.collect::<Vec<_>>())
        };
        let own: HashSet<_> = Dataset::all_endpoints().iter().map(shape).collect();
        let twice = METHODS.iter().filter(|method| own.contains(&shape(method)));
        assert_eq!(twice.map(|method| method.name).collect::<Vec<_>>(), [""; 0]);
    }

    #[test]
    fn no_two_methods_share_a_limit() {
        let names: Vec<&str> = all_methods().iter().map(|endpoint| endpoint.name).collect();
        let different: HashSet<&str> = names.iter().copied().collect();
        assert_eq!(different.len(), names.len());
    }
}
