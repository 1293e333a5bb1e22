//! A model in a registry: an artifact of the CNCF's ModelPack specification, whose layers are files
//! (<https://github.com/modelpack/model-spec>), or of another kind that names its files.

use anyhow::{Context, bail, ensure};
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::{Client, Reference, RegistryOperation};
use serde_json::Value as Json;
use sterna_push::credentials;

use crate::download::Remote;
use crate::reference::is_path;

/// The annotations that name a layer's file: ModelPack's, and ORAS's.
const PATHS: [&str; 2] = ["org.cncf.model.filepath", "org.opencontainers.image.title"];

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A file of the artifact.
pub(crate) struct Layer {
    /// Its path in the model.
    pub(crate) path: String,
    pub(crate) remote: Remote,
}

/// The files of an artifact, and its digest.
///
/// # Errors
/// The registry cannot be reached or refuses, or it is no artifact of files.
pub(crate) async fn layers(
    reference: &Reference,
    plain_http: bool,
) -> anyhow::Result<(Vec<Layer>, String)> {
    let config = ClientConfig {
        protocol: if plain_http {
            ClientProtocol::Http
        } else {
            ClientProtocol::Https
        },
        user_agent: concat!("sterna-pull/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    };
    let client = Client::try_from(config).context("cannot set up TLS")?;
    let registry = reference.resolve_registry();
    let login = credentials::find(registry)?;
    let reached = || {
        format!(
            "cannot read {reference}: {registry} is not reached (this machine is offline, or it \
             speaks no TLS: --plain-http), or wants a login (`docker login {registry}`)"
        )
    };
    let token = client
        .auth(reference, &login, RegistryOperation::Pull)
        .await;
    let token = token.with_context(reached)?;
    let manifest = client
        .pull_manifest_raw(reference, &login, &[MANIFEST])
        .await;
    let (manifest, digest) = manifest.with_context(reached)?;
    let manifest: Json = serde_json::from_slice(&manifest).context("its manifest is no JSON")?;
    let authorization = match (token, &login) {
        (Some(token), _) => Some(format!("Bearer {token}")),
        (None, oci_client::secrets::RegistryAuth::Basic(user, password)) => {
            Some(basic(user, password))
        }
        (None, _) => None,
    };
    let scheme = if plain_http { "http" } else { "https" };
    let base = format!("{scheme}://{registry}/v2/{}/blobs", reference.repository());
    let layers = files(&manifest)?.into_iter().map(|file| Layer {
        path: file.path,
        remote: Remote {
            url: format!("{base}/{}", file.digest),
            authorization: authorization.clone(),
            bytes: Some(file.bytes),
            sha256: file.digest.strip_prefix("sha256:").map(str::to_owned),
        },
    });
    Ok((layers.collect(), digest))
}

fn basic(user: &str, password: &str) -> String {
    use base64::Engine;
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {pair}")
}

#[derive(Debug, PartialEq, Eq)]
struct File {
    path: String,
    digest: String,
    bytes: u64,
}

/// The layers that are files of a model.
fn files(manifest: &Json) -> anyhow::Result<Vec<File>> {
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
        let files = files(&manifest).unwrap();
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
            let error = files(&json!({"layers": layers})).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        assert!(files(&json!({})).is_err());
    }
}
