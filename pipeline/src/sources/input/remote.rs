//! Objects behind URIs: `s3://`, `gs://`, `az://`, `https://`, through the `object_store` crate.

use std::fmt;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use tokio::runtime::Handle;
use tokio_util::io::{StreamReader, SyncIoBridge};
use url::Url;

use super::place::{Found, Place};
use crate::{Error, Result};

/// An object of a store.
#[derive(Clone)]
pub(super) struct RemoteObject {
    /// The store's own part of the URI.
    root: String,
    store: Arc<dyn ObjectStore>,
    meta: ObjectMeta,
    runtime: Handle,
}

impl RemoteObject {
    /// The whole URI.
    pub(super) fn uri(&self) -> String {
        format!("{}/{}", self.root, self.meta.location)
    }

    pub(super) fn size(&self) -> u64 {
        self.meta.size
    }

    /// What changes when the content does.
    pub(super) fn version(&self) -> String {
        match &self.meta.e_tag {
            Some(tag) => format!("{tag} {}", self.meta.size),
            None => format!("{} {} {}", self.uri(), self.meta.last_modified, self.meta.size),
        }
    }

    /// Its bytes, streamed.
    pub(super) fn read(&self) -> Result<impl Read + Send + use<>> {
        let got = self.runtime.block_on(self.store.get(&self.meta.location)).map_err(|e| failed(&self.uri(), &e))?;
        let stream = got.into_stream().map_err(io::Error::other);
        Ok(SyncIoBridge::new_with_handle(StreamReader::new(stream), self.runtime.clone()))
    }

    pub(super) fn siblings(&self) -> Result<Vec<Self>> {
        let mut parts: Vec<_> = self.meta.location.parts().collect();
        parts.pop();
        let listed = list(&self.runtime, self.store.as_ref(), &Path::from_iter(parts));
        let listed = listed.map_err(|e| failed(&self.uri(), &e))?;
        Ok(listed.into_iter().map(|meta| Self { meta, ..self.clone() }).collect())
    }
}

impl fmt::Debug for RemoteObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri())
    }
}

/// What stands behind a URI: an object, or with a `/` at its end the objects right below a prefix.
pub(super) fn resolve(input: &str, options: &[(String, String)]) -> Result<Vec<Found>> {
    let url = Url::parse(input).map_err(|e| Error::Invalid(format!("{input}: not a URI: {e}")))?;
    let options = options.iter().map(|(key, value)| (key.to_ascii_lowercase(), value.clone()));
    let (store, path) = object_store::parse_url_opts(&url, options).map_err(|e| failed(input, &e))?;
    let runtime = Handle::try_current().map_err(|e| Error::Internal(e.to_string()))?;
    let root = input.strip_suffix('/').unwrap_or(input);
    let root = root.strip_suffix(path.as_ref()).unwrap_or(root).trim_end_matches('/').to_string();
    let store: Arc<dyn ObjectStore> = Arc::from(store);
    let object = |meta| RemoteObject { root: root.clone(), store: Arc::clone(&store), meta, runtime: runtime.clone() };
    if input.ends_with('/') {
        let listed = list(&runtime, store.as_ref(), &path).map_err(|e| failed(input, &e))?;
        if listed.is_empty() {
            return Err(Error::Invalid(format!("{input}: nothing is below this prefix")));
        }
        let places = listed.into_iter().map(|meta| Place::remote(object(meta))).collect();
        return Ok(vec![Found::Folder(PathBuf::from(input), places)]);
    }
    let meta = runtime.block_on(store.head(&path)).map_err(|e| failed(input, &e))?;
    Ok(vec![Found::File(Place::remote(object(meta)))])
}

fn list(runtime: &Handle, store: &dyn ObjectStore, prefix: &Path) -> object_store::Result<Vec<ObjectMeta>> {
    let mut listed = runtime.block_on(store.list_with_delimiter(Some(prefix)))?.objects;
    listed.sort_by(|a, b| a.location.cmp(&b.location));
    Ok(listed)
}

/// The store's own message may be a page of XML: its first line and a hint are enough.
fn failed(uri: &str, error: &object_store::Error) -> Error {
    let why = match error {
        object_store::Error::NotFound { .. } => "no such object".to_string(),
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            "permission denied; set the store's credentials (AWS_ACCESS_KEY_ID …) in the environment".to_string()
        }
        error => error.to_string().lines().next().unwrap_or_default().to_string(),
    };
    Error::Io { path: PathBuf::from(uri), cause: io::Error::other(why) }
}
