//! The HTTP surface: every request takes the same way through faults, tokens and limits to its endpoint.
//!
//! ```text
//! count ─► faults of the network ─► token, scope, role ─► limit ─► endpoint ─► count the answer
//! ```
//!
//! The order of the middle two means that a call with a bad token does not count against the limit.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::request::Parts;
use axum::http::{Method, Response, StatusCode};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::Options;
use crate::auth::Tokens;
use crate::company::{Company, FIRST_ROOMS, MOST_MEETINGS_PER_DAY};
use crate::endpoint::{Endpoint, Route};
use crate::events::{self, Sender, SentEvent};
use crate::exports::{Exports, Mishap};
use crate::faults::{Fault, FaultKind, Faults};
use crate::feed::{self, Feed};
use crate::limits::Limits;
use crate::line::{self, Cutter};
use crate::link::{self, Hub, LinkFaults, LinkReport};
use crate::params::Params;
use crate::press::Press;
use crate::random::Draw;
use crate::report::{Report, Tally};
use crate::reserves::{self, Reserves};
use crate::rooms::RoomOrder;
use crate::wire::{ApiError, Reply, log_id};
use crate::{alerts, configs, meetings, queries, reports, rooms, workbook};

/// Requests are small; a larger body is cut off with an error.
const LARGEST_BODY_BYTES: usize = 1 << 20;
/// How much later a slow answer comes, in simulated time.
const SLOWNESS: Duration = Duration::from_secs(20);
/// More rooms than any company has; every page of a listing goes through all of them.
const MOST_ROOMS: usize = 100_000;

/// A running simulator. Dropping it stops it.
#[derive(Debug)]
pub struct Server {
    app: Arc<App>,
    base_url: String,
    shutdown: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

#[derive(Debug)]
pub(crate) struct App {
    pub(crate) options: Options,
    pub(crate) company: Company,
    tokens: Tokens,
    limits: Limits,
    faults: Faults,
    exports: Exports,
    press: Press,
    reserves: Reserves,
    room_order: RoomOrder,
    query_order: RoomOrder,
    tally: Tally,
    draw: Draw,
    pub(crate) hub: Arc<Hub>,
    pub(crate) feed: Feed,
}

impl Server {
    /// Makes the company and begins to answer on `listener`, on the current runtime.
    ///
    /// # Errors
    /// A time zone that does not exist, no days, more meetings a day than there are numbers for,
    /// too few or too many rooms, or a listener without an address.
    pub fn start(listener: TcpListener, options: Options) -> anyhow::Result<Self> {
        let zone = TimeZone::get(&options.time_zone)
            .with_context(|| format!("time zone {:?}", options.time_zone))?;
        anyhow::ensure!(options.days > 0, "a company needs at least one day");
        anyhow::ensure!(
            options.meetings_per_day <= MOST_MEETINGS_PER_DAY,
            "at most {MOST_MEETINGS_PER_DAY} meetings a day"
        );
        anyhow::ensure!(
            options.quota_scale.is_finite() && options.quota_scale > 0.0,
            "the quota's scale must be positive"
        );
        let rooms = options.knobs.rooms.unwrap_or(FIRST_ROOMS);
        anyhow::ensure!(
            (FIRST_ROOMS..=MOST_ROOMS).contains(&rooms),
            "a company has {FIRST_ROOMS} to {MOST_ROOMS} rooms"
        );
        let mut company = Company::new(
            options.seed,
            options.last_day,
            options.days,
            options.meetings_per_day,
            zone,
        )
        .with_rooms(rooms);
        if options.knobs.rooms_change {
            company = company.with_changing_rooms();
        }
        let address = listener.local_addr().context("address of the listener")?;
        let app = Arc::new(App {
            company,
            tokens: Tokens::new(&options),
            limits: Limits::new(
                &options.knobs,
                options.quota_scale,
                options.clock.clone(),
                options.real_time_headers,
            ),
            faults: Faults::new(options.seed, &options.faults),
            exports: Exports::new(options.seed),
            press: Press::start()?,
            reserves: Reserves::new(options.seed),
            room_order: RoomOrder::default(),
            query_order: RoomOrder::default(),
            tally: Tally::default(),
            draw: Draw::new(options.seed).label("server"),
            hub: Arc::new(Hub::new(
                options.clock.clone(),
                options.event_pause,
                Draw::new(options.seed).label("link"),
            )),
            feed: Feed::default(),
            options,
        });
        if let Some(every) = app.options.event_every {
            tokio::spawn(feed::tell(Arc::downgrade(&app), every));
        }
        let (shutdown, stopped) = oneshot::channel::<()>();
        let stopped = async {
            // Stopped, or the server was dropped: both mean to end.
            let _ = stopped.await;
        };
        let router = {
            let app = Arc::clone(&app);
            move |cutter| {
                Router::new()
                    .fallback(answer)
                    .with_state((Arc::clone(&app), cutter))
            }
        };
        let serving = tokio::spawn(line::serve(listener, router, stopped));
        Ok(Self {
            app,
            base_url: format!("http://{address}"),
            shutdown,
            serving,
        })
    }

    /// Where the API is, such as `http://127.0.0.1:4010`, without a slash at the end.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// What the server was started with.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.app.options
    }

    /// The truth behind the answers.
    #[must_use]
    pub fn company(&self) -> &Company {
        &self.app.company
    }

    /// First civil day with data.
    #[must_use]
    pub fn first_day(&self) -> Date {
        self.app.company.first_day()
    }

    /// Last civil day with data.
    #[must_use]
    pub fn last_day(&self) -> Date {
        self.app.company.last_day()
    }

    /// What was received so far.
    #[must_use]
    pub fn report(&self) -> Report {
        self.app.report()
    }

    /// Replaces the faults that are switched on; counts such as `x3` begin anew.
    pub fn set_faults(&self, faults: &[Fault]) {
        self.app.faults.set(faults);
    }

    /// Sends the events of the meetings that begin in `[start, end)` to whoever has a long connection, now or later, and gives them back.
    pub fn send_events(&self, start: Timestamp, end: Timestamp) -> Vec<SentEvent> {
        let events = self.app.events_of(start, end);
        self.app.hub.send(&events);
        events
    }

    /// The same events, which nobody is sent.
    #[must_use]
    pub fn events_in(&self, start: Timestamp, end: Timestamp) -> Vec<SentEvent> {
        self.app.events_of(start, end)
    }

    /// Sends any events.
    pub fn send(&self, events: &[SentEvent]) {
        self.app.hub.send(events);
    }

    /// Replaces what goes wrong on the long connection.
    pub fn set_link_faults(&self, faults: LinkFaults) {
        self.app.hub.set_faults(faults);
    }

    /// How many events are still to be sent or acknowledged.
    #[must_use]
    pub fn events_waiting(&self) -> usize {
        self.app.hub.waiting()
    }

    /// What became of the events.
    #[must_use]
    pub fn link_report(&self) -> LinkReport {
        self.app.hub.report()
    }

    /// Stops accepting, lets the answers under way end for at most two seconds, and closes.
    pub async fn stop(self) {
        // The receiver is gone only when serving has ended already.
        let _ = self.shutdown.send(());
        // An error means that serving was aborted with the runtime, which is as good.
        let _ = self.serving.await;
    }
}

/// A request to an endpoint of the API.
struct Call<'a> {
    endpoint: Endpoint,
    /// The id in the path; empty where there is none.
    id: String,
    /// Its number on the endpoint, from 0.
    number: u64,
    method: Method,
    authorization: Option<&'a str>,
    query: &'a str,
    body: &'a [u8],
}

async fn answer(
    State((app, cutter)): State<(Arc<App>, Cutter)>,
    request: Request,
) -> Response<Body> {
    if request.uri().path() == link::SOCKET {
        return app.hub.connect(request);
    }
    let (parts, body) = request.into_parts();
    let log_id = app.log_id(&parts);
    let body = match to_bytes(body, LARGEST_BODY_BYTES).await {
        Ok(body) => body,
        Err(_) => {
            let error = ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                9_499,
                "Bad Request: body is too large or broken",
            );
            return error
                .into_reply(app.options.knobs.face, &log_id)
                .into_response(&log_id);
        }
    };
    let reply = match Route::of(&parts.method, parts.uri.path()) {
        Route::Api(endpoint, id) => {
            let number = app
                .tally
                .request(endpoint, app.options.clock.now().as_microsecond());
            let authorization = parts
                .headers
                .get(AUTHORIZATION)
                .and_then(|value| value.to_str().ok());
            let query = parts.uri.query().unwrap_or("");
            let call = Call {
                endpoint,
                id,
                number,
                method: parts.method.clone(),
                authorization,
                query,
                body: &body,
            };
            app.answer(call, &cutter, &log_id).await
        }
        Route::Discovery => {
            let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
            let answer = app
                .hub
                .discover(&body, host.unwrap_or_default(), &app.options);
            Reply::json(StatusCode::OK, 0, &answer)
        }
        Route::Report => Reply::json(StatusCode::OK, 0, &app.report()),
        Route::Company => Reply::json(StatusCode::OK, 0, &app.summary()),
        Route::Faults => app.put_faults(&body),
        Route::Events => app.tell_now(&parts.method, &body),
        Route::WrongMethod => ApiError::new(
            StatusCode::METHOD_NOT_ALLOWED,
            99_991_301,
            "method not allowed",
        )
        .into_reply(app.options.knobs.face, &log_id),
        Route::NotFound => ApiError::no_such_path().into_reply(app.options.knobs.face, &log_id),
    };
    reply.into_response(&log_id)
}

impl App {
    async fn answer(self: &Arc<Self>, call: Call<'_>, cutter: &Cutter, log_id: &str) -> Reply {
        let strikes = |kind| self.faults.strikes(kind, call.endpoint, call.number);
        if strikes(FaultKind::Slow) {
            self.options.clock.sleep(SLOWNESS).await;
        }
        if strikes(FaultKind::Drop) {
            return self.drop_connection(&call, cutter).await;
        }
        let result = if strikes(FaultKind::ServerError) {
            self.server_error(&call)
        } else if strikes(FaultKind::Html200) {
            Ok(Reply::page(StatusCode::OK, "Please log in to the network"))
        } else {
            self.admit_and_serve(&call, cutter).await
        };
        let reply =
            result.unwrap_or_else(|error| error.into_reply(self.options.knobs.face, log_id));
        self.tally
            .answer(call.endpoint, reply.status.as_u16(), reply.code);
        reply
    }

    /// Breaks the connection; every other time only after the request has had its effect, so that an export can be accepted
    /// without its client knowing.
    async fn drop_connection(self: &Arc<Self>, call: &Call<'_>, cutter: &Cutter) -> Reply {
        if !call.number.is_multiple_of(2) {
            // Nobody will see the answer, whatever it is.
            let _ = self.admit_and_serve(call, cutter).await;
        }
        cutter.cut_after(0);
        Reply::page(StatusCode::OK, "never sent")
    }

    /// An error of the service itself or of the gateway before it.
    fn server_error(&self, call: &Call<'_>) -> Result<Reply, ApiError> {
        let draw = self
            .draw
            .label("5xx")
            .label(call.endpoint.name())
            .at(call.number);
        match draw.below(4) {
            0 => Ok(Reply::page(StatusCode::BAD_GATEWAY, "502 Bad Gateway")),
            1 => Ok(Reply::page(
                StatusCode::SERVICE_UNAVAILABLE,
                "503 Service Temporarily Unavailable",
            )),
            2 => Ok(Reply::page(
                StatusCode::GATEWAY_TIMEOUT,
                "504 Gateway Time-out",
            )),
            _ => {
                let (code, message) = if call.endpoint.is_token() {
                    (2_200, "Internal Error")
                } else {
                    (121_001, "internal error")
                };
                Err(ApiError::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    code,
                    message,
                ))
            }
        }
    }

    async fn admit_and_serve(
        self: &Arc<Self>,
        call: &Call<'_>,
        cutter: &Cutter,
    ) -> Result<Reply, ApiError> {
        let strikes = |kind| self.faults.strikes(kind, call.endpoint, call.number);
        let as_400 = self.options.knobs.rate_limit_as_400;
        let limit = |refusal| ApiError::rate_limit(refusal, as_400);
        if call.endpoint == Endpoint::ListMeetings && !self.options.knobs.lists_meetings {
            return Err(ApiError::no_such_path());
        }
        if call.endpoint.is_token() {
            self.limits.admit(call.endpoint).map_err(limit)?;
            return self.issue_token(call);
        }
        if strikes(FaultKind::ExpiredToken) {
            self.tokens.revoke(call.authorization);
        }
        let identity = self
            .tokens
            .authorize(call.authorization, call.endpoint, &self.options)?;
        if strikes(FaultKind::PermissionDenied) {
            return Err(ApiError::no_permission());
        }
        if strikes(FaultKind::QuotaUsedUp) {
            return Err(ApiError::quota_used_up());
        }
        if strikes(FaultKind::RateLimit) {
            return Err(limit(self.limits.refuse(call.endpoint)));
        }
        self.limits.admit(call.endpoint).map_err(limit)?;

        let (company, options) = (&self.company, &self.options);
        let mut params = self.params(call)?;
        params.refuse(call.endpoint.unknown_parameters(options.knobs.face));
        let mut reply = match call.endpoint {
            Endpoint::Scopes => Reply::data(Tokens::scopes(options)?),
            kind if kind.is_query() => {
                let order = &self.query_order;
                Reply::data(queries::list(kind, &mut params, company, options, order)?)
            }
            Endpoint::ListMeetings => Reply::data(queries::undocumented(&mut params, company)?),
            Endpoint::MgetRooms => Reply::data(rooms::mget(&mut params, company, options)?),
            Endpoint::ScopeConfig => {
                Reply::data(configs::scope_config(&mut params, company, options)?)
            }
            Endpoint::ReserveScope
            | Endpoint::ReserveForm
            | Endpoint::ReserveAdmin
            | Endpoint::ReserveDisableInform => {
                let (endpoint, id) = (call.endpoint, &call.id);
                let told = configs::reserve_config(endpoint, id, &mut params, company, options)?;
                Reply::data(told)
            }
            Endpoint::GetReserve => {
                Reply::data(self.reserves.get(&call.id, &mut params, company, options)?)
            }
            Endpoint::ActiveMeeting => Reply::data(reserves::active_meeting(
                &call.id,
                &mut params,
                company,
                options,
            )?),
            Endpoint::WriteReserve => {
                let reserves = &self.reserves;
                Reply::data(reserves.write(&call.method, &call.id, &mut params, options)?)
            }
            Endpoint::WriteRooms => Reply::data(json!({})),
            Endpoint::GetDaily => Reply::data(reports::daily(&mut params, company, options)?),
            Endpoint::GetTopUser => Reply::data(reports::top_user(&mut params, company, options)?),
            Endpoint::Rooms => {
                let order = &self.room_order;
                Reply::data(rooms::list(&mut params, company, options, order)?)
            }
            Endpoint::RoomLevels => Reply::data(rooms::levels(&mut params, company, options)?),
            Endpoint::RoomLevel => Reply::data(rooms::level(&call.id, company)?),
            Endpoint::Alerts => Reply::data(alerts::list(&mut params, company, options)?),
            Endpoint::MeetingListByNo => {
                let mut list = meetings::list_by_no(&mut params, company, options)?;
                if strikes(FaultKind::Short) {
                    let briefs = list["meeting_briefs"].as_array_mut();
                    briefs.and_then(Vec::pop);
                }
                Reply::data(list)
            }
            Endpoint::Meeting => {
                Reply::data(meetings::detail(&call.id, &mut params, company, options)?)
            }
            Endpoint::Recording => Reply::data(meetings::recording(&call.id, company, options)?),
            Endpoint::Poll => {
                let polled = self.exports.poll(&call.id, identity, options.clock.now())?;
                self.tally.polled(&call.id, polled.finished_after);
                Reply::data(polled.state)
            }
            Endpoint::Download => self.download(call, &mut params, identity, cutter).await?,
            _ => {
                let mishap = Mishap {
                    fails: strikes(FaultKind::Failed),
                    is_stuck: strikes(FaultKind::Stuck),
                    is_empty: strikes(FaultKind::Empty),
                    is_short: strikes(FaultKind::Short),
                };
                let submitted = self.exports.submit(
                    call.endpoint,
                    &mut params,
                    identity,
                    mishap,
                    company,
                    options,
                )?;
                self.tally
                    .submitted(call.endpoint, &params.canonical(), &submitted.task_id);
                Reply::data(submitted)
            }
        };
        if options.knobs.rate_headers {
            reply
                .headers
                .extend(self.limits.standing(call.endpoint).headers());
        }
        // What is only counted may have any parameters.
        if call.endpoint != Endpoint::WriteRooms {
            self.tally
                .unknown_parameters(call.endpoint, params.unknown());
        }
        Ok(reply)
    }

    fn params(&self, call: &Call<'_>) -> Result<Params, ApiError> {
        let has_body = call.endpoint.is_write() && !call.body.is_empty();
        let is_post = matches!(call.endpoint, Endpoint::MgetRooms);
        if call.endpoint.is_submit() || call.endpoint.is_token() || has_body || is_post {
            return Params::from_body(call.body, call.query);
        }
        Ok(Params::from_query(call.query))
    }

    fn issue_token(&self, call: &Call<'_>) -> Result<Reply, ApiError> {
        let mut params = self.params(call)?;
        Ok(match call.endpoint {
            Endpoint::TenantToken => self.tokens.issue_tenant(&mut params, &self.options),
            _ => self.tokens.issue_user(&mut params, &self.options),
        })
    }

    async fn download(
        self: &Arc<Self>,
        call: &Call<'_>,
        params: &mut Params,
        identity: crate::auth::Identity,
        cutter: &Cutter,
    ) -> Result<Reply, ApiError> {
        let file_token = params.required_text("file_token");
        params.check()?;
        let task = self
            .exports
            .file(&file_token, identity, self.options.clock.now())?;
        if self
            .faults
            .strikes(FaultKind::GoneFile, call.endpoint, call.number)
        {
            task.lose_file();
            return Err(ApiError::not_found());
        }
        let file_name = task.file_name();
        let app = Arc::clone(self);
        // A day of quality data takes tens of milliseconds: not on a thread that answers others.
        let made = self.press.make(move || {
            let knobs = &app.options.knobs;
            if let Some(path) = &knobs.export_file {
                return Ok(std::fs::read(path)?);
            }
            let table = task.table(&app.company, knobs);
            Ok(workbook::bytes(&table, knobs.extra_sheets)?)
        });
        let internal =
            |message: String| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, 121_001, message);
        let mut file = made.await.map_err(|error| internal(error.to_string()))?;
        self.tally.downloaded(file.len() as u64);
        if self
            .faults
            .strikes(FaultKind::Truncated, call.endpoint, call.number)
        {
            let half = file.len() / 2;
            if call.number.is_multiple_of(2) {
                file.truncate(half);
            } else {
                // The headers are much shorter than half a file, so the cut falls into the file.
                cutter.cut_after(half as u64);
            }
        }
        Ok(Reply::workbook(file, &file_name))
    }

    fn put_faults(&self, body: &[u8]) -> Reply {
        let refused = |message: String| {
            Reply::json(
                StatusCode::BAD_REQUEST,
                -1,
                &json!({ "code": -1, "msg": message }),
            )
        };
        let Ok(texts) = serde_json::from_slice::<Vec<String>>(body) else {
            return refused(
                "the body must be a JSON array of strings such as [\"429:0.05\"]".to_owned(),
            );
        };
        let faults: Result<Vec<Fault>, _> = texts.iter().map(|text| Fault::parse(text)).collect();
        match faults {
            Ok(faults) => {
                self.faults.set(&faults);
                let active: Vec<String> = faults.iter().map(Fault::to_string).collect();
                Reply::data(json!({ "faults": active }))
            }
            Err(error) => refused(error.to_string()),
        }
    }

    /// What became of the events, or the next one, told now.
    fn tell_now(self: &Arc<Self>, method: &Method, body: &[u8]) -> Reply {
        if method == Method::GET {
            let report = self.hub.report();
            return Reply::data(json!({
                "sent": report.sent.len(), "acknowledged": report.acknowledged.len(),
                "open_connections": report.open, "connections": report.connections,
            }));
        }
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        match self.feed.next(self, asked["type"].as_str()) {
            Some(event) => {
                let told = json!({
                    "event_id": event.id, "event_type": event.event_type, "at": event.at.to_string(),
                });
                self.tell(event);
                Reply::data(told)
            }
            None => Reply::json(
                StatusCode::NOT_FOUND,
                -1,
                &json!({ "code": -1, "msg": "no such event is left to be told" }),
            ),
        }
    }

    /// An event would reach somebody.
    pub(crate) fn is_listened_to(&self) -> bool {
        self.options.webhook.is_some() || self.hub.is_connected()
    }

    /// Sends an event the way that the options say.
    pub(crate) fn tell(self: &Arc<Self>, event: SentEvent) {
        match self.options.webhook {
            Some(address) => {
                tokio::spawn(feed::deliver(Arc::clone(self), address, event));
            }
            None => self.hub.send(&[event]),
        }
    }

    pub(crate) fn events_of(&self, start: Timestamp, end: Timestamp) -> Vec<SentEvent> {
        let sender = Sender {
            app_id: &self.options.app_id,
            tenant_key: self.options.knobs.face.tenant_key(),
            verification_token: &self.options.verification_token,
            draw: self.draw.label("events"),
        };
        events::of_days(&self.company, sender, start, end)
    }

    fn report(&self) -> Report {
        let issued = self.tokens.issued();
        Report {
            seconds_since_start: self.options.clock.real_elapsed_s(),
            simulated_seconds_since_start: self.options.clock.elapsed_s(),
            tenant_tokens_issued: issued.tenant,
            user_tokens_issued: issued.user,
            faults_struck: self.faults.struck(),
            ..self.tally.report()
        }
    }

    fn summary(&self) -> Value {
        let company = &self.company;
        let now = self.options.clock.now();
        json!({
            "seed": self.options.seed,
            "time_zone": self.options.time_zone,
            "now": now.to_string(),
            "first_day": company.first_day().to_string(),
            "last_day": company.last_day().to_string(),
            "employees": company.employees().len(),
            "rooms": company.rooms().len(),
            "room_levels": company.room_levels().len(),
            "reserves": company.reserves().into_iter().map(|of| of.reserve_id).collect::<Vec<_>>(),
            "days": company.day_summaries(now),
        })
    }

    fn log_id(&self, parts: &Parts) -> String {
        let now = self.options.clock.now();
        let tail = self
            .draw
            .label(parts.uri.path())
            .at(now.as_microsecond().unsigned_abs())
            .hex(20);
        log_id(now, &tail)
    }
}
