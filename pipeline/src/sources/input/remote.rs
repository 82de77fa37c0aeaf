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

const DENIED: &str = "permission denied; set the store's credentials (AWS_ACCESS_KEY_ID …) in the environment";

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
    // The parser's own messages would show the URI, and with it a password.
    let web = input.starts_with("http://") || input.starts_with("https://");
    // Elsewhere `?` is a pattern's: the URIs of object stores have no query.
    let text = if web { input.to_string() } else { input.replace('?', "%3F") };
    let mut url = Url::parse(&text).map_err(|e| Error::Invalid(format!("not a URI: {e}")))?;
    let shown = &without_secrets(&url);
    if url.query().is_some() {
        // The stores drop it: the object of a signed link would not be the one that was signed.
        let message = format!("{shown}: a URI with ?… is not supported; give the store's credentials instead");
        return Err(Error::Invalid(message));
    }
    let pattern = glob_pattern(&mut url).map_err(|e| Error::Invalid(format!("{shown}: not a glob: {e}")))?;
    if web && (pattern.is_some() || url.path().ends_with('/')) {
        return Err(Error::Invalid(format!("{shown}: a web server has no folders; name a file")));
    }
    let plain = (url.scheme() == "http").then(|| ("allow_http".to_string(), "true".to_string()));
    let options = options.iter().map(|(key, value)| (key.to_ascii_lowercase(), value.clone())).chain(plain);
    let unknown = |_| Error::Invalid(format!("{}://: expected s3://, gs://, az:// or https://", url.scheme()));
    object_store::ObjectStoreScheme::parse(&url).map_err(unknown)?;
    let (store, path) = object_store::parse_url_opts(&url, options).map_err(|e| failed(shown, &e))?;
    let runtime = Handle::try_current().map_err(|e| Error::Internal(e.to_string()))?;
    let root = without_secrets(&url);
    let root = root.trim_end_matches('/');
    let root = root.strip_suffix(path.as_ref()).unwrap_or(root).trim_end_matches('/').to_string();
    let store: Arc<dyn ObjectStore> = Arc::from(store);
    let object = |meta| RemoteObject { root: root.clone(), store: Arc::clone(&store), meta, runtime: runtime.clone() };
    if url.path().ends_with('/') {
        let listed = list(&runtime, store.as_ref(), &path).map_err(|e| failed(shown, &e))?;
        let places = listed.into_iter().map(|meta| Place::remote(object(meta)));
        let Some(pattern) = pattern else {
            let places: Vec<Place> = places.collect();
            if places.is_empty() {
                return Err(Error::Invalid(format!("{shown}: nothing is below this prefix")));
            }
            return Ok(vec![Found::Folder(PathBuf::from(shown), places)]);
        };
        let found: Vec<Found> = places.filter(|place| pattern.matches(&place.name())).map(Found::File).collect();
        if found.is_empty() {
            return Err(Error::Invalid(format!("{shown}: no object matches")));
        }
        return Ok(found);
    }
    let meta = runtime.block_on(store.head(&path)).map_err(|e| failed(shown, &e))?;
    Ok(vec![Found::File(Place::remote(object(meta)))])
}

/// Takes the pattern off the end of `s3://bucket/folder/*.tsv.gz`, which leaves the folder.
fn glob_pattern(url: &mut Url) -> std::result::Result<Option<glob::Pattern>, glob::PatternError> {
    let path = url.path().to_string();
    let Some((folder, name)) = path.rsplit_once('/') else { return Ok(None) };
    let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
    if !name.contains(['*', '?', '[']) {
        return Ok(None);
    }
    let pattern = glob::Pattern::new(&name)?;
    url.set_path(&format!("{folder}/"));
    Ok(Some(pattern))
}

/// The URI without user, password and query.
fn without_secrets(url: &Url) -> String {
    let mut url = url.clone();
    // Only a URI without a host refuses, and has none of these.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.to_string()
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
            DENIED.to_string()
        }
        error => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            // Stores answer listings with pages of XML or HTML.
            let line = line.split_once(": <").map_or(line, |(before, _)| before);
            if line.contains("404 Not Found") {
                "no such bucket or prefix".to_string()
            } else if line.contains("403 Forbidden") {
                DENIED.to_string()
            } else if line.contains("builder error") {
                "the store's endpoint is http://; set AWS_ALLOW_HTTP=true if that is meant".to_string()
            } else {
                line.to_string()
            }
        }
    };
    Error::Io { path: PathBuf::from(uri), cause: io::Error::other(why) }
}
