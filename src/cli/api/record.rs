//! The record of calls that were meant to change something: a file beside the ledger, one JSON
//! object a line, for its owner only.
//!
//! A line is on the disk before the call is sent, and another one after its answer. So a call whose
//! second line is missing may have been carried out. It is no part of the ledger, because a running
//! `serve` holds that. Bodies and the values of parameters are not in it.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::Serialize;

use crate::client::{self, AskedAnswer, AskedCall};
use crate::config::{TenantConfig, WriteApp};
use crate::owner_only;

/// How the file's name ends, in place of the ledger's.
const EXTENSION: &str = "writes.jsonl";

/// The open record.
pub(super) struct WriteRecord {
    path: PathBuf,
    file: File,
}

/// What ties the line after a call to the one before it.
pub(super) struct Entry(String);

#[derive(Serialize)]
struct Begun<'a> {
    id: &'a str,
    at: Timestamp,
    /// The user of this machine.
    uid: u32,
    tenant: &'a str,
    host: &'a str,
    app_id: &'a str,
    method: &'a str,
    path: String,
    /// Names only.
    query: Vec<&'a str>,
    body_bytes: usize,
}

#[derive(Serialize)]
struct Ended<'a> {
    id: &'a str,
    at: Timestamp,
    outcome: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_id: Option<&'a str>,
}

impl WriteRecord {
    /// Opens the record beside a ledger, and makes it if it is missing.
    ///
    /// # Errors
    /// If it cannot be made, or is a link that somebody put there.
    pub(super) fn open(ledger: &Path) -> Result<Self> {
        let path = ledger.with_extension(EXTENSION);
        let failed = || format!("could not open the record of writes {}", path.display());
        if let Some(folder) = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            owner_only::ensure_folder(folder).with_context(failed)?;
        }
        let mut options = owner_only::options();
        let opened = options.create(true).append(true).open(&path);
        let file = opened.map_err(|error| owner_only::named(error, &path));
        let file = file.with_context(failed)?;
        owner_only::close_if_there(&path);
        Ok(Self { path, file })
    }

    /// Records a call that is about to be sent.
    ///
    /// # Errors
    /// If the line is not on the disk. Then nothing may be sent.
    pub(super) fn begin(
        &mut self,
        tenant: &TenantConfig,
        app: &WriteApp,
        asked: &AskedCall,
        now: Timestamp,
    ) -> Result<Entry> {
        let id = format!("{}-{}", now.as_microsecond(), std::process::id());
        let begun = Begun {
            id: &id,
            at: now,
            uid: rustix::process::geteuid().as_raw(),
            tenant: &tenant.name,
            host: tenant.host.as_str(),
            app_id: &app.app_id,
            method: asked.method.as_str(),
            path: asked.path.to_string(),
            query: asked.query.iter().map(|(name, _)| name.as_str()).collect(),
            body_bytes: asked.body.as_ref().map_or(0, |body| body.to_string().len()),
        };
        self.add(&begun)?;
        Ok(Entry(id))
    }

    /// Records what became of the call.
    ///
    /// # Errors
    /// If the line is not on the disk.
    pub(super) fn end(
        &mut self,
        entry: Entry,
        outcome: &Result<AskedAnswer, client::Error>,
        now: Timestamp,
    ) -> Result<()> {
        let Entry(id) = entry;
        let (word, code, log_id) = match outcome {
            Ok(answer) => ("done", Some(0), answer.log_id.as_deref()),
            Err(error) if error.outcome_unknown() => ("unknown", error.code(), error.log_id()),
            Err(error) => ("refused", error.code(), error.log_id()),
        };
        self.add(&Ended {
            id: &id,
            at: now,
            outcome: word,
            code,
            log_id,
        })
    }

    fn add(&mut self, line: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        // One write, so that lines of two processes do not mix.
        let written = self.file.write_all(text.as_bytes());
        let synced = written.and_then(|()| self.file.sync_all());
        synced.with_context(|| {
            format!(
                "could not write the record of writes {}",
                self.path.display()
            )
        })
    }
}
