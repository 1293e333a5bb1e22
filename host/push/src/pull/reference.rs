//! The names by which models are asked for.

use std::fmt::{self, Display, Formatter};

use anyhow::{Context, bail, ensure};
use reqwest::Url;

use crate::path::is_path;

/// The place of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reference {
    /// A repository of Hugging Face, or of a server with its interface.
    Hub(HubReference),
    /// A file.
    Url(Url),
    /// An artifact in a registry: `oci://REGISTRY/NAME:TAG`.
    Artifact(oci_client::Reference),
}

/// `ORG/NAME[@REVISION][:FILE or QUANTISATION]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HubReference {
    pub(crate) repository: String,
    pub(crate) revision: Option<String>,
    /// The name of a file, or a part of one such as `Q2_0`.
    pub(crate) file: Option<String>,
}

/// The revision of a repository that is taken where none is named.
pub(crate) const MAIN: &str = "main";

/// How a reference reads, for errors.
pub(crate) const FORMS: &str = "ORG/NAME[@REVISION][:FILE or QUANTISATION] of Hugging Face, \
                                https://ADDRESS of a file, or oci://REGISTRY/NAME:TAG";

const LONGEST: usize = 2048;

impl Reference {
    /// Read one.
    ///
    /// # Errors
    /// It has none of the forms.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Reference> {
        ensure!(
            text.len() <= LONGEST,
            "a name of {} bytes is none",
            text.len()
        );
        if let Some(artifact) = text.strip_prefix("oci://") {
            let reference = artifact.parse();
            let reference = reference.with_context(|| format!("{text} names no artifact"))?;
            return Ok(Reference::Artifact(reference));
        }
        if text.contains("://") {
            let url = Url::parse(text).with_context(|| format!("{text} is no address"))?;
            if !matches!(url.scheme(), "https" | "http") {
                bail!("{text}: https, http and oci are supported");
            }
            ensure!(
                url.username().is_empty() && url.password().is_none(),
                "an address with a password in it would be shown in lists: leave it out"
            );
            return Ok(Reference::Url(url));
        }
        let (name, file) = match text.split_once(':') {
            Some((name, file)) => (name, Some(file)),
            None => (text, None),
        };
        let (repository, revision) = match name.split_once('@') {
            Some((repository, revision)) => (repository, Some(revision)),
            None => (name, None),
        };
        let parts: Vec<&str> = repository.split('/').collect();
        let named = parts.len() == 2 && parts.iter().all(|part| is_name(part));
        ensure!(named, "{text} is no name of a model; there are {FORMS}");
        ensure!(
            revision.is_none_or(|revision| revision.split('/').all(is_name)),
            "{text}: a revision is a branch, a tag or a commit"
        );
        ensure!(
            file.is_none_or(is_path),
            "{text}: what follows the colon names no file"
        );
        Ok(Reference::Hub(HubReference {
            repository: repository.to_owned(),
            revision: revision.map(str::to_owned),
            file: file.map(str::to_owned),
        }))
    }
}

impl Display for Reference {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Reference::Hub(hub) => {
                f.write_str(&hub.repository)?;
                if let Some(revision) = &hub.revision {
                    write!(f, "@{revision}")?;
                }
                if let Some(file) = &hub.file {
                    write!(f, ":{file}")?;
                }
                Ok(())
            }
            Reference::Url(url) => write!(f, "{url}"),
            Reference::Artifact(reference) => write!(f, "oci://{reference}"),
        }
    }
}

fn is_name(part: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !part.is_empty() && !part.starts_with('.') && part.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_shown_as_it_was() {
        for text in [
            "org/name",
            "org/name@v1.0",
            "org/name:Q2_0",
            "org/name@main:sub/file.gguf",
            "https://host.example/a/model.gguf",
            "oci://registry.example/team/llm:1",
        ] {
            assert_eq!(Reference::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "",
            "name",
            "a/b/c",
            "a/..",
            "../b",
            "/a/b",
            "a/b:../c",
            "a/b:/c",
            "a/b:.hidden",
            "a/b@",
            "a/b@../c",
            "a b/c",
            "ftp://a.example/b",
            "https://me:secret@a.example/b",
            "oci://",
            "a/b:c\\d",
            "a/b:x\n",
        ] {
            assert!(Reference::parse(text).is_err(), "{text:?}");
        }
        assert!(Reference::parse(&"a/".repeat(4000)).is_err());
    }
}
