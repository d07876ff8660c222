//! Reading one object, and lists with their pages.

use std::sync::Arc;
use std::time::Duration;

use windlass_store::{Entry, ReadError};

use crate::call::Call;
use crate::flow;
use crate::kinds::Hook;
use crate::listing::{self, VersionMatch};
use crate::select::Selection;
use crate::status::ApiError;
use crate::token::Token;

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

/// Where to read a list, and how much of it.
struct Start {
    at: Option<u64>,
    after: Option<String>,
    limit: Option<usize>,
}

impl Call<'_> {
    /// Reads one object.
    ///
    /// # Errors
    /// 404; 504 when the revision asked for does not come.
    pub async fn get(&self) -> Result<Arc<Entry>, ApiError> {
        if self.kind.hook == Hook::ComponentStatus {
            return self.component();
        }
        let asked = listing::revision(&self.options.resource_version);
        // Without a reason of its own, which upstream answers too.
        if let Some(revision) = asked.map_err(|why| ApiError::new(500, "", why))? {
            self.wait_for(revision).await?;
        }
        let entry = self.server.inner.store.get(&self.key()).ok_or_else(|| self.not_found())?;
        self.readable(entry).await
    }

    /// Waits until the store has reached a revision.
    pub(crate) async fn wait_for(&self, revision: u64) -> Result<(), ApiError> {
        let store = &self.server.inner.store;
        if store.revision() >= revision {
            return Ok(());
        }
        let too_large = || ApiError::too_large_resource_version(revision, store.revision());
        let mut watch = store.watch("", revision - 1).map_err(|_| too_large())?;
        flow::standing(async {
            match tokio::time::timeout(FRESH, watch.next()).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(_)) | Err(_) => Err(too_large()),
            }
        })
        .await
    }

    /// Reads a page of a list.
    ///
    /// # Errors
    /// 400 and 422 for options that do not go together, 410 when the revision
    /// is forgotten, 504 when it does not come.
    pub async fn list(&self) -> Result<Page, ApiError> {
        if self.kind.hook == Hook::ComponentStatus {
            return self.components();
        }
        listing::check_list(&self.options)?;
        let selection = self.selection()?;
        let start = self.list_start().await?;
        let namespace = Some(self.namespace.as_str()).filter(|namespace| !namespace.is_empty());
        let prefix = self.kind.collection(namespace);
        let after = start.after.as_deref().map(|after| format!("{prefix}{after}"));
        // One name is one object: nothing is left for a second page.
        let limit = start.limit.filter(|_| selection.name().is_none());
        self.page(&selection, &prefix, after, start.at, limit).await
    }

    async fn page(
        &self,
        selection: &Selection,
        prefix: &str,
        mut after: Option<String>,
        at: Option<u64>,
        limit: Option<usize>,
    ) -> Result<Page, ApiError> {
        let mut page = Page { entries: Vec::new(), revision: 0, next: None, remaining: None };
        let mut at = at;
        loop {
            let wanted = limit.map(|limit| limit - page.entries.len());
            let range = self.server.inner.store.range(prefix, after.as_deref(), wanted, at);
            let range = range.map_err(|error| expired(error, prefix, after.as_deref()))?;
            page.revision = range.revision;
            at = Some(range.revision);
            let last = range.entries.last().map(|entry| entry.key.to_string());
            let readable = self.server.readable(&self.kind, &self.api_version, range.entries, true);
            for entry in readable.await? {
                if selection.matches(&self.kind, &self.api_version, &entry)? {
                    page.entries.push(entry);
                }
            }
            let full = limit.is_some_and(|limit| page.entries.len() >= limit);
            match last {
                Some(last) if range.more && full => {
                    let after = last.strip_prefix(prefix).unwrap_or(&last).to_owned();
                    page.next = Some(Token { revision: Some(range.revision), after }.encode());
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
        let limit = Some(options.limit).filter(|limit| *limit > 0);
        if let Some(token) = &options.token {
            let token = Token::decode(token)
                .map_err(|why| ApiError::bad_request(format!("invalid continue token: {why}")))?;
            if !matches!(options.resource_version.as_str(), "" | "0") {
                let why = "specifying resource version is not allowed when using continue";
                return Err(ApiError::bad_request(why));
            }
            return Ok(Start { at: token.revision, after: Some(token.after), limit });
        }
        let revision = listing::revision(&options.resource_version)
            .map_err(|why| ApiError::bad_request(format!("invalid resource version: {why}")))?;
        let (at, limit) = match (revision, VersionMatch::of(&options.version_match)) {
            (None, _) | (Some(1..), VersionMatch::NotOlderThan) => (None, limit),
            // Any state will do: kube-apiserver answers from memory, all of it.
            (Some(0), _) => (None, None),
            (Some(revision), VersionMatch::Exact) => (Some(revision), limit),
            // Clients that page ask for the version of their first page.
            (Some(revision), VersionMatch::Unset) if limit.is_some() => (Some(revision), limit),
            (Some(_), VersionMatch::Unset) => (None, None),
        };
        self.wait_for(revision.unwrap_or(0)).await?;
        Ok(Start { at, after: None, limit })
    }
}

/// 410 with a token that goes on from the last key at the latest revision, so
/// that a client may choose an inconsistent list over beginning again.
fn expired(error: ReadError, prefix: &str, after: Option<&str>) -> ApiError {
    match error {
        ReadError::Expired { .. } => {
            let Some(after) = after else {
                return ApiError::expired("The resourceVersion for the provided list is too old.");
            };
            let after = after.strip_prefix(prefix).unwrap_or(after).to_owned();
            let mut error = ApiError::expired(
                "The provided continue parameter is too old to display a consistent list result. \
                 You can start a new list without the continue parameter, or use the continue token \
                 in this response to retrieve the remainder of the results. Continuing with the provided token \
                 results in an inconsistent list - objects that were created, modified, or deleted between the \
                 time the first chunk was returned and now may show up in the list.",
            );
            error.continue_token = Some(Token { revision: None, after }.encode());
            error
        }
        ReadError::TooLarge { requested, current } => {
            ApiError::too_large_resource_version(requested, current)
        }
    }
}
