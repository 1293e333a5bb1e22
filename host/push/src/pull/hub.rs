//! Hugging Face's interface: the files of a repository, and which of them make a model.

use anyhow::{Context, bail, ensure};
use futures_util::StreamExt;
use reqwest::{Client, Url};
use serde::Deserialize;

use crate::download::{Remote, answer, offline};
use crate::reference::{HubReference, MAIN, is_path};

/// The server where HF_ENDPOINT names no other.
const ENDPOINT: &str = "https://huggingface.co";

/// The largest answer that is read.
const MOST_BYTES: usize = 32 << 20;

/// Files of a directory that are read, or say what the rest is.
const WANTED: [&str; 11] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "model.safetensors.index.json",
    "modules.json",
    "README.md",
];

/// A repository at one commit.
pub(crate) struct Repository {
    /// The commit.
    pub(crate) revision: String,
    endpoint: String,
    name: String,
    authorization: Option<String>,
    files: Vec<Sibling>,
}

/// A model in it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// Its files, below the repository.
    pub(crate) files: Vec<String>,
    /// True if they are a directory together.
    pub(crate) is_directory: bool,
}

#[derive(Deserialize)]
struct Answer {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

/// A file of the repository.
#[derive(Clone, Debug, Deserialize)]
struct Sibling {
    #[serde(rename = "rfilename")]
    name: String,
    size: Option<u64>,
    lfs: Option<Lfs>,
}

#[derive(Clone, Debug, Deserialize)]
struct Lfs {
    sha256: Option<String>,
    size: Option<u64>,
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
        let Answer { sha, siblings } = serde_json::from_slice(&text)
            .with_context(|| format!("{url}: the answer is no description of a model"))?;
        ensure!(
            is_path(&sha) && !sha.contains('/'),
            "{url}: the answer names no commit"
        );
        Ok(Repository {
            revision: sha,
            endpoint,
            name: name.clone(),
            authorization,
            // Others could leave the folder, and are hidden or of no use.
            files: siblings
                .into_iter()
                .filter(|file| is_path(&file.name))
                .collect(),
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

fn choose(names: &[&str], wanted: Option<&str>) -> anyhow::Result<Chosen> {
    let one = |name: &str| Chosen {
        files: vec![name.to_owned()],
        is_directory: false,
    };
    if let Some(wanted) = wanted
        && names.contains(&wanted)
    {
        return Ok(parts_of(names, wanted).unwrap_or_else(|| one(wanted)));
    }
    let lower = |text: &str| text.to_ascii_lowercase();
    let ggufs = names
        .iter()
        .copied()
        .filter(|name| lower(name).ends_with(".gguf"));
    // Of a model in parts, the first stands for all. Projectors of pictures are no models.
    let models = ggufs.filter(|name| part(name).is_none_or(|(_, number, _)| number == "00001"));
    let models: Vec<&str> = models
        .filter(|name| !lower(name).contains("mmproj"))
        .collect();
    let fits = |name: &&str| wanted.is_none_or(|wanted| lower(name).contains(&lower(wanted)));
    let matching: Vec<&str> = models.iter().copied().filter(fits).collect();
    match matching[..] {
        [only] => return Ok(parts_of(names, only).unwrap_or_else(|| one(only))),
        [] => {}
        [..] => bail!(
            "there are several models: add one of these behind a colon: {}",
            listed(&matching)
        ),
    }
    if let Some(wanted) = wanted {
        bail!("no file is called {wanted}; there are {}", listed(&models));
    }
    let weights = |name: &&&str| {
        name.ends_with(".safetensors") && !name.contains('/') && !name.starts_with("consolidated")
    };
    let wanted = |name: &&&str| WANTED.contains(*name);
    if !names.contains(&"config.json") || !names.iter().any(|name| weights(&name)) {
        bail!(
            "there is neither a GGUF file nor a config.json with safetensors: it is no model that is read"
        );
    }
    let files = names.iter().filter(|name| weights(name) || wanted(name));
    Ok(Chosen {
        files: files.map(|name| (*name).to_owned()).collect(),
        is_directory: true,
    })
}

/// `NAME`, number and count of `NAME-00001-of-00003.gguf`.
fn part(name: &str) -> Option<(&str, &str, &str)> {
    let (stem, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (stem, number) = stem.rsplit_once('-')?;
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits(number) && digits(count)).then_some((stem, number, count))
}

/// All parts of the model that `name` is one of, the first one first.
fn parts_of(names: &[&str], name: &str) -> Option<Chosen> {
    let (stem, _, count) = part(name)?;
    let same = |other: &&&str| part(other).is_some_and(|(s, _, c)| (s, c) == (stem, count));
    let mut files: Vec<String> = names
        .iter()
        .filter(same)
        .map(|name| (*name).to_owned())
        .collect();
    files.sort();
    Some(Chosen {
        files,
        is_directory: false,
    })
}

fn listed(names: &[&str]) -> String {
    const MOST: usize = 20;
    let mut text = names
        .iter()
        .take(MOST)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    if names.is_empty() {
        text = "none".into();
    } else if names.len() > MOST {
        text += &format!(" and {} others", names.len() - MOST);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str], wanted: Option<&str>) -> Vec<String> {
        choose(names, wanted).unwrap().files
    }

    #[test]
    fn one_model_is_taken_and_several_are_listed() {
        let names = [
            "README.md",
            "m-Q1_0.gguf",
            "m-Q2_0.gguf",
            "mmproj-m-F16.gguf",
        ];
        assert_eq!(files(&names, Some("q2_0")), ["m-Q2_0.gguf"]);
        assert_eq!(
            files(&names, Some("mmproj-m-F16.gguf")),
            ["mmproj-m-F16.gguf"]
        );
        assert_eq!(files(&names[..2], None), ["m-Q1_0.gguf"]);
        let error = choose(&names, None).unwrap_err().to_string();
        assert!(error.contains("m-Q1_0.gguf, m-Q2_0.gguf"), "{error}");
        let error = choose(&names, Some("Q8_0")).unwrap_err().to_string();
        assert!(error.contains("no file is called Q8_0"), "{error}");
        assert!(choose(&["README.md"], None).is_err());
    }

    #[test]
    fn all_parts_of_a_model_come_together() {
        let names = [
            "m-00002-of-00002.gguf",
            "m-00001-of-00002.gguf",
            "n-00001-of-00002.gguf",
        ];
        let both = ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"];
        assert_eq!(files(&names[..2], None), both);
        assert_eq!(files(&names, Some("m-00002-of-00002.gguf")), both);
    }

    #[test]
    fn a_directory_is_what_the_engine_reads_of_it() {
        let names = [
            "config.json",
            "model-00001-of-00001.safetensors",
            "model.safetensors.index.json",
            "tokenizer.json",
            "pytorch_model.bin",
            "sub/other.safetensors",
            "training.log",
        ];
        let chosen = choose(&names, None).unwrap();
        assert!(chosen.is_directory);
        assert_eq!(chosen.files, names[..4]);
    }
}
