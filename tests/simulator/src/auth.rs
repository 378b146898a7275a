//! Tokens: issuing them to an app or a user, and judging the one that a call carries.
//!
//! A tenant token lives two simulated hours and is handed out again until half an hour is left. User tokens come from OAuth 2 with refresh
//! tokens that work once. Scopes and the admin role are judged here too; limits and faults are not.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::Options;
use crate::endpoint::Endpoint;
use crate::knobs::{Face, ScopeList};
use crate::params::Params;
use crate::random::Draw;
use crate::wire::{ApiError, Reply, ScopeItem, ScopesData, TenantTokenBody, UserTokenBody};

pub(crate) const SCOPE_EXPORT: &str = "vc:export";
pub(crate) const SCOPE_MEETING_EXPORT: &str = "vc:meeting:export";
pub(crate) const SCOPE_REPORT: &str = "vc:report:readonly";
pub(crate) const SCOPE_ROOM: &str = "vc:room";
pub(crate) const SCOPE_ROOM_READONLY: &str = "vc:room:readonly";
pub(crate) const SCOPE_ALERT: &str = "vc:alert:readonly";
pub(crate) const SCOPE_RESERVE_READONLY: &str = "vc:reserve:readonly";
/// Of the lists by query. New apps get it for use in the name of a user only.
pub(crate) const SCOPE_DETAIL: &str = "vc:rooms.room.detailinfo:read";
/// Scopes that a list names although no endpoint here needs them.
const OTHER_SCOPES: [&str; 3] = ["vc:meeting", "vc:record", "vc:reserve"];
pub(crate) const SCOPE_MEETING_READONLY: &str = "vc:meeting:readonly";
pub(crate) const SCOPE_RECORD: &str = "vc:record:readonly";
/// Scopes of single members of an answer.
pub(crate) const SCOPE_NOTE: &str = "vc:meeting.artifact.note:read";
pub(crate) const SCOPE_VERBATIM: &str = "vc:meeting.artifact.verbatim:read";
pub(crate) const SCOPE_EMPLOYEE_ID: &str = "contact:user.employee_id:readonly";

const TENANT_TOKEN_LIFE: SignedDuration = SignedDuration::from_hours(2);
/// With less than this left a new token is issued; both are valid then.
const RENEWAL_MARGIN: SignedDuration = SignedDuration::from_mins(30);
const USER_TOKEN_LIFE: SignedDuration = SignedDuration::from_hours(2);
const REFRESH_TOKEN_LIFE: SignedDuration = SignedDuration::from_hours(7 * 24);
const CODE_LIFE: SignedDuration = SignedDuration::from_mins(5);

/// On whose behalf a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// The app itself, with a tenant token.
    Tenant,
    /// A user, with a user token.
    User,
}

/// All tokens that were ever issued and are not long expired.
#[derive(Debug)]
pub(crate) struct Tokens {
    draw: Draw,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    issued: Issued,
    tenant: HashMap<String, (App, Timestamp)>,
    newest_tenant: HashMap<App, String>,
    user: HashMap<String, Timestamp>,
    refresh: HashMap<String, Refresh>,
    used_codes: BTreeSet<String>,
}

/// Which of the two apps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum App {
    Main,
    Writing,
}

/// How many tokens were issued.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Issued {
    pub(crate) tenant: u64,
    pub(crate) user: u64,
}

#[derive(Clone, Copy, Debug)]
struct Refresh {
    expires_at: Timestamp,
    was_used: bool,
}

impl Tokens {
    /// No tokens but the refresh token of the options.
    pub(crate) fn new(options: &Options) -> Self {
        let expires_at = options
            .clock
            .start()
            .saturating_add(REFRESH_TOKEN_LIFE)
            .unwrap_or(Timestamp::MAX);
        let refresh = HashMap::from([(
            options.refresh_token.clone(),
            Refresh {
                expires_at,
                was_used: false,
            },
        )]);
        Self {
            draw: Draw::new(options.seed).label("tokens"),
            state: Mutex::new(State {
                refresh,
                ..State::default()
            }),
        }
    }

    /// How many tokens were issued so far.
    pub(crate) fn issued(&self) -> Issued {
        self.lock().issued
    }

    /// Answers `tenant_access_token/internal`. Failures have HTTP status 200.
    pub(crate) fn issue_tenant(&self, params: &mut Params, options: &Options) -> Reply {
        let app_id = params.text("app_id").unwrap_or_default();
        let app_secret = params.text("app_secret").unwrap_or_default();
        let failure = |code: i64, msg: &str| {
            Reply::json(
                StatusCode::OK,
                code,
                &json!({ "code": code, "msg": msg, "data": {} }),
            )
        };
        if !app_id.starts_with("cli_") || app_secret.is_empty() {
            return failure(10_003, "invalid param");
        }
        let (app, secret) = match app_id {
            id if id == options.app_id => (App::Main, &options.app_secret),
            id if id == options.write_app_id => (App::Writing, &options.write_app_secret),
            _ => return failure(10_014, "app id not exists"),
        };
        if app_secret != *secret {
            return failure(10_015, "app secret invalid");
        }
        let now = options.clock.now();
        let (tenant_access_token, expires_at) = self.tenant_token(app, now);
        let expire = client_seconds(expires_at.duration_since(now), options);
        Reply::json(
            StatusCode::OK,
            0,
            &TenantTokenBody {
                code: 0,
                msg: "ok",
                tenant_access_token,
                expire,
            },
        )
    }

    fn tenant_token(&self, app: App, now: Timestamp) -> (String, Timestamp) {
        let mut state = self.lock();
        let newest = state
            .newest_tenant
            .get(&app)
            .and_then(|token| Some((token.clone(), state.tenant.get(token)?.1)));
        if let Some((token, expires_at)) =
            newest.filter(|(_, expires_at)| expires_at.duration_since(now) >= RENEWAL_MARGIN)
        {
            return (token, expires_at);
        }
        state.tenant.retain(|_, (_, expires_at)| *expires_at > now);
        state.issued.tenant += 1;
        let token = format!(
            "t-{}",
            self.draw
                .label("tenant")
                .at(state.issued.tenant)
                .alphanumeric(40)
        );
        let expires_at = now
            .saturating_add(TENANT_TOKEN_LIFE)
            .unwrap_or(Timestamp::MAX);
        state.tenant.insert(token.clone(), (app, expires_at));
        state.newest_tenant.insert(app, token.clone());
        (token, expires_at)
    }

    /// Answers `oauth/token`.
    pub(crate) fn issue_user(&self, params: &mut Params, options: &Options) -> Reply {
        self.user_tokens(params, options)
            .unwrap_or_else(|(code, error, description)| {
                let body =
                    json!({ "code": code, "error": error, "error_description": description });
                Reply::json(StatusCode::BAD_REQUEST, code, &body)
            })
    }

    fn user_tokens(&self, params: &mut Params, options: &Options) -> Result<Reply, OauthError> {
        let mut required = |name: &'static str| {
            params
                .text(name)
                .ok_or((20_001, "invalid_request", "required parameter is missing"))
        };
        let grant_type = required("grant_type")?;
        let client_id = required("client_id")?;
        let client_secret = required("client_secret")?;
        if client_id != options.app_id {
            return Err((20_048, "invalid_client", "the app does not exist"));
        }
        if client_secret != options.app_secret {
            return Err((20_002, "invalid_client", "the client secret is invalid"));
        }
        let now = options.clock.now();
        match grant_type.as_str() {
            "authorization_code" => {
                let code = required("code")?;
                self.use_code(&code, now, options)?;
            }
            "refresh_token" => {
                let refresh_token = required("refresh_token")?;
                self.use_refresh_token(&refresh_token, now)?;
            }
            _ => {
                return Err((
                    20_036,
                    "unsupported_grant_type",
                    "the grant type is not supported",
                ));
            }
        }
        Ok(self.new_user_tokens(now, options))
    }

    fn use_code(&self, code: &str, now: Timestamp, options: &Options) -> Result<(), OauthError> {
        if code != options.authorization_code {
            return Err((20_003, "invalid_grant", "the authorization code is invalid"));
        }
        let mut state = self.lock();
        if state.used_codes.contains(code) {
            return Err((
                20_065,
                "invalid_grant",
                "the authorization code has been used",
            ));
        }
        if now.duration_since(options.clock.start()) > CODE_LIFE {
            return Err((
                20_004,
                "invalid_grant",
                "the authorization code has expired",
            ));
        }
        state.used_codes.insert(code.to_owned());
        Ok(())
    }

    fn use_refresh_token(&self, token: &str, now: Timestamp) -> Result<(), OauthError> {
        let mut state = self.lock();
        let Some(refresh) = state.refresh.get_mut(token) else {
            return Err((20_026, "invalid_grant", "the refresh token is invalid"));
        };
        if refresh.was_used {
            return Err((20_073, "invalid_grant", "the refresh token has been used"));
        }
        if refresh.expires_at <= now {
            return Err((20_037, "invalid_grant", "the refresh token has expired"));
        }
        refresh.was_used = true;
        Ok(())
    }

    fn new_user_tokens(&self, now: Timestamp, options: &Options) -> Reply {
        let mut state = self.lock();
        state.issued.user += 1;
        let draw = self.draw.label("user").at(state.issued.user);
        // The shape of a signed token, about as long as a real one.
        let access_token = format!(
            "eyJhbGciOiJFUzI1NiJ9.{}.{}",
            draw.at(0).alphanumeric(1_200),
            draw.at(1).alphanumeric(86)
        );
        let refresh_token = format!("ur-{}", draw.at(2).alphanumeric(64));
        let later = |life: SignedDuration| now.saturating_add(life).unwrap_or(Timestamp::MAX);
        state.user.retain(|_, expires_at| {
            later(SignedDuration::ZERO).duration_since(*expires_at) < USER_TOKEN_LIFE
        });
        state
            .user
            .insert(access_token.clone(), later(USER_TOKEN_LIFE));
        state.refresh.insert(
            refresh_token.clone(),
            Refresh {
                expires_at: later(REFRESH_TOKEN_LIFE),
                was_used: false,
            },
        );
        let scopes: Vec<&str> = options.knobs.scopes.iter().map(String::as_str).collect();
        let body = UserTokenBody {
            code: 0,
            access_token,
            expires_in: client_seconds(USER_TOKEN_LIFE, options),
            refresh_token,
            refresh_token_expires_in: client_seconds(REFRESH_TOKEN_LIFE, options),
            token_type: "Bearer",
            scope: format!("{} offline_access", scopes.join(" ")),
        };
        Reply::json(StatusCode::OK, 0, &body)
    }

    /// Whose token `authorization` holds, provided that `endpoint` may be called with it.
    ///
    /// # Errors
    /// The documented code for a token that is missing, malformed, expired or of the wrong kind, for a missing scope, the missing admin role
    /// and a denied address.
    pub(crate) fn authorize(
        &self,
        authorization: Option<&str>,
        endpoint: Endpoint,
        options: &Options,
    ) -> Result<Identity, ApiError> {
        let bad_request =
            |code: i64, message: &str| ApiError::new(StatusCode::BAD_REQUEST, code, message);
        if options.knobs.address_denied {
            return Err(bad_request(
                99_991_401,
                "ip 127.0.0.1 is denied by app setting",
            ));
        }
        let token = bearer(authorization)
            .ok_or_else(|| bad_request(99_991_661, "Missing access token for authorization."))?;
        let now = options.clock.now();
        let mut app = App::Main;
        let identity = if token.starts_with("t-") {
            let known = self.lock().tenant.get(token).copied();
            let Some((of, _)) = known.filter(|(_, expires_at)| *expires_at > now) else {
                return Err(bad_request(
                    99_991_663,
                    "Invalid access token for authorization.",
                ));
            };
            app = of;
            Identity::Tenant
        } else if token.starts_with("eyJ") || token.starts_with("u-") {
            match self.lock().user.get(token) {
                None => {
                    return Err(bad_request(
                        99_991_668,
                        "Invalid access token for authorization.",
                    ));
                }
                Some(&expires_at) if expires_at <= now => {
                    return Err(bad_request(99_991_677, "Authentication token expired."));
                }
                Some(_) => Identity::User,
            }
        } else {
            return Err(bad_request(
                99_991_671,
                "Invalid access token for authorization: it must start with t- or u-.",
            ));
        };
        if identity == Identity::User && endpoint.refuses_user_tokens() {
            return Err(bad_request(99_991_668, "user access token not support"));
        }
        let knobs = &options.knobs;
        let is_granted = |&scope: &&str| {
            let for_users = identity == Identity::User && knobs.user_scopes.contains(scope);
            for_users
                || match app {
                    App::Main => knobs.scopes.contains(scope),
                    App::Writing => knobs.write_scopes.contains(scope),
                }
        };
        let scopes = endpoint.scopes(knobs.face);
        if !scopes.is_empty() && !scopes.iter().any(is_granted) {
            return Err(match identity {
                Identity::Tenant => {
                    ApiError::missing_scope(99_991_672, "action_scope_required", &scopes)
                }
                Identity::User => {
                    ApiError::missing_scope(99_991_679, "action_privilege_required", &scopes)
                }
            });
        }
        if (endpoint.is_export() || endpoint.is_query()) && !options.knobs.admin_role {
            return Err(ApiError::no_permission());
        }
        Ok(identity)
    }

    /// Answers `application/v6/scopes`: all scopes that anything here needs, and whether they are granted.
    ///
    /// # Errors
    /// 212100 for an app that is not installed, 99991201 where the path does not exist.
    pub(crate) fn scopes(options: &Options) -> Result<ScopesData, ApiError> {
        let knobs = &options.knobs;
        match knobs.scope_list {
            ScopeList::Absent => return Err(ApiError::no_such_path()),
            ScopeList::NotInstalled => {
                let message = "app not installed";
                return Err(ApiError::new(StatusCode::BAD_REQUEST, 212_100, message));
            }
            ScopeList::Plain | ScopeList::Typed | ScopeList::Renamed => {}
        }
        let needed = Endpoint::ALL.into_iter();
        let all = needed
            .flat_map(|endpoint| endpoint.scopes(knobs.face))
            .chain(OTHER_SCOPES)
            .chain([SCOPE_EMPLOYEE_ID])
            .chain(
                [SCOPE_NOTE, SCOPE_VERBATIM]
                    .into_iter()
                    .filter(|_| knobs.face == Face::Feishu),
            );
        let names: BTreeSet<String> = all
            .map(str::to_owned)
            .chain(knobs.scopes.iter().cloned())
            .chain(knobs.user_scopes.iter().cloned())
            .collect();
        let is_typed = knobs.scope_list == ScopeList::Typed;
        let item = |name: &String, kind, is_granted| ScopeItem {
            scope_name: match knobs.scope_list {
                ScopeList::Renamed => format!("other:{name}"),
                _ => name.clone(),
            },
            grant_status: if is_granted { 1 } else { 2 },
            scope_type: is_typed.then_some(kind),
        };
        let of_app = names.iter();
        let of_app = of_app.map(|name| item(name, "tenant", knobs.scopes.contains(name)));
        let of_users = names.iter().filter(|_| is_typed);
        let of_users = of_users.map(|name| {
            let is_granted = knobs.scopes.contains(name) || knobs.user_scopes.contains(name);
            item(name, "user", is_granted)
        });
        Ok(ScopesData {
            scopes: of_app.chain(of_users).collect(),
        })
    }

    /// Makes the token worthless.
    pub(crate) fn revoke(&self, authorization: Option<&str>) {
        let Some(token) = bearer(authorization) else {
            return;
        };
        let mut state = self.lock();
        state.tenant.remove(token);
        state.user.remove(token);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Code, short name and description of an OAuth failure.
type OauthError = (i64, &'static str, &'static str);

fn bearer(authorization: Option<&str>) -> Option<&str> {
    let token = authorization?.strip_prefix("Bearer ")?.trim();
    (!token.is_empty()).then_some(token)
}

/// Seconds of `life` as the client counts them, at least 1.
fn client_seconds(life: SignedDuration, options: &Options) -> u64 {
    let simulated_s = life.as_secs_f64();
    if options.real_time_headers {
        return (simulated_s / options.clock.speed()).ceil().max(1.0) as u64;
    }
    simulated_s.max(1.0) as u64
}
