//! Reading one object, and lists with their pages.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::json;
use windlass_apimachinery::FieldError;
use windlass_store::{Entry, ReadError};

use crate::call::Call;
use crate::request::VersionMatch;
use crate::select::Selection;
use crate::status::{ApiError, GroupKind};

/// How long a read waits for a revision that is not there yet.
const FRESH: Duration = Duration::from_secs(3);

/// One page of a list.
#[derive(Debug)]
pub struct Page {
    /// The objects that match.
    pub entries: Vec<Arc<Entry>>,
    /// Revision of the list.
    pub revision: u64,
    /// Token of the next page.
    pub next: Option<String>,
    /// Objects on later pages; not known with selectors.
    pub remaining: Option<usize>,
}

/// Where a page begins: after a key, at a revision or, for a list whose
/// revision was forgotten, at the latest one.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Token {
    /// Revision of the list; 0 for the latest.
    rv: u64,
    /// Last key of the page before, without the collection's prefix.
    after: String,
}

impl Token {
    fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(json!(self).to_string())
    }

    fn decode(text: &str) -> Result<Self, ApiError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok();
        bytes
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .ok_or_else(|| ApiError::bad_request("continue key is not valid: list again without it"))
    }
}

/// Where to read a list.
struct Start {
    at: Option<u64>,
    after: Option<String>,
}

impl Call<'_> {
    /// Reads one object.
    ///
    /// # Errors
    /// 404; 504 when the revision asked for does not come.
    pub async fn get(&self) -> Result<Arc<Entry>, ApiError> {
        if let Some(revision) = self.options.resource_version {
            self.wait_for(revision).await?;
        }
        self.server.inner.store.get(&self.key()).ok_or_else(|| self.not_found())
    }

    /// Waits until the store has reached a revision.
    pub(crate) async fn wait_for(&self, revision: u64) -> Result<(), ApiError> {
        let store = &self.server.inner.store;
        if store.revision() >= revision {
            return Ok(());
        }
        let too_large = || ApiError::too_large_resource_version(revision, store.revision());
        let mut watch = store.watch("", revision - 1).map_err(|_| too_large())?;
        match tokio::time::timeout(FRESH, watch.next()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(too_large()),
        }
    }

    /// Reads a page of a list.
    ///
    /// # Errors
    /// 400 and 422 for options that do not go together, 410 when the revision
    /// is forgotten, 504 when it does not come.
    pub async fn list(&self) -> Result<Page, ApiError> {
        let selection = self.selection()?;
        let start = self.list_start().await?;
        let namespace = Some(self.namespace.as_str()).filter(|namespace| !namespace.is_empty());
        let prefix = self.kind.collection(namespace);
        let after = start.after.as_deref().map(|after| format!("{prefix}{after}"));
        self.page(&selection, &prefix, after, start.at)
    }

    fn page(
        &self,
        selection: &Selection,
        prefix: &str,
        mut after: Option<String>,
        at: Option<u64>,
    ) -> Result<Page, ApiError> {
        let limit = Some(self.options.limit).filter(|limit| *limit > 0);
        let mut page = Page { entries: Vec::new(), revision: 0, next: None, remaining: None };
        let mut at = at;
        loop {
            let wanted = limit.map(|limit| limit - page.entries.len());
            let range = self.server.inner.store.range(prefix, after.as_deref(), wanted, at);
            let range = range.map_err(|error| expired(error, prefix, after.as_deref()))?;
            page.revision = range.revision;
            at = Some(range.revision);
            let last = range.entries.last().map(|entry| entry.key.to_string());
            for entry in range.entries {
                if selection.matches(&self.kind, &self.api_version, &entry)? {
                    page.entries.push(entry);
                }
            }
            let full = limit.is_some_and(|limit| page.entries.len() >= limit);
            match last {
                Some(last) if range.more && full => {
                    let after = last.strip_prefix(prefix).unwrap_or(&last).to_owned();
                    page.next = Some(Token { rv: range.revision, after }.encode());
                    page.remaining = selection.is_everything().then_some(range.remaining);
                    return Ok(page);
                }
                Some(last) if range.more => after = Some(last),
                Some(_) | None => return Ok(page),
            }
        }
    }

    /// The decision table of `resourceVersion`, `resourceVersionMatch`,
    /// `limit` and `continue`.
    async fn list_start(&self) -> Result<Start, ApiError> {
        let options = &self.options;
        let latest = Start { at: None, after: None };
        if let Some(token) = &options.token {
            if options.version_match != VersionMatch::Unset {
                let why = "resourceVersionMatch is forbidden when continue is provided";
                return Err(list_options(&FieldError::forbidden("resourceVersionMatch", why)));
            }
            if options.resource_version.is_some_and(|revision| revision > 0) {
                return Err(ApiError::bad_request(
                    "specifying resource version is not allowed when using continue",
                ));
            }
            let token = Token::decode(token)?;
            return Ok(Start { at: Some(token.rv).filter(|rv| *rv > 0), after: Some(token.after) });
        }
        if options.send_initial_events.is_some() {
            let why = "sendInitialEvents is forbidden for list";
            return Err(list_options(&FieldError::forbidden("sendInitialEvents", why)));
        }
        match (options.resource_version, options.version_match) {
            (None, VersionMatch::Unset) | (Some(0), VersionMatch::Unset | VersionMatch::NotOlderThan) => {
                Ok(latest)
            }
            (None, VersionMatch::Exact | VersionMatch::NotOlderThan) => {
                let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
                Err(list_options(&FieldError::forbidden("resourceVersionMatch", why)))
            }
            (Some(0), VersionMatch::Exact) => {
                let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
                Err(list_options(&FieldError::forbidden("resourceVersionMatch", why)))
            }
            (Some(revision), VersionMatch::Exact) => self.exactly(revision).await,
            // Clients that page ask for the version of their first page.
            (Some(revision), VersionMatch::Unset) if options.limit > 0 => self.exactly(revision).await,
            (Some(revision), VersionMatch::Unset | VersionMatch::NotOlderThan) => {
                self.wait_for(revision).await?;
                Ok(latest)
            }
        }
    }

    async fn exactly(&self, revision: u64) -> Result<Start, ApiError> {
        self.wait_for(revision).await?;
        Ok(Start { at: Some(revision), after: None })
    }
}

/// 422 about the options themselves.
pub(crate) fn list_options(error: &FieldError) -> ApiError {
    let what = GroupKind { group: "meta.k8s.io", kind: "ListOptions" };
    ApiError::invalid(what, "", std::slice::from_ref(error))
}

/// 410 with a token that goes on from the last key at the latest revision, so
/// that a client may choose an inconsistent list over beginning again.
fn expired(error: ReadError, prefix: &str, after: Option<&str>) -> ApiError {
    match error {
        ReadError::Expired { requested, oldest } => {
            let Some(after) = after else {
                return ApiError::expired(format!(
                    "The resourceVersion for the provided list is too old: {requested} ({oldest})"
                ));
            };
            let after = after.strip_prefix(prefix).unwrap_or(after).to_owned();
            let mut error = ApiError::expired(
                "The provided continue parameter is too old to display a consistent list result. \
                 You can start a new list without the continue parameter, or use the continue token \
                 in this response to retrieve the remainder of the results.",
            );
            error.continue_token = Some(Token { rv: 0, after }.encode());
            error
        }
        ReadError::TooLarge { requested, current } => {
            ApiError::too_large_resource_version(requested, current)
        }
    }
}
