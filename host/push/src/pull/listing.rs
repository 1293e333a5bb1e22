//! What Hugging Face's interface says of a repository: its files, and which of them make a model.
//! `tests/fuzz` reads this file too, so it needs nothing but its neighbour `path.rs`.

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use super::path::is_path;

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

/// A repository's commit, and its files that have a place in a folder.
pub(crate) struct Listing {
    /// The commit.
    pub(crate) revision: String,
    pub(crate) files: Vec<Sibling>,
}

impl Listing {
    /// From the server's answer.
    ///
    /// # Errors
    /// It is no description of a model, or names no commit.
    pub(crate) fn parse(text: &[u8]) -> anyhow::Result<Listing> {
        let Answer { sha, siblings } =
            serde_json::from_slice(text).context("the answer is no description of a model")?;
        ensure!(
            is_path(&sha) && !sha.contains('/'),
            "the answer names no commit"
        );
        // Others could leave the folder, and are hidden or of no use.
        let files = siblings.into_iter().filter(|file| is_path(&file.name));
        Ok(Listing {
            revision: sha,
            files: files.collect(),
        })
    }
}

/// A file of the repository.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Sibling {
    #[serde(rename = "rfilename")]
    pub(crate) name: String,
    pub(crate) size: Option<u64>,
    pub(crate) lfs: Option<Lfs>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Lfs {
    pub(crate) sha256: Option<String>,
    pub(crate) size: Option<u64>,
}

/// The model that `wanted` names among files, or the only one there is.
///
/// # Errors
/// There is none, or several; the error lists them.
pub(crate) fn choose(names: &[&str], wanted: Option<&str>) -> anyhow::Result<Chosen> {
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
