//! Writes container images as OCI image layouts in one tar file, without Docker:
//! `ctr image import`, `docker load`, `skopeo` and `sterna push` read them.
//!
//! The bytes depend on nothing but the files that go in: no clock, no user, no order of a
//! directory. So the same model is the same layer in every image, which registries store and nodes
//! pull and unpack once. Layers are not compressed: weights do not become smaller, and an
//! uncompressed layer is its own diff id.

pub mod config;
mod elf;
mod layout;
mod tar;

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
pub use elf::Program;
pub use layout::Written;
use layout::{Layer, Layout};

use self::config::ImageConfig;
use crate::output::Scratch;

/// The unfinished file.
const PART: &str = "image.tar";

/// A file of the image, in a layer of its own.
#[derive(Clone, Debug)]
pub struct ImageFile {
    /// Its path here.
    pub source: PathBuf,
    /// Its name in the image's root folder.
    pub name: &'static str,
    /// Unix permissions.
    pub mode: u32,
}

/// The part of an image that is for one kind of machine.
#[derive(Clone, Debug)]
pub struct Platform {
    /// Its configuration.
    pub config: ImageConfig,
    /// The files above those that all have, lowest first.
    pub files: Vec<ImageFile>,
}

/// Write an image to `to`: the files that all platforms have, lowest layer first, and above them
/// each platform's own. Several platforms are behind one index, from which a node takes its own.
/// `progress` is told the bytes done and in all.
///
/// # Errors
/// A file cannot be read, or `to` not be written; what was there before is then still there.
pub fn write(
    name: &str,
    shared: &[ImageFile],
    platforms: &[Platform],
    to: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> anyhow::Result<Written> {
    let scratch = Scratch::beside(to)?;
    let partial = File::create(scratch.path().join(PART))?;
    let total = shared
        .iter()
        .chain(platforms.iter().flat_map(|platform| &platform.files))
        .map(|file| file_size(&file.source))
        .sum::<anyhow::Result<u64>>()?;
    let mut done = 0;
    let mut layout = Layout::new(&partial)?;
    let mut add = |layout: &mut Layout<'_>, file: &ImageFile| -> anyhow::Result<Layer> {
        let layer = layout.add_file(file, &mut |bytes| {
            done += bytes;
            progress(done, total);
        });
        layer.with_context(|| format!("cannot put {} into the image", file.source.display()))
    };
    let mut below: Vec<Layer> = Vec::new();
    for file in shared {
        below.push(add(&mut layout, file)?);
    }
    let mut manifests = Vec::new();
    let mut all = below.clone();
    for platform in platforms {
        let mut layers = below.clone();
        for file in &platform.files {
            layers.push(add(&mut layout, file)?);
        }
        all.extend_from_slice(&layers[below.len()..]);
        manifests.push(layout.manifest(&layers, &platform.config)?);
    }
    let written = layout.finish(name, manifests, &all)?;
    scratch.publish(PART, to)?;
    Ok(written)
}

fn file_size(path: &Path) -> anyhow::Result<u64> {
    let data = path
        .metadata()
        .with_context(|| format!("cannot read {}", path.display()))?;
    if !data.is_file() {
        bail!("{} is no file", path.display());
    }
    Ok(data.len())
}
