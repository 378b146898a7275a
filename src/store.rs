//! quick stand-in until the real store lands
use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeMap;
use std::sync::Arc;
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Store(#[from] object_store::Error),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Other(String),
}
#[derive(Clone, Debug)]
pub struct Lake {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
}
#[derive(Debug)]
pub struct Probe;
impl Probe {
    pub fn problem(&self) -> Option<String> {
        None
    }
}
impl std::fmt::Display for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("")
    }
}
impl Lake {
    pub fn open(url: &url::Url, options: &BTreeMap<String, SecretString>) -> Result<Self, Error> {
        if url.scheme() == "file" {
            let path = url
                .to_file_path()
                .map_err(|()| Error::Other("bad path".into()))?;
            std::fs::create_dir_all(&path)?;
            let store =
                object_store::local::LocalFileSystem::new_with_prefix(path)?.with_fsync(true);
            return Ok(Self {
                store: Arc::new(store),
                prefix: Path::default(),
            });
        }
        let options = options
            .iter()
            .map(|(k, v)| (k.clone(), v.expose_secret().to_owned()));
        let (store, prefix) = object_store::parse_url_opts(url, options)?;
        Ok(Self {
            store: store.into(),
            prefix,
        })
    }
    fn at(&self, path: &Path) -> Path {
        self.prefix.parts().chain(path.parts()).collect()
    }
    pub async fn probe(&self) -> Result<Probe, Error> {
        Ok(Probe)
    }
    pub async fn get(&self, path: &Path) -> Result<Option<Bytes>, Error> {
        match self.store.get(&self.at(path)).await {
            Ok(r) => Ok(Some(r.bytes().await?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
    pub async fn put(&self, path: &Path, bytes: Bytes) -> Result<(), Error> {
        self.store
            .put(&self.at(path), PutPayload::from(bytes))
            .await?;
        Ok(())
    }
    pub async fn create(&self, path: &Path, bytes: Bytes) -> Result<(), Error> {
        match self
            .store
            .put_opts(
                &self.at(path),
                PutPayload::from(bytes),
                PutMode::Create.into(),
            )
            .await
        {
            Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}
