//! The manifest of an artifact in a registry: which of its layers are files of a model.
//! `tests/fuzz` reads this file too, so it needs nothing but its neighbour `path.rs`.

use anyhow::{Context, bail, ensure};
use serde_json::Value as Json;

use super::path::is_path;

/// The annotations that name a layer's file: ModelPack's, and ORAS's.
const PATHS: [&str; 2] = ["org.cncf.model.filepath", "org.opencontainers.image.title"];

/// A file of the artifact.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) path: String,
    /// `sha256:` and 64 digits in hexadecimal.
    pub(crate) digest: String,
    pub(crate) bytes: u64,
}

/// The layers of a manifest that are files of a model.
///
/// # Errors
/// It is no manifest of an artifact whose layers are files, each with a name and a digest.
pub(crate) fn files(text: &[u8]) -> anyhow::Result<Vec<File>> {
    let manifest: Json = serde_json::from_slice(text).context("its manifest is no JSON")?;
    let layers = manifest["layers"].as_array();
    let layers = layers.context("it is an index or no artifact: its manifest has no layers")?;
    let mut files = Vec::new();
    for layer in layers {
        let media_type = layer["mediaType"].as_str().unwrap_or_default();
        // Code and data sets are no part of the model.
        if media_type.contains("vnd.cncf.model.code")
            || media_type.contains("vnd.cncf.model.dataset")
        {
            continue;
        }
        if media_type.contains(".tar")
            || media_type.contains("+gzip")
            || media_type.contains("+zstd")
        {
            bail!(
                "its layer of type {media_type} is an archive: a model is mapped as it lies, so \
                 publish it as raw files (modctl build --raw)"
            );
        }
        let path = PATHS
            .iter()
            .find_map(|key| layer["annotations"][key].as_str());
        let path = path.with_context(|| {
            format!("its layer of type {media_type} names no file: it is no ModelPack artifact")
        })?;
        ensure!(
            is_path(path),
            "its layer names the file {path:?}, which is none of a model"
        );
        let digest = layer["digest"].as_str().context("a layer without digest")?;
        let hex = digest.strip_prefix("sha256:").unwrap_or_default();
        ensure!(
            hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "its layer {path} has the digest {digest}, which is no SHA-256"
        );
        files.push(File {
            path: path.to_owned(),
            digest: digest.to_ascii_lowercase(),
            bytes: layer["size"].as_u64().context("a layer without size")?,
        });
    }
    ensure!(!files.is_empty(), "it has no files of a model");
    let mut paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    paths.sort_unstable();
    ensure!(
        paths.windows(2).all(|pair| pair[0] != pair[1]),
        "two of its layers are the same file"
    );
    Ok(files)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn layer(media_type: &str, path: &str) -> Json {
        json!({
            "mediaType": media_type,
            "digest": format!("sha256:{:064}", 7),
            "size": 3,
            "annotations": {"org.cncf.model.filepath": path},
        })
    }

    #[test]
    fn layers_with_paths_are_files() {
        let raw = "application/vnd.cncf.model.weight.v1.raw";
        let code = layer("application/vnd.cncf.model.code.v1.raw", "a.py");
        let manifest = json!({"layers": [layer(raw, "m.gguf"), code]});
        let files = files(manifest.to_string().as_bytes()).unwrap();
        assert_eq!(files.len(), 1);
        assert_eq!((files[0].path.as_str(), files[0].bytes), ("m.gguf", 3));
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let raw = "application/vnd.cncf.model.weight.v1.raw";
        let bad_digest = json!({"mediaType": raw, "digest": "sha256:../x", "size": 3,
            "annotations": {"org.cncf.model.filepath": "m.gguf"}});
        for (layers, words) in [
            (json!([]), "no files"),
            (
                json!([layer("application/vnd.cncf.model.weight.v1.tar", "a")]),
                "archive",
            ),
            (json!([layer(raw, "../a")]), "none of a model"),
            (json!([layer(raw, "/a")]), "none of a model"),
            (json!([bad_digest]), "no SHA-256"),
            (json!([layer(raw, "a"), layer(raw, "a")]), "same file"),
            (json!([{"mediaType": raw}]), "names no file"),
        ] {
            let error = files(json!({"layers": layers}).to_string().as_bytes())
                .unwrap_err()
                .to_string();
            assert!(error.contains(words), "{error}");
        }
        assert!(files(b"{}").is_err());
        assert!(files(b"[").is_err());
    }
}
