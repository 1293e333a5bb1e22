//! Output files of commands: written beside their place, and moved there whole.
//!
//! An existing file is never touched before its successor is complete and on the disk, and nothing
//! is left behind: not after an error, and not when the command is told to stop.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use anyhow::{Context, bail};
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

use crate::memory::lost_pages;

/// Folders that exist now. Held while one is made, so that none is made after the last look.
static FOLDERS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A folder for unfinished files, on the disk of the output; it goes with this value, or with the
/// process.
#[derive(Debug)]
pub struct Scratch {
    /// `None` once it is removed.
    folder: Option<TempDir>,
    path: PathBuf,
}

impl Scratch {
    /// Beside `output`, which is where the finished file will be.
    ///
    /// # Errors
    /// The folder cannot be written, or `output` is something that must not be replaced by a file.
    pub fn beside(output: &Path) -> anyhow::Result<Scratch> {
        let output = place(output)?;
        let parent = match output.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        listen_once();
        let mut folders = folders();
        let folder = tempfile::Builder::new()
            .prefix(".sterna-")
            .tempdir_in(parent)
            .with_context(|| format!("cannot write in {}", parent.display()))?;
        // Absolute: somebody may change the working directory.
        let path = fs::canonicalize(folder.path())?;
        folders.push(path.clone());
        Ok(Scratch {
            folder: Some(folder),
            path,
        })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Put the finished file `name` of this folder to its place.
    ///
    /// # Errors
    /// The disk is full, or the place cannot be written; what was there before is then still there.
    pub fn publish(&self, name: &str, output: &Path) -> anyhow::Result<()> {
        let to = place(output)?;
        let publish = || -> io::Result<()> {
            let from = self.path.join(name);
            // On the disk before it has the name: else a crash may leave a whole name with half a
            // file.
            File::open(&from)?.sync_all()?;
            fs::rename(&from, &to)
        };
        publish().with_context(|| format!("cannot write {}", output.display()))?;
        // Not every file system can; the file itself is safe.
        let _ = File::open(to.parent().unwrap_or(Path::new("."))).and_then(|dir| dir.sync_all());
        Ok(())
    }

    /// Write a whole file to its place.
    ///
    /// # Errors
    /// As [`Scratch::publish`].
    pub fn write(&self, bytes: &[u8], output: &Path) -> anyhow::Result<()> {
        self.write_with(output, |file| file.write_all(bytes))
    }

    /// Write a file to its place piece by piece.
    ///
    /// # Errors
    /// As [`Scratch::publish`].
    pub fn write_with(
        &self,
        output: &Path,
        write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        const NAME: &str = "whole";
        let create = || -> io::Result<()> {
            let mut file = BufWriter::new(File::create(self.path.join(NAME))?);
            write(&mut file)?;
            file.flush()
        };
        create().with_context(|| format!("cannot write {}", output.display()))?;
        self.publish(NAME, output)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let mut folders = folders();
        folders.retain(|path| *path != self.path);
        // What cannot be removed now, nobody can.
        drop(self.folder.take());
    }
}

fn folders() -> MutexGuard<'static, Vec<PathBuf>> {
    FOLDERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The final path of an output, through symbolic links. Replacing a device or a folder by a file
/// helps nobody.
fn place(output: &Path) -> anyhow::Result<PathBuf> {
    let name = output.display();
    let metadata = match fs::metadata(output) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if output.file_name().is_none() || output.as_os_str().as_encoded_bytes().ends_with(b"/")
            {
                bail!("{name} names no file: give the output a name");
            }
            return Ok(output.to_owned());
        }
        Err(error) => return Err(error).with_context(|| format!("cannot write {name}")),
    };
    if metadata.is_dir() {
        bail!("{name} is a directory: give the output a name in it");
    }
    if !metadata.is_file() {
        bail!(
            "{name} is a device or a pipe; the output is put in its place whole and needs a file"
        );
    }
    fs::canonicalize(output).with_context(|| format!("cannot write {name}"))
}

/// Exit codes of a process that a signal ended: 128 and the signal's number.
const BY_SIGNAL: i32 = 128;

/// Start the thread that removes the folders at SIGINT, SIGTERM and SIGHUP. Without it (no threads
/// left) a signal leaves them behind, as SIGKILL does.
fn listen_once() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let (ready, listening) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name("signals".into());
        let started = thread.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .build();
            match runtime {
                Ok(runtime) => runtime.block_on(end_at_a_signal(&ready)),
                Err(error) => tracing::warn!(%error, "signals are not caught"),
            }
        });
        if started.is_ok() {
            // An error means that the thread has given up.
            let _ = listening.recv();
        }
    });
}

/// Returns where the signals cannot be caught.
async fn end_at_a_signal(ready: &std::sync::mpsc::Sender<()>) {
    let caught = |number: i32| {
        // `nohup`, or a job in the background of a script: who started this wants it to go on.
        let ignored = is_ignored(number);
        (!ignored)
            .then(|| signal(SignalKind::from_raw(number)).ok())
            .flatten()
    };
    let [mut interrupt, mut terminate, mut hang_up] =
        [libc::SIGINT, libc::SIGTERM, libc::SIGHUP].map(caught);
    // Caught and not listened to: a file above `ulimit -f` is then an error, not the end.
    let _large = caught(libc::SIGXFSZ);
    lost_pages::end_by_sigterm(terminate.is_some());
    // The other end waits.
    let _ = ready.send(());
    async fn next(signal: &mut Option<tokio::signal::unix::Signal>) {
        match signal {
            Some(signal) => {
                signal.recv().await;
            }
            None => std::future::pending().await,
        }
    }
    let number = tokio::select! {
        () = next(&mut interrupt) => libc::SIGINT,
        () = next(&mut terminate) => libc::SIGTERM,
        () = next(&mut hang_up) => libc::SIGHUP,
    };
    // Never released: who makes a folder or removes one waits for the end.
    let folders = folders();
    for folder in folders.iter() {
        remove(folder);
    }
    if lost_pages::were_lost() {
        std::process::exit(lost_pages::EXIT_CODE);
    }
    if !folders.is_empty() {
        crate::say::note("stopped; nothing was written");
    }
    std::process::exit(BY_SIGNAL + number);
}

/// The main thread may be making another file in it.
fn remove(folder: &Path) {
    const TRIES: usize = 100;
    for _ in 0..TRIES {
        if fs::remove_dir_all(folder).is_ok() || !folder.exists() {
            return;
        }
    }
}

/// From `/proc/self/status`, `SigIgn: 0000000000001001`: bit n - 1 is signal n.
fn is_ignored(number: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (number - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    #[test]
    fn a_file_is_put_to_its_place_whole_and_nothing_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("out");
        fs::write(&output, "old").unwrap();
        let scratch = Scratch::beside(&output).unwrap();
        fs::write(scratch.path().join("half"), "new").unwrap();
        assert_eq!(fs::read(&output).unwrap(), b"old");
        scratch.publish("half", &output).unwrap();
        scratch
            .write(b"other", &folder.path().join("other"))
            .unwrap();
        drop(scratch);
        assert_eq!(fs::read(&output).unwrap(), b"new");
        let mut names = names(folder.path());
        names.sort();
        assert_eq!(names, ["other", "out"]);
    }

    #[test]
    fn a_link_is_followed_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        fs::write(&target, "old").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let scratch = Scratch::beside(&link).unwrap();
        scratch.write(b"new", &link).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn what_is_no_place_for_a_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let absent = folder.path().join("absent/");
        for (output, part) in [
            (Path::new("/dev/null"), "device"),
            (folder.path(), "directory"),
            (absent.as_path(), "names no file"),
            (Path::new(""), "names no file"),
        ] {
            let error = Scratch::beside(output).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert!(Scratch::beside(&folder.path().join("no/such/file")).is_err());
        assert!(names(folder.path()).is_empty());
    }
}
