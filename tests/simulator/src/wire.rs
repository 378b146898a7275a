//! The shapes that go over the wire, written from the API reference and shared with nobody.
//!
//! An answer is a [`Reply`]: status, code and body are known until the last moment, so that the report can count them. Field names here are
//! the service's.

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::knobs::Face;
use crate::limits::Refusal;

/// The envelope of every answer but those for tokens.
#[derive(Serialize)]
struct Envelope<T> {
    code: i64,
    msg: &'static str,
    data: T,
}

/// `data` of a submitted export.
#[derive(Serialize)]
pub(crate) struct Submitted {
    pub(crate) task_id: String,
}

/// `data` of a poll; `status` is 1 processing, 2 failed, 3 done.
#[derive(Serialize)]
pub(crate) struct TaskState {
    pub(crate) status: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fail_msg: Option<&'static str>,
}

/// `data` of `get_daily`. Numbers are text throughout.
#[derive(Serialize)]
pub(crate) struct DailyData {
    pub(crate) meeting_report: MeetingReport,
}

#[derive(Serialize)]
pub(crate) struct MeetingReport {
    pub(crate) total_meeting_count: String,
    pub(crate) total_meeting_duration: String,
    pub(crate) total_participant_count: String,
    pub(crate) daily_report: Vec<DailyReport>,
}

#[derive(Serialize)]
pub(crate) struct DailyReport {
    pub(crate) date: String,
    pub(crate) meeting_count: String,
    pub(crate) meeting_duration: String,
    pub(crate) participant_count: String,
}

/// `data` of `get_top_user`.
#[derive(Serialize)]
pub(crate) struct TopUserData {
    pub(crate) top_user_report: Vec<TopUser>,
}

#[derive(Serialize)]
pub(crate) struct TopUser {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) user_type: u8,
    pub(crate) meeting_count: String,
    pub(crate) meeting_duration: String,
}

/// `data` of `rooms`.
#[derive(Serialize)]
pub(crate) struct RoomsPage {
    pub(crate) rooms: Vec<RoomItem>,
    pub(crate) has_more: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) page_token: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct RoomItem {
    pub(crate) room_id: String,
    pub(crate) name: String,
    pub(crate) capacity: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    pub(crate) display_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) custom_room_id: Option<String>,
    pub(crate) room_level_id: String,
    pub(crate) path: Vec<String>,
    pub(crate) room_status: RoomStatus,
    /// `null` is as good as an empty list.
    pub(crate) device: Option<Vec<RoomDevice>>,
}

#[derive(Serialize)]
pub(crate) struct RoomStatus {
    pub(crate) status: bool,
    pub(crate) schedule_status: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) disable_start_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) disable_end_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) disable_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) contact_ids: Option<Vec<String>>,
    pub(crate) disable_notice: bool,
    pub(crate) resume_notice: bool,
}

#[derive(Serialize)]
pub(crate) struct RoomDevice {
    pub(crate) name: &'static str,
}

/// `data` of `room_levels`.
#[derive(Serialize)]
pub(crate) struct LevelsPage {
    pub(crate) items: Vec<LevelItem>,
    pub(crate) has_more: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) page_token: Option<String>,
}

/// `data` of `room_levels/:id`.
#[derive(Serialize)]
pub(crate) struct LevelData {
    pub(crate) room_level: LevelItem,
}

#[derive(Serialize)]
pub(crate) struct LevelItem {
    pub(crate) room_level_id: String,
    pub(crate) name: String,
    pub(crate) parent_id: String,
    pub(crate) path: Vec<String>,
    pub(crate) has_child: bool,
    pub(crate) custom_group_id: String,
}

/// `data` of `alerts`.
#[derive(Serialize)]
pub(crate) struct AlertsPage {
    pub(crate) items: Vec<AlertItem>,
    pub(crate) has_more: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) page_token: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct AlertItem {
    pub(crate) alert_id: String,
    pub(crate) resource_scope: String,
    pub(crate) monitor_target: u8,
    pub(crate) alert_strategy: &'static str,
    pub(crate) alert_time: String,
    pub(crate) alert_level: u8,
    pub(crate) contacts: Vec<AlertContact>,
    #[serde(rename = "notifyMethods")]
    pub(crate) notify_methods: Value,
    #[serde(rename = "alertRule")]
    pub(crate) alert_rule: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) process_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) recover_time: Option<String>,
    pub(crate) process_status: u8,
    pub(crate) alert_rule_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) monitor_target_room_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) monitor_target_room_mac: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct AlertContact {
    pub(crate) contact_type: u8,
    pub(crate) contact_name: String,
}

/// `data` of `application/v6/scopes`.
#[derive(Serialize)]
pub(crate) struct ScopesData {
    pub(crate) scopes: Vec<ScopeItem>,
}

#[derive(Serialize)]
pub(crate) struct ScopeItem {
    pub(crate) scope_name: String,
    pub(crate) grant_status: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) scope_type: Option<&'static str>,
}

/// The flat answer with a tenant token.
#[derive(Serialize)]
pub(crate) struct TenantTokenBody {
    pub(crate) code: i64,
    pub(crate) msg: &'static str,
    pub(crate) tenant_access_token: String,
    pub(crate) expire: u64,
}

/// The flat answer with user tokens.
#[derive(Serialize)]
pub(crate) struct UserTokenBody {
    pub(crate) code: i64,
    pub(crate) access_token: String,
    pub(crate) expires_in: u64,
    pub(crate) refresh_token: String,
    pub(crate) refresh_token_expires_in: u64,
    pub(crate) token_type: &'static str,
    pub(crate) scope: String,
}

/// A parameter that is missing or wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct FieldViolation {
    pub(crate) field: String,
    pub(crate) value: String,
    pub(crate) description: String,
}

/// An answer that is an error: status, code and text, and what the error object adds.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) code: i64,
    pub(crate) message: String,
    detail: Detail,
}

#[derive(Debug)]
enum Detail {
    None,
    Fields(Vec<FieldViolation>),
    Permissions {
        kind: &'static str,
        subjects: Vec<String>,
    },
    RateLimit(Refusal),
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: i64, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            detail: Detail::None,
        }
    }

    /// 99991201: nothing is at the path.
    pub(crate) fn no_such_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, 99_991_201, "404 page not found")
    }

    /// 121003: a value out of its range.
    pub(crate) fn param(message: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            121_003,
            format!("param error: {message}"),
        )
    }

    /// 121004: nothing is there.
    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, 121_004, "data not exist")
    }

    /// 121005: not with this token, or not without the admin role.
    pub(crate) fn no_permission() -> Self {
        Self::new(StatusCode::FORBIDDEN, 121_005, "no permission")
    }

    /// 99991403: the month's calls of the tenant's edition are used up.
    pub(crate) fn quota_used_up() -> Self {
        let message = "This month's API call quota has been exceeded";
        Self::new(StatusCode::BAD_REQUEST, 99_991_403, message)
    }

    /// 99992402: parameters that are missing or malformed.
    pub(crate) fn fields(violations: Vec<FieldViolation>) -> Self {
        let detail = Detail::Fields(violations);
        Self {
            status: StatusCode::BAD_REQUEST,
            code: 99_992_402,
            message: "field validation failed".to_owned(),
            detail,
        }
    }

    /// A missing scope: 99991672 for an app, 99991679 for a user.
    pub(crate) fn missing_scope(code: i64, kind: &'static str, scopes: &[&str]) -> Self {
        let message = format!(
            "Access denied. One of the following scopes is required: [{}].",
            scopes.join(", ")
        );
        let detail = Detail::Permissions {
            kind,
            subjects: scopes.iter().map(|&scope| scope.to_owned()).collect(),
        };
        Self {
            status: StatusCode::BAD_REQUEST,
            code,
            message,
            detail,
        }
    }

    /// 99991400, with HTTP 429 or 400.
    pub(crate) fn rate_limit(refusal: Refusal, as_400: bool) -> Self {
        let status = if as_400 {
            StatusCode::BAD_REQUEST
        } else {
            StatusCode::TOO_MANY_REQUESTS
        };
        Self {
            status,
            code: 99_991_400,
            message: "request trigger frequency limit".to_owned(),
            detail: Detail::RateLimit(refusal),
        }
    }

    /// The answer, with the error object that real bodies have. Lark's speak English only.
    pub(crate) fn into_reply(self, face: Face, log_id: &str) -> Reply {
        let suggestions = match face {
            Face::Feishu => "排查建议查看(Troubleshooting suggestions)",
            Face::Lark => "Troubleshooting suggestions",
        };
        let mut error = json!({
            "message": "Refer to the documentation to fix the error",
            "log_id": log_id,
            "troubleshooter": format!(
                "{suggestions}: https://{}/search?from=openapi&log_id={log_id}&code={}",
                face.platform(),
                self.code
            ),
        });
        let mut headers = Vec::new();
        match self.detail {
            Detail::None => {}
            Detail::Fields(violations) => error["field_violations"] = json!(violations),
            Detail::Permissions { kind, subjects } => {
                let violation = |subject: String| json!({ "type": kind, "subject": subject });
                error["permission_violations"] = subjects.into_iter().map(violation).collect();
            }
            Detail::RateLimit(refusal) => {
                headers.extend(refusal.headers());
            }
        }
        let body = json!({ "code": self.code, "msg": self.message, "error": error });
        Reply {
            headers,
            ..Reply::json(self.status, self.code, &body)
        }
    }
}

impl Refusal {
    /// The headers that announce it.
    pub(crate) fn headers(self) -> [(HeaderName, String); 2] {
        [
            (
                HeaderName::from_static("x-ogw-ratelimit-limit"),
                self.limit.to_string(),
            ),
            (
                HeaderName::from_static("x-ogw-ratelimit-reset"),
                self.reset_s.to_string(),
            ),
        ]
    }
}

/// An answer before it is sent.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    /// The service's code; 0 for a file, -1 for a body without one.
    pub(crate) code: i64,
    pub(crate) headers: Vec<(HeaderName, String)>,
    pub(crate) content_type: &'static str,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// A JSON body as it is.
    pub(crate) fn json(status: StatusCode, code: i64, body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("wire types have only text keys");
        Self {
            status,
            code,
            headers: Vec::new(),
            content_type: "application/json; charset=utf-8",
            body,
        }
    }

    /// `data` in the envelope.
    pub(crate) fn data(data: impl Serialize) -> Self {
        Self::json(
            StatusCode::OK,
            0,
            &Envelope {
                code: 0,
                msg: "success",
                data,
            },
        )
    }

    /// A workbook.
    pub(crate) fn workbook(body: Vec<u8>, file_name: &str) -> Self {
        let disposition =
            format!("attachment; filename=\"{file_name}\"; filename*=UTF-8''{file_name}");
        Self {
            status: StatusCode::OK,
            code: 0,
            headers: vec![(CONTENT_DISPOSITION, disposition)],
            content_type: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            body,
        }
    }

    /// A page, as gateways and captive portals send.
    pub(crate) fn page(status: StatusCode, text: &str) -> Self {
        let body =
            format!("<html><head><title>{text}</title></head><body><h1>{text}</h1></body></html>")
                .into_bytes();
        Self {
            status,
            code: -1,
            headers: Vec::new(),
            content_type: "text/html",
            body,
        }
    }

    /// The HTTP answer.
    pub(crate) fn into_response(self, log_id: &str) -> Response<Body> {
        let mut response = Response::new(Body::from(Bytes::from(self.body)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        for (name, value) in self
            .headers
            .iter()
            .map(|(name, value)| (name, value.as_str()))
        {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        }
        if let Ok(value) = HeaderValue::from_str(log_id) {
            headers.insert("x-tt-logid", value.clone());
            headers.insert("x-request-id", value);
        }
        response
    }
}

/// A log id: the instant in 14 digits and 20 hexadecimal ones.
pub(crate) fn log_id(now: Timestamp, tail: &str) -> String {
    format!("{}{}", now.strftime("%Y%m%d%H%M%S"), tail.to_uppercase())
}

/// A JSON value as the text that a query would carry; `None` for a list or an object.
pub(crate) fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
