//! What `doctor` says of scopes: which datasets of a tenant's jobs the granted ones allow, and which
//! of them allow more than reading.

use std::collections::BTreeSet;

use super::DoctorCheck;
use crate::client::Client;
use crate::config::TenantConfig;
use crate::datasets::{
    ARTIFACT_SCOPES, Dataset, EMPLOYEE_ID_SCOPE, Grant, GrantedScopes, RequestOption, Source,
    SourceMode, UserIdType, accepted_scopes,
};
use crate::exit::Code;
use crate::job::JobSpec;
use crate::status::jobs_of;

/// Where scopes are granted. Some have another name on one of the two sites.
const CONSOLES: &str = "the developer console (open.feishu.cn/app, or open.larksuite.com/app for \
                        Lark; a name that one of the two does not list is another one there)";

/// Names of scopes: those of this site's list, and the others. All of them where it lists none.
fn by_site(granted: &GrantedScopes, names: &[&'static str]) -> (Vec<&'static str>, String) {
    let is_here = |name: &&&'static str| granted.lists(name);
    let here: Vec<&str> = names.iter().filter(is_here).copied().collect();
    if here.is_empty() {
        return (names.to_vec(), String::new());
    }
    let elsewhere: Vec<&str> = names
        .iter()
        .filter(|name| !is_here(name))
        .copied()
        .collect();
    let elsewhere = match elsewhere.as_slice() {
        [] => String::new(),
        names => format!("; this site does not list {}", names.join(", ")),
    };
    (here, elsewhere)
}

/// The way out where a list by query is refused.
pub(super) const BY_EXPORT: &str =
    "or write mode = \"export\" in the job, which needs no such scope";

/// Feishu's code for an app that the tenant does not have.
const NOT_INSTALLED: Option<i64> = Some(212100);

/// Asks which scopes the app has. `None` where that cannot be known.
pub(super) async fn granted(
    client: &Client,
    tenant: &TenantConfig,
    checks: &mut Vec<DoctorCheck>,
) -> Option<GrantedScopes> {
    let check = |found| DoctorCheck::new(&tenant.name, "scopes", found, Code::Credentials);
    let instead = "each dataset is asked instead";
    match client.scopes().await {
        Ok(Some(granted)) => {
            let writing: Vec<&str> = granted.writing().collect();
            checks.push(match writing.as_slice() {
                [] => check(Ok("none of those granted can change anything".to_owned())),
                _ => check(Ok(format!(
                    "the app may also change things, by {}; meetlake only reads, so take them \
                     away in {CONSOLES}, and give them to another app",
                    writing.join(", ")
                )))
                .warning(),
            });
            return Some(granted);
        }
        Ok(None) => {
            let why = format!("this site does not say which are granted; {instead}");
            checks.push(check(Ok(why)));
        }
        Err(error) if error.code() == NOT_INSTALLED => {
            checks.push(check(Err(error.to_string())));
        }
        Err(error) => checks.push(check(Ok(format!("{error}; {instead}"))).warning()),
    }
    None
}

/// What the granted scopes mean for a source: what is in its way, or the scope that lets it be
/// read.
pub(super) fn verdict(
    granted: &GrantedScopes,
    mode: SourceMode,
    source: &Source,
    tenant: &TenantConfig,
) -> Result<&'static str, String> {
    let takes_user_tokens = source.is_export() || mode == SourceMode::Query;
    let as_user = takes_user_tokens && tenant.refresh_token_file.is_some();
    let otherwise = match mode {
        SourceMode::Export => String::new(),
        SourceMode::Query => format!("; {BY_EXPORT}"),
    };
    match granted.grant(source, as_user) {
        Grant::Granted(scope) => Ok(scope),
        Grant::ForUsersOnly(scope) if mode == SourceMode::Query => Err(format!(
            "needs a user token: {scope} is granted for use in the name of a user only; set \
             refresh_token_file{otherwise}"
        )),
        Grant::ForUsersOnly(scope) if takes_user_tokens => Err(format!(
            "needs a user token: {scope} is granted for use in the name of a user only; set \
             refresh_token_file, or grant it to the app too in {CONSOLES} and publish a version \
             of the app"
        )),
        Grant::ForUsersOnly(scope) => Err(format!(
            "needs a user token, with which meetlake only exports: {scope} is granted for use in \
             the name of a user only; grant it to the app too in {CONSOLES} and publish a version \
             of the app"
        )),
        Grant::Missing(reading) => {
            let others = accepted_scopes(reading);
            let (here, elsewhere) = by_site(granted, reading);
            let others = others.iter().filter(|scope| !reading.contains(scope));
            let others: Vec<String> = others
                .map(|scope| format!(" ({scope} would do as well, and can change things)"))
                .collect();
            let whom = if as_user {
                " for use in the name of a user"
            } else {
                ""
            };
            Err(format!(
                "missing: {}{}{elsewhere}; grant it{whom} in {CONSOLES} and publish a version of the \
                 app{otherwise}",
                here.join(" or "),
                others.concat()
            ))
        }
    }
}

/// Says which columns of meetings stay blank although their job asks for them.
pub(super) fn artifacts(
    granted: &GrantedScopes,
    jobs: &[JobSpec],
    tenant: &TenantConfig,
) -> Option<DoctorCheck> {
    let asks = |job: &JobSpec| {
        let has_it = job
            .dataset
            .definition()
            .options
            .contains(&RequestOption::Artifacts);
        has_it && job.options.artifacts
    };
    // A site that does not list them does not have them.
    let is_missing = |scope: &&str| granted.lists(scope) && !granted.has(scope);
    let missing: Vec<&str> = ARTIFACT_SCOPES.into_iter().filter(is_missing).collect();
    if missing.is_empty() || !jobs_of(jobs, &tenant.name).any(asks) {
        return None;
    }
    let found = format!(
        "without {} the tokens of a meeting's documents stay blank; grant it in {CONSOLES}, or \
         write artifacts = false in the job and save a call for each meeting with notes",
        missing.join(" and ")
    );
    let check = DoctorCheck::new(&tenant.name, "artifacts", Ok(found), Code::Credentials);
    Some(check.warning())
}

/// Says which datasets would lack the ids that their jobs ask for.
pub(super) fn employee_ids(
    granted: &GrantedScopes,
    jobs: &[JobSpec],
    tenant: &TenantConfig,
) -> Option<DoctorCheck> {
    let asks = |job: &&JobSpec| {
        let has = |option| job.dataset.definition().options.contains(&option);
        let are_own =
            has(RequestOption::UserIdType) && job.options.user_id_type == UserIdType::UserId;
        are_own || has(RequestOption::TenantUserIds) && job.options.tenant_user_ids
    };
    let asking: BTreeSet<Dataset> = jobs_of(jobs, &tenant.name)
        .filter(asks)
        .map(|job| job.dataset)
        .collect();
    if granted.has(EMPLOYEE_ID_SCOPE) || asking.is_empty() {
        return None;
    }
    let names: Vec<&str> = asking.into_iter().map(Dataset::as_str).collect();
    let found = format!(
        "without {EMPLOYEE_ID_SCOPE} the user ids of {} stay blank",
        names.join(", ")
    );
    let check = DoctorCheck::new(&tenant.name, "user ids", Ok(found), Code::Credentials);
    Some(check.warning())
}
