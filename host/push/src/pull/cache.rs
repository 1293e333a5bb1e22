//! The folder of downloaded models: one folder for each name that was asked for, with a record of
//! what is in it once all of it is there.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::download::hex;

/// The record's name. No file of a model has it: theirs do not begin with a dot.
const RECORD: &str = ".sterna.json";

/// A model that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The name that was asked for.
    pub(crate) reference: String,
    /// The commit or digest that it stood for.
    pub(crate) revision: Option<String>,
    /// The model's file or directory, below the folder.
    pub(crate) model: PathBuf,
    pub(crate) files: Vec<Stored>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stored {
    /// Below the folder.
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

/// The folder of all of them.
pub(crate) struct Cache {
    root: PathBuf,
}

/// A folder of the cache.
pub(crate) struct Listed {
    pub(crate) folder: PathBuf,
    /// Bytes of its files.
    pub(crate) bytes: u64,
    /// `None` where the download is not finished.
    pub(crate) record: Option<Record>,
}

impl Cache {
    /// `given`, else STERNA_CACHE, else `sterna/models` in the user's cache folder.
    ///
    /// # Errors
    /// None of the variables that say where is set.
    pub(crate) fn find(given: Option<&Path>) -> anyhow::Result<Cache> {
        if let Some(root) = given {
            return Ok(Cache {
                root: root.to_owned(),
            });
        }
        let folder = |name: &str| {
            let value = std::env::var_os(name).filter(|value| !value.is_empty());
            value.map(PathBuf::from)
        };
        let user = folder("XDG_CACHE_HOME")
            .or_else(|| Some(folder("HOME")?.join(".cache")))
            .context("neither STERNA_CACHE nor HOME is set: give --cache DIR")?;
        Ok(Cache {
            root: user.join("sterna/models"),
        })
    }

    /// The folder of a reference: a name that a person recognises, and that no other has.
    pub(crate) fn folder(&self, reference: &str) -> PathBuf {
        const READABLE: usize = 64;
        let digest = hex(&Sha256::digest(reference.as_bytes()));
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || "._-".contains(c) {
                c
            } else {
                '-'
            }
        };
        let readable: String = reference.chars().map(plain).take(READABLE).collect();
        let readable = readable.trim_start_matches(['.', '-']);
        self.root.join(format!("{readable}-{:.8}", digest))
    }

    /// The model of a reference, if all of it is there.
    pub(crate) fn get(&self, reference: &str) -> Option<PathBuf> {
        let folder = self.folder(reference);
        let record = read(&folder).filter(|record| record.reference == reference)?;
        let whole = |file: &Stored| {
            let metadata = folder.join(&file.path).metadata();
            metadata.is_ok_and(|metadata| metadata.len() == file.bytes)
        };
        record
            .files
            .iter()
            .all(whole)
            .then(|| folder.join(&record.model))
    }

    /// Write the record of a model that is whole. Returns its path.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(crate) fn put(&self, record: &Record) -> anyhow::Result<PathBuf> {
        let folder = self.folder(&record.reference);
        let write = || -> std::io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(&folder)?;
            serde_json::to_writer_pretty(&mut file, record)?;
            file.persist(folder.join(RECORD))?;
            Ok(())
        };
        write().with_context(|| format!("cannot write in {}", folder.display()))?;
        Ok(folder.join(&record.model))
    }

    /// Everything that is there, by name.
    ///
    /// # Errors
    /// The folder is there and cannot be read.
    pub(crate) fn list(&self) -> anyhow::Result<Vec<Listed>> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                let root = self.root.display();
                return Err(error).with_context(|| format!("cannot read {root}"));
            }
        };
        let folders = entries.flatten().map(|entry| entry.path());
        let folders = folders.filter(|path| path.is_dir());
        let mut listed: Vec<Listed> = folders
            .map(|folder| Listed {
                bytes: size(&folder),
                record: read(&folder),
                folder,
            })
            .collect();
        listed.sort_by(|a, b| a.folder.cmp(&b.folder));
        Ok(listed)
    }

    /// Remove what a reference stands for, finished or not. Returns the bytes that were freed.
    ///
    /// # Errors
    /// There is nothing of that name, or it cannot be removed.
    pub(crate) fn remove(&self, reference: &str) -> anyhow::Result<u64> {
        let folder = self.folder(reference);
        if !folder.is_dir() {
            bail!(
                "{reference} is not in {}: `sterna pull --list` shows what is",
                self.root.display()
            );
        }
        let bytes = size(&folder);
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
        Ok(bytes)
    }
}

fn read(folder: &Path) -> Option<Record> {
    let text = fs::read(folder.join(RECORD)).ok()?;
    let record: Record = serde_json::from_slice(&text).ok()?;
    // Somebody may have written in it: nothing outside the folder is meant.
    let inside = |path: &PathBuf| path.to_str().is_some_and(crate::path::is_path);
    let paths = record
        .files
        .iter()
        .map(|file| &file.path)
        .chain([&record.model]);
    let whole = paths.into_iter().all(inside);
    whole.then_some(record)
}

/// Bytes of all files below a folder.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    bytes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_there_once_all_of_it_is_and_goes_whole() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::find(Some(root.path())).unwrap();
        let reference = "org/name:Q2_0";
        assert_eq!(cache.get(reference), None);
        let folder = cache.folder(reference);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("a.gguf"), "12345").unwrap();
        assert!(cache.list().unwrap()[0].record.is_none(), "unfinished");
        let record = Record {
            reference: reference.into(),
            revision: None,
            model: "a.gguf".into(),
            files: vec![Stored {
                path: "a.gguf".into(),
                bytes: 5,
                sha256: String::new(),
            }],
        };
        let path = cache.put(&record).unwrap();
        assert_eq!(cache.get(reference), Some(path.clone()));
        assert_eq!(cache.list().unwrap()[0].record, Some(record));
        assert_ne!(cache.folder(reference), cache.folder("org/name-Q2_0"));
        fs::write(path, "1234").unwrap();
        assert_eq!(cache.get(reference), None, "a file was cut");
        assert!(cache.remove(reference).unwrap() > 4);
        let error = cache.remove(reference).unwrap_err().to_string();
        assert!(error.contains("is not in"), "{error}");
        assert!(cache.list().unwrap().is_empty());
    }

    #[test]
    fn a_record_that_points_elsewhere_is_none() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::find(Some(root.path())).unwrap();
        let folder = cache.folder("a/b");
        fs::create_dir_all(&folder).unwrap();
        let record = r#"{"reference":"a/b","revision":null,"model":"../../etc","files":[]}"#;
        fs::write(folder.join(RECORD), record).unwrap();
        assert_eq!(cache.get("a/b"), None);
    }
}
