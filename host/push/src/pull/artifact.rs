//! A model in a registry: an artifact of the CNCF's ModelPack specification, whose layers are files
//! (<https://github.com/modelpack/model-spec>), or of another kind that names its files.

use anyhow::Context;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::{Client, Reference, RegistryOperation};
use sterna_push::credentials;

use crate::download::Remote;
use crate::manifest;

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
    let authorization = match (token, &login) {
        (Some(token), _) => Some(format!("Bearer {token}")),
        (None, oci_client::secrets::RegistryAuth::Basic(user, password)) => {
            Some(basic(user, password))
        }
        (None, _) => None,
    };
    let scheme = if plain_http { "http" } else { "https" };
    let base = format!("{scheme}://{registry}/v2/{}/blobs", reference.repository());
    let layers = manifest::files(&manifest)?.into_iter().map(|file| Layer {
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
