//! One file over HTTP: resumed where it was cut off, checked, and given its name when it is whole.
//!
//! Bytes go into `.NAME.part`, what is known of them into `.NAME.part.json`. A later try asks for
//! the rest with `Range` and `If-Range`, so that a file that has changed meanwhile comes whole. A
//! server that says nothing by which a change would show (no strong ETag, no digest known
//! beforehand) is asked for the whole file again.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use futures_util::StreamExt;
use indicatif::ProgressBar;
use reqwest::header::{
    AUTHORIZATION, CONTENT_RANGE, ETAG, HeaderMap, IF_RANGE, RANGE, RETRY_AFTER,
};
use reqwest::{Client, Response, StatusCode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A file to have.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    pub(crate) url: String,
    /// `Authorization`.
    pub(crate) authorization: Option<String>,
    /// Its bytes, where they are known beforehand.
    pub(crate) bytes: Option<u64>,
    /// Its SHA-256 in hexadecimal, where it is known beforehand.
    pub(crate) sha256: Option<String>,
}

/// How often a download is tried again without a byte having come in between.
const TRIES: u32 = 5;
/// The pause before the second try; it doubles with each.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest pause that a server may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How often a file that has turned out as another one is fetched from its beginning again.
const RESTARTS: u32 = 2;
/// The largest file: several times the largest model there is.
const MOST_BYTES: u64 = 4 << 40;

/// What is known of the bytes that are there.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    url: String,
    etag: Option<String>,
    total: Option<u64>,
}

/// A failure that another try cannot mend.
#[derive(Debug)]
struct Final(anyhow::Error);

/// Have `remote` at `to`. Its digest is returned.
///
/// # Errors
/// It cannot be had, or is another file than was promised; what came is kept for the next try
/// where that can use it.
pub(crate) async fn download(
    client: &Client,
    remote: &Remote,
    to: &Path,
    bar: &ProgressBar,
) -> anyhow::Result<String> {
    if let Some(expected) = &remote.sha256
        && to.is_file()
        && digest_of(&mut File::open(to)?)? == *expected
    {
        return Ok(expected.clone());
    }
    let mut restarts = 0;
    loop {
        let mut part = Part::open(to, remote)?;
        part.fill(client, remote, bar).await?;
        let digest = digest_of(&mut part.file)?;
        match &remote.sha256 {
            Some(expected) if *expected != digest => {
                part.forget()?;
                restarts += 1;
                ensure!(
                    restarts <= RESTARTS,
                    "{} has the SHA-256 {digest}, and not {expected}, which was promised: the file \
                     was changed or damaged on its way, {restarts} times",
                    remote.url
                );
                bar.reset();
            }
            _ => {
                part.finish(to)?;
                return Ok(digest);
            }
        }
    }
}

/// An unfinished file.
struct Part {
    file: File,
    path: PathBuf,
    state_path: PathBuf,
    state: State,
    have: u64,
}

impl Part {
    fn open(to: &Path, remote: &Remote) -> anyhow::Result<Part> {
        let name = to
            .file_name()
            .context("a file without a name")?
            .to_string_lossy();
        let path = to.with_file_name(format!(".{name}.part"));
        let state_path = to.with_file_name(format!(".{name}.part.json"));
        let open = || -> std::io::Result<File> {
            File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
        };
        let file = open().with_context(|| format!("cannot write {}", path.display()))?;
        if file.try_lock().is_err() {
            bail!(
                "{} is being downloaded by another process: wait for it, or end it",
                to.display()
            );
        }
        let state = std::fs::read(&state_path).ok();
        let state = state.and_then(|text| serde_json::from_slice::<State>(&text).ok());
        let mut part = Part {
            have: file.metadata()?.len(),
            file,
            path,
            state_path,
            state: State::default(),
        };
        match state {
            Some(state) if state.url == remote.url => part.state = state,
            _ => part.restart(None, None, remote)?,
        }
        Ok(part)
    }

    /// Bytes to come belong to another file than those that are there.
    fn restart(
        &mut self,
        etag: Option<String>,
        total: Option<u64>,
        remote: &Remote,
    ) -> anyhow::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.have = 0;
        self.state = State {
            url: remote.url.clone(),
            etag,
            total,
        };
        std::fs::write(&self.state_path, serde_json::to_vec(&self.state)?)?;
        Ok(())
    }

    fn forget(&mut self) -> anyhow::Result<()> {
        std::fs::remove_file(&self.path)?;
        // It may never have been written.
        let _ = std::fs::remove_file(&self.state_path);
        Ok(())
    }

    fn finish(self, to: &Path) -> anyhow::Result<()> {
        let finish = || -> std::io::Result<()> {
            self.file.sync_all()?;
            std::fs::rename(&self.path, to)
        };
        finish().with_context(|| format!("cannot write {}", to.display()))?;
        let _ = std::fs::remove_file(&self.state_path);
        Ok(())
    }

    /// Bytes of the whole file, where somebody has said.
    fn total(&self, remote: &Remote) -> Option<u64> {
        remote.bytes.or(self.state.total)
    }

    /// Fetch what is missing, in as many requests as it takes.
    async fn fill(
        &mut self,
        client: &Client,
        remote: &Remote,
        bar: &ProgressBar,
    ) -> anyhow::Result<()> {
        let (mut failures, mut before) = (0, self.have);
        let whole = |part: &Part| part.total(remote) == Some(part.have);
        while !whole(self) {
            let fault = match self.once(client, remote, bar).await {
                Ok(true) => return Ok(()),
                Ok(false) => anyhow!("the connection ended too early"),
                Err(Fault::Final(Final(error))) => return Err(error),
                Err(Fault::Again(error, pause)) => {
                    if let Some(pause) = pause {
                        tokio::time::sleep(pause.min(LONGEST_PAUSE)).await;
                    }
                    error
                }
            };
            if self.have > before {
                (failures, before) = (0, self.have);
            }
            failures += 1;
            if failures >= TRIES {
                let kept = self.have;
                return Err(fault).with_context(|| {
                    format!(
                        "cannot download {}: given up after {TRIES} tries without progress; {kept} \
                         bytes are kept, and the same command goes on from there",
                        remote.url
                    )
                });
            }
            tokio::time::sleep(PAUSE * (1 << (failures - 1))).await;
        }
        Ok(())
    }

    /// One request. True if the file is whole after it.
    async fn once(
        &mut self,
        client: &Client,
        remote: &Remote,
        bar: &ProgressBar,
    ) -> Result<bool, Fault> {
        let mut request = client.get(&remote.url);
        if let Some(authorization) = &remote.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let strong = self
            .state
            .etag
            .clone()
            .filter(|etag| !etag.starts_with("W/"));
        let resumes = self.have > 0 && (strong.is_some() || remote.sha256.is_some());
        if resumes {
            request = request.header(RANGE, format!("bytes={}-", self.have));
            if let Some(etag) = strong {
                request = request.header(IF_RANGE, etag);
            }
        }
        let first = self.have == 0;
        let response = request.send().await.map_err(|error| {
            // A name that cannot be resolved, or nobody there: trying on helps nobody.
            if first && error.is_connect() {
                return Fault::Final(Final(offline(&remote.url, error)));
            }
            Fault::Again(error.into(), None)
        })?;
        self.begin(&response, resumes, remote)?;
        bar.set_length(self.total(remote).unwrap_or(0));
        bar.set_position(self.have);
        let said = self.total(remote);
        self.take(response, said, bar).await
    }

    /// Whether the answer goes on where the file ends, or is another one.
    fn begin(&mut self, response: &Response, resumes: bool, remote: &Remote) -> Result<(), Fault> {
        let headers = response.headers();
        let etag = text(headers, ETAG.as_str());
        match response.status() {
            StatusCode::PARTIAL_CONTENT if resumes => {
                let range = text(headers, CONTENT_RANGE.as_str());
                let range = range.as_deref().and_then(content_range);
                let Some((start, total)) = range.filter(|(start, _)| *start == self.have) else {
                    // Not what was asked for: from the beginning, then.
                    self.restart(None, None, remote).map_err(fatal)?;
                    return Err(again("the server sent another part of the file"));
                };
                let other_tag =
                    etag.is_some() && self.state.etag.is_some() && etag != self.state.etag;
                let other_total = self.state.total.is_some_and(|known| total != Some(known));
                if other_tag || other_total {
                    self.restart(None, None, remote).map_err(fatal)?;
                    return Err(again(format!("the file has changed since byte {start}")));
                }
                check_total(total, remote)
            }
            StatusCode::OK => {
                let total = response.content_length();
                check_total(total, remote)?;
                self.restart(etag, total, remote).map_err(fatal)
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {
                self.restart(None, None, remote).map_err(fatal)?;
                Err(again("the file is shorter than it was"))
            }
            status => Err(refused(status, headers, &remote.url)),
        }
    }

    async fn take(
        &mut self,
        response: Response,
        said: Option<u64>,
        bar: &ProgressBar,
    ) -> Result<bool, Fault> {
        self.file
            .seek(SeekFrom::Start(self.have))
            .map_err(|error| fatal(error.into()))?;
        let mut body = response.bytes_stream();
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|error| Fault::Again(error.into(), None))?;
            let after = self.have + chunk.len() as u64;
            if after > said.unwrap_or(MOST_BYTES) {
                return Err(fatal(anyhow!(
                    "the server sends more than the {} bytes that it promised",
                    said.unwrap_or(MOST_BYTES)
                )));
            }
            self.file
                .write_all(&chunk)
                .map_err(|error| fatal(anyhow::Error::from(error).context("cannot write")))?;
            self.have = after;
            bar.set_position(after);
        }
        // Where nobody has said how long it is, a body that ended in order is whole.
        Ok(said.is_none_or(|said| said == self.have))
    }
}

/// SHA-256 of a file, in hexadecimal.
fn digest_of(file: &mut File) -> anyhow::Result<String> {
    file.seek(SeekFrom::Start(0))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(&buffer[..n]);
    }
}

/// Why a request did not make the file whole.
enum Fault {
    Final(Final),
    /// Another try may go better, after this pause.
    Again(anyhow::Error, Option<Duration>),
}

fn fatal(error: anyhow::Error) -> Fault {
    Fault::Final(Final(error))
}

fn again(what: impl Into<String>) -> Fault {
    Fault::Again(anyhow!(what.into()), None)
}

/// The whole file's length as the server has it must be the promised one.
fn check_total(total: Option<u64>, remote: &Remote) -> Result<(), Fault> {
    match (total, remote.bytes) {
        (Some(total), Some(promised)) if total != promised => Err(fatal(anyhow!(
            "{} has {total} bytes, and not the {promised} that were promised: it is another file",
            remote.url
        ))),
        (Some(total), None) if total > MOST_BYTES => Err(fatal(anyhow!(
            "{} has {total} bytes: no model is so large",
            remote.url
        ))),
        _ => Ok(()),
    }
}

/// `bytes 5-9/10`: the first byte, and the length of the whole where that is said.
fn content_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    let total = if total == "*" {
        None
    } else {
        Some(total.parse().ok()?)
    };
    Some((start.parse().ok()?, total))
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// An answer that is no file.
fn refused(status: StatusCode, headers: &HeaderMap, url: &str) -> Fault {
    let busy = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
    if busy {
        let pause = text(headers, RETRY_AFTER.as_str()).and_then(|s| s.parse().ok());
        let error = anyhow!("the server answers {status}");
        return Fault::Again(error, pause.map(Duration::from_secs));
    }
    fatal(anyhow!("{}", answer(status, url)))
}

/// What an answer that is no success means, and what to do.
pub(crate) fn answer(status: StatusCode, url: &str) -> String {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => format!(
            "{url}: {status}. If the model is gated or private, ask for access on its page and set \
             HF_TOKEN to a token of yours; for a registry log in (`docker login`)"
        ),
        StatusCode::NOT_FOUND => format!("{url}: {status}: there is no such model or file"),
        other => format!("{url}: {other}"),
    }
}

/// No answer at all.
pub(crate) fn offline(url: &str, error: reqwest::Error) -> anyhow::Error {
    let host = reqwest::Url::parse(url).ok();
    let host = host
        .as_ref()
        .and_then(|url| url.host_str())
        .unwrap_or(url)
        .to_owned();
    anyhow::Error::from(error.without_url()).context(format!(
        "cannot reach {host}: this machine is offline, or the name is wrong. `sterna pull --list` \
         shows what is here already; HF_ENDPOINT names another server"
    ))
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 0-0/*"), Some((0, None)));
        for other in [
            "",
            "bytes",
            "bytes */10",
            "items 5-9/10",
            "bytes 5-9/x",
            "bytes -1-2/3",
        ] {
            assert_eq!(content_range(other), None, "{other}");
        }
    }
}
