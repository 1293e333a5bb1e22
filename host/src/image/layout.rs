//! The OCI image layout: blobs named by their SHA-256, a manifest, and an index that names the
//! image (<https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md>).

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};

use anyhow::Context;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::ImageFile;
use super::config::{ImageConfig, tag};
use super::tar;

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CHUNK: usize = 1 << 20;

/// One layer, as the manifest names it.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    descriptor: Value,
    digest: String,
    bytes: u64,
}

/// A record of what was written.
#[derive(Clone, Debug)]
pub struct Written {
    /// The digest of the manifest, or of the index over several: the image's identity.
    pub digest: String,
    /// The layers' digests and bytes, lowest first; those of several platforms one after the other.
    pub layers: Vec<(String, u64)>,
}

/// An outer tar file under construction.
pub(super) struct Layout<'a> {
    out: BufWriter<&'a File>,
    written: Vec<String>,
}

impl<'a> Layout<'a> {
    pub(super) fn new(file: &'a File) -> anyhow::Result<Self> {
        let mut layout = Layout {
            out: BufWriter::with_capacity(CHUNK, file),
            written: Vec::new(),
        };
        layout.entry("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(layout)
    }

    /// A layer with one file. It is read once: its digest, which names the blob, is put in
    /// afterwards.
    pub(super) fn add_file(
        &mut self,
        file: &ImageFile,
        progress: &mut dyn FnMut(u64),
    ) -> anyhow::Result<Layer> {
        let source = File::open(&file.source)?;
        let size = source.metadata()?.len();
        let bytes = tar::archive_size(size);
        let start = self.out.stream_position()?;
        self.out.write_all(&tar::header("", 0o644, bytes)?)?;
        let mut hashed = Hashed {
            out: &mut self.out,
            hash: Sha256::new(),
        };
        hashed.write_all(&tar::header(file.name, file.mode, size)?)?;
        // What comes after `size` belongs to a file that grows; one that shrinks is an error.
        let copied = copy(&mut source.take(size), &mut hashed, progress)?;
        if copied != size {
            anyhow::bail!("it changed while it was read");
        }
        tar::zeros(&mut hashed, tar::padding(size) + 2 * tar::BLOCK)?;
        let digest = hex(&hashed.hash.finalize());
        tar::zeros(&mut self.out, tar::padding(bytes))?;
        let end = self.out.stream_position()?;
        self.out.seek(SeekFrom::Start(start))?;
        if self.written.contains(&digest) {
            // The same file twice is one blob: write over it.
        } else {
            self.out
                .write_all(&tar::header(&blob_path(&digest), 0o644, bytes)?)?;
            self.out.seek(SeekFrom::Start(end))?;
            self.written.push(digest.clone());
        }
        let descriptor =
            json!({"mediaType": LAYER, "digest": format!("sha256:{digest}"), "size": bytes});
        Ok(Layer {
            descriptor,
            digest,
            bytes,
        })
    }

    /// Configuration and manifest of one platform; the manifest's descriptor.
    pub(super) fn manifest(
        &mut self,
        layers: &[Layer],
        image: &ImageConfig,
    ) -> anyhow::Result<Value> {
        let diff_ids: Vec<String> = layers
            .iter()
            .map(|layer| format!("sha256:{}", layer.digest))
            .collect();
        let config = self.blob(CONFIG, &image.json(&diff_ids))?;
        let layer_list: Vec<&Value> = layers.iter().map(|layer| &layer.descriptor).collect();
        let mut manifest = self.blob(
            MANIFEST,
            &json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layer_list}),
        )?;
        manifest["platform"] = json!({"architecture": image.architecture, "os": "linux"});
        Ok(manifest)
    }

    /// Writes the image's name and the archive's end. Several manifests become one index, which is
    /// then the image.
    pub(super) fn finish(
        mut self,
        name: &str,
        mut manifests: Vec<Value>,
        layers: &[Layer],
    ) -> anyhow::Result<Written> {
        let mut image = match (manifests.pop(), manifests.is_empty()) {
            (Some(only), true) => only,
            (last, _) => {
                manifests.extend(last);
                self.blob(
                    INDEX,
                    &json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}),
                )?
            }
        };
        image["annotations"] = json!({
            "io.containerd.image.name": name,
            "org.opencontainers.image.ref.name": tag(name),
        });
        let index = json!({"schemaVersion": 2, "manifests": [image]});
        self.entry("index.json", index.to_string().as_bytes())?;
        tar::zeros(&mut self.out, 2 * tar::BLOCK)?;
        self.out.flush()?;
        let length = self.out.stream_position()?;
        // A blob written over may have left bytes behind the end.
        self.out.get_ref().set_len(length)?;
        let digest = image["digest"].as_str().context("a descriptor's digest")?;
        Ok(Written {
            digest: digest.to_owned(),
            layers: layers
                .iter()
                .map(|layer| (format!("sha256:{}", layer.digest), layer.bytes))
                .collect(),
        })
    }

    /// A small blob; its descriptor.
    fn blob(&mut self, media_type: &str, content: &Value) -> anyhow::Result<Value> {
        let content = content.to_string();
        let digest = hex(&Sha256::digest(content.as_bytes()));
        self.entry(&blob_path(&digest), content.as_bytes())?;
        Ok(
            json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": content.len()}),
        )
    }

    fn entry(&mut self, name: &str, content: &[u8]) -> anyhow::Result<()> {
        let size = content.len() as u64;
        self.out.write_all(&tar::header(name, 0o644, size)?)?;
        self.out.write_all(content)?;
        tar::zeros(&mut self.out, tar::padding(size))?;
        Ok(())
    }
}

fn blob_path(digest: &str) -> String {
    format!("blobs/sha256/{digest}")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn copy(
    from: &mut impl Read,
    to: &mut impl Write,
    progress: &mut dyn FnMut(u64),
) -> io::Result<u64> {
    let mut buffer = vec![0; CHUNK];
    let mut total = 0;
    loop {
        let n = from.read(&mut buffer)?;
        if n == 0 {
            return Ok(total);
        }
        to.write_all(&buffer[..n])?;
        total += n as u64;
        progress(n as u64);
    }
}

/// Counts what passes into a hash.
struct Hashed<W> {
    out: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.hash.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
