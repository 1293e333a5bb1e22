//! Reads an OCI image layout in a tar file: where each blob lies, and what the manifest names.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::Value;

/// Manifests and indexes larger than this are none.
const MAX_JSON_BYTES: u64 = 4 << 20;
const BLOCK: u64 = 512;

/// The position of a blob in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// A manifest or an index, byte for byte.
#[derive(Debug)]
pub(crate) struct Manifest {
    pub(crate) bytes: Vec<u8>,
    pub(crate) media_type: String,
}

impl Manifest {
    fn parse(bytes: Vec<u8>) -> anyhow::Result<(Manifest, Value)> {
        let content: Value = serde_json::from_slice(&bytes).context("its manifest is no JSON")?;
        let media_type = content["mediaType"]
            .as_str()
            .unwrap_or("application/vnd.oci.image.manifest.v1+json")
            .to_owned();
        Ok((Manifest { bytes, media_type }, content))
    }
}

/// An image to upload.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) path: PathBuf,
    /// The manifest as it stands, or the index over several, whose digest is the image's.
    pub(crate) manifest: Manifest,
    /// The manifests of an index, with their digests.
    pub(crate) platforms: Vec<(String, Manifest)>,
    /// Configurations and layers, with their digests, in the order of the manifests; what several
    /// have is there once.
    pub(crate) blobs: Vec<(String, Place)>,
}

impl Image {
    /// Read the index and the manifest.
    ///
    /// # Errors
    /// The file is no tar, no image layout, or lacks a blob that the manifest names.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Image> {
        let mut file = File::open(path)?;
        let entries = entries(&mut file)?;
        let index = json(&mut file, &entries, "index.json")
            .context("it is no OCI image layout; `sterna image` writes one")?;
        let descriptor = match index["manifests"].as_array().map(Vec::as_slice) {
            Some([one]) => one,
            Some(several) => bail!("it holds {} images; push takes one", several.len()),
            None => bail!("its index.json lists no manifests"),
        };
        let blob = |descriptor: &Value| -> anyhow::Result<(String, Place)> {
            let digest = descriptor["digest"]
                .as_str()
                .context("a descriptor without digest")?;
            let name = format!("blobs/{}", digest.replacen(':', "/", 1));
            let place = entries
                .get(&name)
                .with_context(|| format!("it lacks the blob {digest}"))?;
            if descriptor["size"].as_u64() != Some(place.bytes) {
                bail!(
                    "its blob {digest} has {} bytes, not {}",
                    place.bytes,
                    descriptor["size"]
                );
            }
            Ok((digest.to_owned(), *place))
        };
        let (_, place) = blob(descriptor)?;
        let (manifest, content) = Manifest::parse(read(&mut file, place)?)?;
        let mut platforms = Vec::new();
        let mut contents = Vec::new();
        if let Some(descriptors) = content["manifests"].as_array() {
            for descriptor in descriptors {
                let (digest, place) = blob(descriptor)?;
                let (manifest, content) = Manifest::parse(read(&mut file, place)?)?;
                platforms.push((digest, manifest));
                contents.push(content);
            }
        } else {
            contents.push(content);
        }
        let mut blobs: Vec<(String, Place)> = Vec::new();
        for content in &contents {
            let layers = content["layers"]
                .as_array()
                .context("its manifest has no layers")?;
            for descriptor in std::iter::once(&content["config"]).chain(layers) {
                let (digest, place) = blob(descriptor)?;
                if !blobs.iter().any(|(known, _)| *known == digest) {
                    blobs.push((digest, place));
                }
            }
        }
        Ok(Image {
            path: path.to_owned(),
            manifest,
            platforms,
            blobs,
        })
    }
}

fn json(file: &mut File, entries: &HashMap<String, Place>, name: &str) -> anyhow::Result<Value> {
    let place = entries
        .get(name)
        .with_context(|| format!("there is no {name} in it"))?;
    let bytes = read(file, *place)?;
    serde_json::from_slice(&bytes).with_context(|| format!("its {name} is no JSON"))
}

fn read(file: &mut File, place: Place) -> anyhow::Result<Vec<u8>> {
    if place.bytes > MAX_JSON_BYTES {
        bail!("a manifest of {} bytes is none", place.bytes);
    }
    file.seek(SeekFrom::Start(place.offset))?;
    let mut bytes = Vec::new();
    file.take(place.bytes).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != place.bytes {
        bail!("it is cut short");
    }
    Ok(bytes)
}

/// The plain files of a tar archive, by name. Contents are skipped, so its size does not matter.
fn entries(file: &mut File) -> anyhow::Result<HashMap<String, Place>> {
    let length = file.metadata()?.len();
    let mut entries = HashMap::new();
    let mut at = 0;
    while at + BLOCK <= length {
        let mut header = [0; BLOCK as usize];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut header)?;
        if header == [0; BLOCK as usize] {
            return Ok(entries);
        }
        if &header[257..262] != b"ustar" {
            bail!("it is no tar file (at byte {at})");
        }
        let bytes = size(&header[124..136]).context("a size in it is no number")?;
        let offset = at + BLOCK;
        at = bytes
            .checked_next_multiple_of(BLOCK)
            .and_then(|padded| offset.checked_add(padded))
            .filter(|end| *end <= length)
            .context("it is cut short")?;
        if matches!(header[156], b'0' | 0) {
            let name = header[..100]
                .split(|byte| *byte == 0)
                .next()
                .unwrap_or_default();
            let name = String::from_utf8_lossy(name)
                .trim_start_matches("./")
                .to_owned();
            entries.insert(name, Place { offset, bytes });
        }
    }
    bail!("it is cut short")
}

/// Octal digits, or binary behind a first byte of 0x80.
fn size(field: &[u8]) -> Option<u64> {
    if field[0] == 0x80 {
        return field[4..].try_into().ok().map(u64::from_be_bytes);
    }
    let text = std::str::from_utf8(field).ok()?;
    u64::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// A layout as GNU tar packs it, whose manifest names one blob.
    fn packed(folder: &Path, edit: impl Fn(&Path)) -> anyhow::Result<Image> {
        let root = folder.join("layout");
        let blobs = root.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        std::fs::write(blobs.join("aa"), b"{}").unwrap();
        let manifest = r#"{"config":{"digest":"sha256:aa","size":2},"layers":[]}"#;
        std::fs::write(blobs.join("bb"), manifest).unwrap();
        let index = format!(
            r#"{{"manifests":[{{"digest":"sha256:bb","size":{}}}]}}"#,
            manifest.len()
        );
        std::fs::write(root.join("index.json"), index).unwrap();
        edit(&root);
        let tar = folder.join("image.tar");
        let packed = Command::new("tar")
            .args(["--format=ustar", "-cf"])
            .arg(&tar)
            .args(["-C"])
            .arg(&root)
            .arg(".")
            .status();
        assert!(packed.unwrap().success());
        Image::open(&tar)
    }

    #[test]
    fn what_tar_packs_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let image = packed(folder.path(), |_| ()).unwrap();
        assert_eq!(image.blobs.len(), 1);
        assert_eq!(
            (image.blobs[0].0.as_str(), image.blobs[0].1.bytes),
            ("sha256:aa", 2)
        );
        let whole = std::fs::read(&image.path).unwrap();
        assert_eq!(&whole[image.blobs[0].1.offset as usize..][..2], b"{}");
        // Cut at any place it is refused, or its end marks alone are missing.
        let cut = folder.path().join("cut.tar");
        for len in (0..whole.len()).step_by(97) {
            std::fs::write(&cut, &whole[..len]).unwrap();
            if let Ok(image) = Image::open(&cut) {
                assert_eq!(image.blobs.len(), 1, "{len}");
            }
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for (edit, words) in [
            (
                (|root| std::fs::remove_file(root.join("index.json")).unwrap()) as fn(&Path),
                "no index.json",
            ),
            (
                |root| std::fs::remove_file(root.join("blobs/sha256/aa")).unwrap(),
                "lacks the blob sha256:aa",
            ),
            (
                |root| std::fs::write(root.join("blobs/sha256/aa"), "{ }").unwrap(),
                "has 3 bytes, not 2",
            ),
            (
                |root| std::fs::write(root.join("index.json"), "{}").unwrap(),
                "lists no manifests",
            ),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let error = format!("{:#}", packed(folder.path(), edit).unwrap_err());
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn sizes_are_octal_or_binary() {
        assert_eq!(size(b"00000000017\0"), Some(15));
        assert_eq!(
            size(&[0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]),
            Some(1 << 33)
        );
        assert_eq!(size(b"not a number"), None);
    }
}
