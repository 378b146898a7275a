//! The optional access token of a user, for exports in the name of a user instead of the app's
//! creator.
//!
//! A refresh token works once: every renewal gives the next one. So the next one is written to disk
//! before the new access token is used. It is lost only if the answer never arrives, or if the
//! machine stops between answer and write. Then the user must authorize the app again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;

use super::error::Error;
use super::http::{Call, Http};
use super::lenient;
use super::token::{FreshToken, TokenCache, lifetime};

const ACTION: &str = "renew the user access token";

/// Where the user's refresh token is kept.
#[derive(Clone, Debug)]
pub struct UserTokenSettings {
    /// A file with nothing but the refresh token, readable by its owner only. Every renewal
    /// replaces it.
    pub refresh_token_file: PathBuf,
}

/// The user's current token, and what is needed to renew it.
pub(super) struct UserToken {
    pub(super) cache: TokenCache,
    file: PathBuf,
    /// A refresh token that could not be written yet. It is newer than the one in the file.
    unsaved: Mutex<Option<SecretString>>,
}

impl UserToken {
    pub(super) fn new(settings: &UserTokenSettings) -> Self {
        Self {
            cache: TokenCache::default(),
            file: settings.refresh_token_file.clone(),
            unsaved: Mutex::new(None),
        }
    }

    /// Trades the refresh token for an access token and the next refresh token (API reference,
    /// 1.4).
    pub(super) async fn renew(
        &self,
        http: &Http,
        app_id: &str,
        app_secret: &SecretString,
    ) -> Result<FreshToken, Error> {
        let unsaved = self.unsaved().clone();
        let refresh_token = match unsaved {
            Some(token) => token,
            None => in_background(&self.file, read).await?,
        };
        // Writing first proves that the next token can be written, before this one is spent.
        self.save(&refresh_token).await?;
        let answer = http
            .send(&request(app_id, app_secret, refresh_token), None)
            .await?;
        let granted: Granted = answer.flat()?;
        *self.unsaved() = Some(granted.refresh_token.clone());
        self.save(&granted.refresh_token).await?;
        *self.unsaved() = None;
        Ok(FreshToken {
            token: granted.access_token,
            lifetime: lifetime(granted.expires_in),
        })
    }

    async fn save(&self, token: &SecretString) -> Result<(), Error> {
        let token = token.clone();
        in_background(&self.file, move |file| replace(file, &token)).await
    }

    fn unsaved(&self) -> std::sync::MutexGuard<'_, Option<SecretString>> {
        self.unsaved
            .lock()
            .expect("nothing panics while holding the unsaved token")
    }
}

#[derive(Deserialize)]
struct Granted {
    #[serde(deserialize_with = "lenient::secret")]
    access_token: SecretString,
    #[serde(deserialize_with = "lenient::integer")]
    expires_in: i64,
    #[serde(deserialize_with = "lenient::secret")]
    refresh_token: SecretString,
}

fn request(app_id: &str, app_secret: &SecretString, refresh_token: SecretString) -> Call {
    let body = json!({
        "grant_type": "refresh_token",
        "client_id": app_id,
        "client_secret": app_secret.expose_secret(),
        "refresh_token": refresh_token.expose_secret(),
    });
    let path = ["authen", "v2", "oauth", "token"];
    Call::post("user_access_token", ACTION, &path, body).with_secret(refresh_token)
}

async fn in_background<T: Send + 'static>(
    file: &Path,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let path = file.to_owned();
    let done = tokio::task::spawn_blocking(move || work(&path)).await;
    let done = done.unwrap_or_else(|panic| Err(io::Error::other(panic)));
    done.map_err(|error| {
        Error::local(
            ACTION,
            format!("refresh token file {}: {error}", file.display()),
        )
    })
}

fn read(file: &Path) -> io::Result<SecretString> {
    refuse_if_others_can_read(file)?;
    let text = fs::read_to_string(file)?;
    match text.trim() {
        "" => Err(io::Error::other("it is empty")),
        token => Ok(token.into()),
    }
}

#[cfg(unix)]
fn refuse_if_others_can_read(file: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    match fs::metadata(file)?.permissions().mode() & 0o077 {
        0 => Ok(()),
        _ => Err(io::Error::other("others can read it; set its mode to 0600")),
    }
}

#[cfg(not(unix))]
fn refuse_if_others_can_read(_file: &Path) -> io::Result<()> {
    Ok(())
}

/// Replaces the file in one step. A reader finds the old token or the new one, even after a power
/// cut.
fn replace(file: &Path, token: &SecretString) -> io::Result<()> {
    let file = fs::canonicalize(file)?;
    let draft = draft_of(&file);
    write_private(&draft, token)?;
    fs::rename(&draft, &file)?;
    match file.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// A path beside the file, since a rename does not cross file systems.
fn draft_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".next");
    PathBuf::from(name)
}

fn write_private(draft: &Path, token: &SecretString) -> io::Result<()> {
    // A draft that an earlier process left may have another mode.
    match fs::remove_file(draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(draft)?;
    file.write_all(token.expose_secret().as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_token_file_is_replaced_whole_and_private() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("refresh");
        write_private(&file, &"r-1".into()).expect("written");
        fs::write(draft_of(&file), "left behind").expect("a draft");
        replace(&file, &"r-2".into()).expect("replaced");
        assert_eq!(read(&file).expect("read").expose_secret(), "r-2");
        let mode = fs::metadata(&file).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).expect("entries").count(), 1);
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("refresh");
        fs::write(&file, "r-1\n").expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("a mode");
        let error = read(&file).expect_err("too open");
        assert!(error.to_string().contains("0600"));
    }
}
