//! The chat template that `--chat-template` names, in place of the model's own.

use anyhow::{Context, bail};
use sterna_engine::template::{ChatTemplate, built_in, built_in_names};

/// Bytes of a template's file at most; published ones have 1 to 20 kB.
const MAX_BYTES: u64 = 1 << 20;

/// The source of a template: one of the names, or a file. Of nothing, as a variable of the
/// environment may be set to, it is nothing.
///
/// # Errors
/// It is neither, or cannot be parsed: in one line, as command lines are told of.
pub fn source(name_or_file: &str) -> Result<String, String> {
    if name_or_file.is_empty() {
        return Ok(String::new());
    }
    match built_in(name_or_file) {
        Some(source) => Ok(source.to_owned()),
        None => read(name_or_file).map_err(|error| format!("{error:#}")),
    }
}

fn read(name_or_file: &str) -> anyhow::Result<String> {
    let read = || -> anyhow::Result<String> {
        let length = std::fs::metadata(name_or_file)?;
        if !length.is_file() {
            bail!("it is no regular file");
        }
        if length.len() > MAX_BYTES {
            bail!(
                "it has {} bytes, and {MAX_BYTES} are the most",
                length.len()
            );
        }
        Ok(std::fs::read_to_string(name_or_file)?)
    };
    let source = read().with_context(|| {
        let names: Vec<&str> = built_in_names().collect();
        format!(
            "it is neither a file that can be read nor one of {}",
            names.join(", ")
        )
    })?;
    if let Some(fault) = ChatTemplate::new(Some(&source), "", "").fault() {
        bail!("the template cannot be used: {fault}");
    }
    Ok(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_or_a_file_is_taken() {
        assert!(source("chatml").unwrap().contains("<|im_start|>"));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("own.jinja");
        let path = path.to_str().unwrap();
        let error = source(path).unwrap_err();
        assert!(error.contains("bitnet, chatml, falcon3"), "{error}");
        std::fs::write(path, "{{ messages[0].content }}").unwrap();
        assert_eq!(source(path).unwrap(), "{{ messages[0].content }}");
        std::fs::write(path, "a\n{% if %}").unwrap();
        let error = source(path).unwrap_err();
        assert!(error.contains("line 2"), "{error}");
        assert!(source(dir.path().to_str().unwrap()).is_err());
        assert_eq!(source("").unwrap(), "");
    }
}
