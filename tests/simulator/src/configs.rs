//! Configurations of rooms and levels, as they are told: `scope_config` and the four parts of `reserve_configs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use crate::Options;
use crate::company::{Company, ConfigNode, Employee, Material, NodeConfig, ReserveRules, Signage};
use crate::endpoint::Endpoint;
use crate::exports::{IdType, id_type};
use crate::params::Params;
use crate::wire::ApiError;

/// How often an address was signed; each answer signs them anew.
static SIGNED: AtomicU64 = AtomicU64::new(0);

/// The node that is asked for, if it is there and of the kind that is said.
fn node(company: &Company, options: &Options, scope_type: i64, id: &str) -> Option<ConfigNode> {
    let date = company.date_of(options.clock.now());
    let rooms = company.rooms_on(date);
    let vanished = rooms.iter().rev().take(options.knobs.rooms_vanish);
    match scope_type {
        1 => {
            let mut levels = company.room_levels().iter();
            let level = levels.find(|level| level.room_level_id == id)?;
            Some(ConfigNode::Level(level.clone()))
        }
        2 => {
            let is_gone = vanished.into_iter().any(|room| room.room_id == id);
            let room = rooms
                .iter()
                .find(|room| room.room_id == id)
                .filter(|_| !is_gone)?;
            Some(ConfigNode::Room(Arc::clone(room)))
        }
        _ => None,
    }
}

/// Answers `scope_config`.
///
/// # Errors
/// 99992402 for parameters that are missing, 121004 for a node that is not there or of the other kind.
pub(crate) fn scope_config(
    params: &mut Params,
    company: &Company,
    options: &Options,
) -> Result<Value, ApiError> {
    let id = params.required_text("scope_id");
    let scope_type = params.integer_in("scope_type", 1, 2);
    let scope_type = params.require("scope_type", scope_type).unwrap_or_default();
    let id_type = id_type(params);
    params.check()?;
    id_type.check_scope(&options.knobs)?;
    let node = node(company, options, scope_type, &id).ok_or_else(ApiError::not_found)?;
    let told = |scope_type: i64, id: &str, config: &NodeConfig| {
        let mut values = values(config);
        if let (ConfigNode::Room(room), true) = (&node, id == node.id()) {
            let status = crate::rooms::room_status(room, id_type);
            let status = serde_json::to_value(status).expect("a wire type");
            values.insert("room_status".to_owned(), status);
        }
        json!({ "scope_type": scope_type, "scope_id": id, "scope_config": values })
    };
    let own = company.own_config(&node);
    let mut origins = Vec::new();
    // A node of which nothing is set is left out; a room always has its status.
    if !own.is_empty() || scope_type == 2 {
        origins.push(told(scope_type, &id, &own));
    }
    for above in node.above() {
        let Some(level) = company.room_level(&above) else {
            continue;
        };
        let config = company.own_config(&ConfigNode::Level(level.clone()));
        if !config.is_empty() {
            origins.push(told(1, &above, &config));
        }
    }
    Ok(json!({
        "current_config": told(scope_type, &id, &company.effective_config(&node)),
        "origin_configs": origins,
    }))
}

fn values(config: &NodeConfig) -> Map<String, Value> {
    let mut values = Map::new();
    let picture = |name: &String| Value::from(url(name));
    for (member, value) in [
        ("room_background", config.background.as_ref().map(picture)),
        (
            "display_background",
            config.board_background.as_ref().map(picture),
        ),
        ("digital_signage", config.signage.as_ref().map(signage)),
        (
            "room_box_digital_signage",
            config.box_signage.as_ref().map(signage),
        ),
    ] {
        values.extend(value.map(|value| (member.to_owned(), value)));
    }
    values
}

fn url(name: &str) -> String {
    let sign = SIGNED.fetch_add(1, Ordering::Relaxed);
    format!("https://sf.example.com/{name}?sign={sign}")
}

fn signage(signage: &Signage) -> Value {
    let material = |material: &Material| {
        json!({
            "id": material.id, "name": material.name, "material_type": material.kind,
            "url": url(&material.id), "cover": url(&material.md5), "duration": material.duration_s,
            "md5": material.md5, "vid": material.vid, "size": material.size_bytes.to_string(),
        })
    };
    json!({
        "if_cover_child_scope": signage.covers_children, "enable": signage.enabled,
        "mute": signage.muted, "start_display": signage.start_min,
        "stop_display": signage.stop_min,
        "materials": signage.materials.iter().map(material).collect::<Vec<_>>(),
    })
}

/// Answers one part of `reserve_configs`.
///
/// # Errors
/// 99992402 for parameters that are missing, 126001 for a node that is not there or of the other kind, 126002 without a form, 125002 for
/// an edition that is too small, 121005 for what is withheld.
pub(crate) fn reserve_config(
    endpoint: Endpoint,
    id: &str,
    params: &mut Params,
    company: &Company,
    options: &Options,
) -> Result<Value, ApiError> {
    let id = match endpoint {
        Endpoint::ReserveScope => params.required_text("scope_id"),
        _ => id.to_owned(),
    };
    let scope_type = params.integer_in("scope_type", 1, 2);
    let scope_type = params.require("scope_type", scope_type).unwrap_or_default();
    let id_type = id_type(params);
    params.check()?;
    id_type.check_scope(&options.knobs)?;
    let refuse = |code, message: &str| ApiError::new(StatusCode::BAD_REQUEST, code, message);
    let node = node(company, options, scope_type, &id)
        .ok_or_else(|| refuse(126_001, "invalid scope id"))?;
    let rules = company.reserve_rules(&node);
    let told = Rules {
        rules: &rules,
        id_type,
    };
    Ok(match endpoint {
        Endpoint::ReserveScope => told.scope(),
        Endpoint::ReserveForm => told
            .form()
            .ok_or_else(|| refuse(126_002, "reserve form not configured"))?,
        Endpoint::ReserveAdmin if !options.knobs.admins_offered => {
            return Err(refuse(125_002, "need upgrade tenant plan"));
        }
        Endpoint::ReserveAdmin => told.admin(),
        _ if is_withheld(company, options, &id) => return Err(ApiError::no_permission()),
        _ => told.inform(),
    })
}

fn is_withheld(company: &Company, options: &Options, id: &str) -> bool {
    let rooms = company.rooms().iter().take(options.knobs.notices_withheld);
    rooms.into_iter().any(|room| room.room_id == id)
}

struct Rules<'r> {
    rules: &'r ReserveRules,
    id_type: IdType,
}

impl Rules<'_> {
    fn users(&self, users: &[Arc<Employee>]) -> Vec<Value> {
        let user = |user: &Arc<Employee>| json!({ "user_id": self.id_type.of(user) });
        users.iter().map(user).collect()
    }

    fn scope(&self) -> Value {
        let rules = self.rules;
        let approver = |user: &Arc<Employee>| json!({ "user_id": self.id_type.of(user), "user_name": user.name });
        let [opening, first, last] = rules.seconds.map(|second| second.to_string());
        json!({
            "approve_config": {
                "approval_switch": u8::from(rules.needs_approval),
                "approval_condition": rules.approval_condition,
                "meeting_duration": rules.approval_over_hours,
                "approvers": rules.approvers.iter().map(approver).collect::<Vec<_>>(),
            },
            "time_config": {
                "if_cover_child_scope": rules.covers_children,
                "time_switch": u8::from(rules.is_time_limited),
                "days_in_advance": rules.days_in_advance, "opening_hour": opening,
                "start_time": first, "end_time": last, "max_duration": rules.max_duration_hours,
            },
            "reserve_scope_config": {
                "if_cover_child_scope": rules.covers_children,
                "allow_all_users": u8::from(rules.allows_all),
                "allow_users": self.users(&rules.users),
                "allow_depts": departments(&rules.departments),
            },
        })
    }

    fn form(&self) -> Option<Value> {
        let form = self.rules.form.as_ref()?;
        let questions = (0..).zip(&form.questions);
        let questions: Vec<Value> = questions
            .map(|(key, title)| json!({ "custom_type": 1, "key": key.to_string(), "title": title }))
            .collect();
        let mut told = json!({
            "reserve_form": form.is_enabled, "notified_users": self.users(&form.notified),
            "notified_time": form.time, "if_cover_child_scope": self.rules.covers_children,
            "custom_list": questions,
        });
        if let Some(unit) = form.unit {
            told["time_unit"] = unit.into();
        }
        Some(json!({ "reserve_form_config": told }))
    }

    fn admin(&self) -> Value {
        json!({ "reserve_admin_config": {
            "users": self.users(&self.rules.admins),
            "depts": departments(&self.rules.admin_departments),
        } })
    }

    fn inform(&self) -> Value {
        json!({ "disable_inform": {
            "if_cover_child_scope": self.rules.covers_children, "if_inform": self.rules.informs,
            "informed_users": self.users(&self.rules.informed), "informed_depts": [],
        } })
    }
}

fn departments(ids: &[String]) -> Vec<Value> {
    ids.iter()
        .map(|id| json!({ "department_id": id }))
        .collect()
}
