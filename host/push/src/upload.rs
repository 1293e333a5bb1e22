//! Sends blobs, then the manifest that names them.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, bail};
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::try_unfold;
use indicatif::ProgressBar;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::{Client, Reference, RegistryOperation};
use sterna_push::{byte_bar, credentials};

use crate::layout::{Image, Manifest, Place};

const CHUNK: usize = 1 << 20;

/// Upload what the registry does not have.
///
/// # Errors
/// The registry cannot be reached, refuses, or the file cannot be read.
pub(crate) async fn upload(image: &Image, to: &Reference, plain_http: bool) -> anyhow::Result<()> {
    let config = ClientConfig {
        protocol: if plain_http {
            ClientProtocol::Http
        } else {
            ClientProtocol::Https
        },
        // A model is gigabytes: one request with its length, rather than thousands of small ones.
        use_monolithic_push: true,
        user_agent: concat!("sterna-push/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    };
    let client = Client::try_from(config).context("cannot set up TLS")?;
    let registry = to.resolve_registry();
    client
        .auth(to, &credentials::find(registry)?, RegistryOperation::Push)
        .await
        .with_context(|| unreachable_registry(registry, plain_http))?;
    for (digest, place) in &image.blobs {
        let name = format!("{digest:.19} {:>8.1} MB", place.bytes as f64 / 1e6);
        if client.blob_exists(to, digest).await.unwrap_or(false) {
            println!("{name}  is there already");
            continue;
        }
        let bar = byte_bar(place.bytes, "sending");
        let blob = read(&image.path, *place, bar.clone())?;
        let sent = client
            .push_blob_stream(to, blob, digest, Some(place.bytes))
            .await;
        bar.finish_and_clear();
        sent.with_context(|| format!("the registry did not take the blob {digest}"))?;
        println!("{name}  sent");
    }
    // An index is taken only when what it names is there.
    for (digest, manifest) in &image.platforms {
        push_manifest(&client, &to.clone_with_digest(digest.clone()), manifest).await?;
    }
    push_manifest(&client, to, &image.manifest).await?;
    let digest = client
        .fetch_manifest_digest(to, &credentials::find(registry)?)
        .await
        .context("the registry does not show the manifest")?;
    println!("{to}@{digest}");
    Ok(())
}

async fn push_manifest(client: &Client, to: &Reference, manifest: &Manifest) -> anyhow::Result<()> {
    let media_type = manifest
        .media_type
        .parse()
        .context("the manifest's media type")?;
    client
        .push_manifest_raw(to, manifest.bytes.clone(), media_type)
        .await
        .context("the registry did not take the manifest")?;
    Ok(())
}

fn unreachable_registry(registry: &str, plain_http: bool) -> String {
    let hint = if plain_http {
        "without TLS"
    } else {
        "with TLS; --plain-http speaks to one on this machine that has none"
    };
    format!(
        "cannot log in to {registry} {hint}. Credentials are those of `docker login {registry}`"
    )
}

/// A blob in chunks, read as they are sent.
fn read(
    path: &Path,
    place: Place,
    bar: ProgressBar,
) -> anyhow::Result<impl Stream<Item = Result<Bytes, OciDistributionError>> + Send + 'static> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(place.offset))?;
    if file.metadata()?.len() < place.offset + place.bytes {
        bail!("{} became shorter", path.display());
    }
    Ok(try_unfold((file, place.bytes), move |(mut file, left)| {
        let bar = bar.clone();
        async move {
            let size = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK);
            if size == 0 {
                return Ok(None);
            }
            let mut chunk = vec![0; size];
            file.read_exact(&mut chunk)?;
            bar.inc(size as u64);
            Ok(Some((Bytes::from(chunk), (file, left - size as u64))))
        }
    }))
}
