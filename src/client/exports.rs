//! The wire format of requests, of the answers to a submit and to polls, and the download of a
//! workbook.

use std::path::{Path, PathBuf};

use reqwest::header::CONTENT_LENGTH;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;

use super::error::{Error, clean};
use super::http::{Answer, Call, Http, Reply, chunk};
use super::lenient;
use crate::datasets::{DOWNLOAD, Endpoint, Fetch, POLL, Parameters, Request};
use crate::disk;
use crate::task::{ExportId, hex};

/// How every xlsx starts: a zip with at least one entry.
const ZIP_MAGIC: &[u8] = b"PK\x03\x04";

/// How many bytes are kept of a download that is not a workbook, to read an error from them.
const ERROR_BODY_LIMIT: usize = 64 << 10;

/// Where an export task stands.
#[derive(Clone, Debug)]
pub enum ExportStatus {
    /// Not done yet; 1 on the wire.
    Processing,
    /// The export failed; 2 on the wire.
    Failed {
        /// Feishu's reason in a form that may be shown; may be empty.
        message: String,
    },
    /// The workbook can be downloaded; 3 on the wire.
    Done {
        /// What to download it with.
        file_token: SecretString,
    },
    /// A status that is not documented.
    Unknown(i64),
}

/// A workbook on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Download {
    /// SHA-256 of the file, 64 hex digits.
    pub sha256: String,
    /// Its size.
    pub size_bytes: u64,
}

/// The first call of a request: the submit of an export, or the call that answers.
pub(super) fn first_call(request: &Request) -> Call {
    let (source, name) = (request.source(), request.dataset.as_str());
    let action = match source.fetch {
        Fetch::Export => format!("submit the {name} export"),
        Fetch::Call(_) => format!("get the {name}"),
        Fetch::Pages(_) | Fetch::Walk(..) | Fetch::Details(..) | Fetch::Nodes(_) => {
            listing_action(&source.endpoint)
        }
        // Nobody calls for what is sent.
        Fetch::Received { .. } => format!("wait for the {name}"),
    };
    let answers = match source.fetch {
        Fetch::Call(called) => called.answers,
        _ => &[],
    };
    let parameters = (source.parameters)(request);
    Call::of(source.endpoint, action, parameters).taking(answers)
}

/// What a call of a listing does, for "could not …".
pub(super) fn listing_action(endpoint: &Endpoint) -> String {
    let name = endpoint.name.replace('_', " ");
    match (endpoint.path.contains(':'), name.strip_prefix("query ")) {
        (true, _) => format!("get the {name}"),
        (false, Some(list)) => format!("query the {list}"),
        (false, None) => format!("list {name}"),
    }
}

/// The id of the export task that a submit made.
pub(super) fn export_id(answer: &Answer) -> Result<ExportId, Error> {
    #[derive(Deserialize)]
    struct Submitted {
        #[serde(deserialize_with = "lenient::text")]
        task_id: String,
    }
    let submitted: Submitted = answer.data()?;
    match submitted.task_id.is_empty() {
        true => Err(answer.garbled("task_id is empty")),
        false => Ok(ExportId(submitted.task_id)),
    }
}

/// The call that asks where an export task stands.
pub(super) fn poll_call(id: &ExportId) -> Call {
    let action = format!("poll export {}", clean(&id.0, &[]));
    let parameters = Parameters {
        segment: Some(id.0.clone()),
        ..Parameters::default()
    };
    Call::of(POLL, action, parameters)
}

/// The status in the answer to a poll. Only `status` decides, because the documented success
/// carries a `fail_msg` too (API reference, 3.4).
pub(super) fn export_status(answer: &Answer) -> Result<ExportStatus, Error> {
    #[derive(Deserialize)]
    struct Polled {
        #[serde(deserialize_with = "lenient::integer")]
        status: i64,
        #[serde(default, deserialize_with = "lenient::text")]
        file_token: String,
        #[serde(default, deserialize_with = "lenient::text")]
        fail_msg: String,
    }
    let polled: Polled = answer.data()?;
    Ok(match polled.status {
        1 => ExportStatus::Processing,
        2 => ExportStatus::Failed {
            message: answer.clean(&polled.fail_msg),
        },
        3 if polled.file_token.is_empty() => {
            return Err(answer.garbled("the export is done, but there is no file_token"));
        }
        3 => ExportStatus::Done {
            file_token: polled.file_token.into(),
        },
        other => ExportStatus::Unknown(other),
    })
}

/// The call that downloads a workbook.
pub(super) fn download_call(file_token: &SecretString) -> Call {
    let parameters = Parameters::default().with("file_token", Some(file_token.expose_secret()));
    Call::of(DOWNLOAD, "download the workbook", parameters).with_secret(file_token.clone())
}

/// Streams a workbook into the file `to` and hashes it. An answer that is not a workbook becomes an
/// error.
pub(super) async fn receive(
    http: &Http,
    mut reply: Reply,
    to: &Path,
    max_bytes: u64,
) -> Result<Download, Error> {
    if !reply.response.status().is_success() {
        let refused = http.read(reply).await.err();
        let refused = refused.expect("a bad status is never a good envelope");
        return Err(refused.gone_if_not_found());
    }
    let head = head(&mut reply).await?;
    if !head.starts_with(ZIP_MAGIC) {
        return Err(error_without_workbook(http, reply, head).await);
    }
    let mut writer = WorkbookWriter::create(to, max_bytes, &reply).await?;
    writer.write(&head, &reply).await?;
    while let Some(piece) = chunk(&mut reply).await? {
        writer.write(&piece, &reply).await?;
    }
    let download = writer.finish(&reply).await?;
    tracing::debug!(
        endpoint = "download",
        size_bytes = download.size_bytes,
        api.log_id = reply.log_id(),
        "downloaded"
    );
    Ok(download)
}

/// The first bytes of the body; enough to recognise a zip, unless the body is shorter.
async fn head(reply: &mut Reply) -> Result<Vec<u8>, Error> {
    let mut head = Vec::new();
    while head.len() < ZIP_MAGIC.len() {
        match chunk(reply).await? {
            Some(piece) => head.extend_from_slice(&piece),
            None => break,
        }
    }
    Ok(head)
}

/// The error for a good status without a workbook: an error envelope, a page, or an empty body.
async fn error_without_workbook(http: &Http, mut reply: Reply, mut body: Vec<u8>) -> Error {
    while body.len() < ERROR_BODY_LIMIT {
        match chunk(&mut reply).await {
            Ok(Some(piece)) => body.extend_from_slice(&piece),
            Ok(None) | Err(_) => break,
        }
    }
    let said = match http.check_envelope(&reply, &body) {
        Err(error) => return error,
        Ok(()) => "an envelope came in place of a workbook",
    };
    Error::garbled(&reply.action, said, reply.log_id())
}

/// The file being written.
struct WorkbookWriter {
    path: PathBuf,
    file: File,
    hash: Sha256,
    size_bytes: u64,
    announced_bytes: Option<u64>,
    max_bytes: u64,
}

impl WorkbookWriter {
    async fn create(to: &Path, max_bytes: u64, reply: &Reply) -> Result<Self, Error> {
        let length = reply.response.headers().get(CONTENT_LENGTH);
        let announced_bytes = length.and_then(|length| length.to_str().ok()?.parse().ok());
        if let Some(bytes) = announced_bytes.filter(|bytes| *bytes > max_bytes) {
            return Err(too_large(reply, bytes, max_bytes));
        }
        let file = File::create(to)
            .await
            .map_err(|error| on_disk(reply, to, &error))?;
        Ok(Self {
            path: to.to_owned(),
            file,
            hash: Sha256::new(),
            size_bytes: 0,
            announced_bytes,
            max_bytes,
        })
    }

    async fn write(&mut self, piece: &[u8], reply: &Reply) -> Result<(), Error> {
        self.size_bytes += piece.len() as u64;
        if self.size_bytes > self.max_bytes {
            return Err(too_large(reply, self.size_bytes, self.max_bytes));
        }
        self.hash.update(piece);
        self.file
            .write_all(piece)
            .await
            .map_err(|error| on_disk(reply, &self.path, &error))?;
        crash_point!("w06-mid-download");
        Ok(())
    }

    async fn finish(mut self, reply: &Reply) -> Result<Download, Error> {
        self.file
            .flush()
            .await
            .map_err(|error| on_disk(reply, &self.path, &error))?;
        if let Some(announced) = self
            .announced_bytes
            .filter(|bytes| *bytes != self.size_bytes)
        {
            let said = format!("{} of {announced} bytes came", self.size_bytes);
            return Err(Error::garbled(&reply.action, said, reply.log_id()));
        }
        Ok(Download {
            sha256: hex(&self.hash.finalize()),
            size_bytes: self.size_bytes,
        })
    }
}

fn too_large(reply: &Reply, bytes: u64, max_bytes: u64) -> Error {
    let said = format!(
        "the workbook has at least {bytes} bytes, and {max_bytes} are allowed; if it is right, \
         raise size in [limits.workbook]"
    );
    Error::other(&reply.action, said)
}

fn on_disk(reply: &Reply, path: &Path, error: &std::io::Error) -> Error {
    let advice = disk::advice(error, path);
    let said = format!("{} could not be written: {error}{advice}", path.display());
    Error::local(&reply.action, said)
}
