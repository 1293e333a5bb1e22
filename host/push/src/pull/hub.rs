//! Hugging Face's interface: a repository is asked for its files.

use anyhow::{Context, ensure};
use futures_util::StreamExt;
use reqwest::{Client, Url};

use crate::download::{Remote, answer, offline};
use crate::listing::{Chosen, Listing, Sibling, choose};
use crate::reference::{HubReference, MAIN};

/// The server where HF_ENDPOINT names no other.
const ENDPOINT: &str = "https://huggingface.co";

/// The largest answer that is read.
const MOST_BYTES: usize = 32 << 20;

/// A repository at one commit.
pub(crate) struct Repository {
    /// The commit.
    pub(crate) revision: String,
    endpoint: String,
    name: String,
    authorization: Option<String>,
    files: Vec<Sibling>,
}

impl Repository {
    /// Ask for it.
    ///
    /// # Errors
    /// The server cannot be reached, refuses, or answers something else.
    pub(crate) async fn ask(
        client: &Client,
        reference: &HubReference,
    ) -> anyhow::Result<Repository> {
        let variable = |name: &str| {
            std::env::var(name)
                .ok()
                .filter(|value| !value.trim().is_empty())
        };
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        let endpoint = endpoint.trim().trim_end_matches('/').to_owned();
        Url::parse(&endpoint).with_context(|| format!("HF_ENDPOINT: {endpoint} is no address"))?;
        let authorization = variable("HF_TOKEN").map(|token| format!("Bearer {}", token.trim()));
        let name = &reference.repository;
        let revision = reference
            .revision
            .as_deref()
            .unwrap_or(MAIN)
            .replace('/', "%2F");
        let url = format!("{endpoint}/api/models/{name}/revision/{revision}?blobs=true");
        let mut request = client.get(&url);
        if let Some(authorization) = &authorization {
            request = request.header(reqwest::header::AUTHORIZATION, authorization);
        }
        let response = request.send().await.map_err(|error| offline(&url, error))?;
        let status = response.status();
        ensure!(status.is_success(), "{}", answer(status, &url));
        let mut body = response.bytes_stream();
        let mut text = Vec::new();
        while let Some(chunk) = body.next().await {
            text.extend(chunk.with_context(|| format!("{url}: the answer broke off"))?);
            ensure!(text.len() <= MOST_BYTES, "{url}: the answer is too long");
        }
        let Listing { revision, files } = Listing::parse(&text).with_context(|| url.clone())?;
        Ok(Repository {
            revision,
            endpoint,
            name: name.clone(),
            authorization,
            files,
        })
    }

    /// The model that `file` names, or the only one there is.
    ///
    /// # Errors
    /// There is none, or several; the error lists them.
    pub(crate) fn choose(&self, file: Option<&str>) -> anyhow::Result<Chosen> {
        let names: Vec<&str> = self.files.iter().map(|file| file.name.as_str()).collect();
        choose(&names, file).with_context(|| self.name.clone())
    }

    /// A file of it to download.
    pub(crate) fn remote(&self, name: &str) -> anyhow::Result<Remote> {
        let file = self.files.iter().find(|file| file.name == name);
        let lfs = file.and_then(|file| file.lfs.as_ref());
        let size = file.and_then(|file| file.size);
        let mut url = Url::parse(&format!(
            "{}/{}/resolve/{}",
            self.endpoint, self.name, self.revision
        ))?;
        url.path_segments_mut()
            .map_err(|()| anyhow::anyhow!("HF_ENDPOINT has no paths"))?
            .extend(name.split('/'));
        Ok(Remote {
            url: url.into(),
            authorization: self.authorization.clone(),
            bytes: lfs.and_then(|lfs| lfs.size).or(size),
            sha256: lfs.and_then(|lfs| lfs.sha256.clone()),
        })
    }
}
