//! The programs beside this one that speak to registries and hubs: `sterna-push`, `sterna-pull`.
//!
//! Programs of their own, because a client of theirs brings TLS and HTTP along, which have no
//! business in the process that serves, nor in the image.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, anyhow, bail};

/// Become the program `name` beside this one.
///
/// # Errors
/// It is not there.
pub fn become_program(name: &str, arguments: &[OsString]) -> anyhow::Result<()> {
    let program = beside(name)?;
    let error = Command::new(&program).args(arguments).exec();
    Err(anyhow!(error)).with_context(|| absent(&program))
}

fn beside(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell where this program lies")?;
    Ok(own.with_file_name(name))
}

fn absent(program: &Path) -> String {
    format!(
        "cannot start {}: `make image-tools` builds it; put it beside `sterna`",
        program.display()
    )
}

/// The model that `given` means: a path of this machine, or a name that `sterna pull` takes, which
/// is downloaded if it is not here yet.
///
/// # Errors
/// It is such a name, and cannot be had.
pub fn find_model(given: &Path) -> anyhow::Result<PathBuf> {
    let name = given.to_str().filter(|name| is_reference(name));
    let Some(name) = name.filter(|_| !given.exists()) else {
        return Ok(given.to_owned());
    };
    let program = beside("sterna-pull")?;
    let mut child = Command::new(&program)
        .args(["--while-stdin", name])
        // Open as long as this process lives.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| {
            format!("{name} is no file here, and as a name of a model it needs sterna-pull")
        })
        .with_context(|| absent(&program))?;
    let stdin = child.stdin.take();
    let output = child.wait_with_output()?;
    drop(stdin);
    if !output.status.success() {
        // It has said why on stderr.
        bail!("the model {name} cannot be had");
    }
    let path = String::from_utf8(output.stdout).context("the path of the model is no text")?;
    let path = path.lines().last().context("sterna-pull named no path")?;
    Ok(PathBuf::from(path))
}

/// True if a text that is no path of this machine is meant as a name for `sterna pull`: an address,
/// or `ORG/NAME` where no folder `ORG` is.
pub(crate) fn is_reference(name: &str) -> bool {
    if ["oci://", "https://", "http://"]
        .iter()
        .any(|scheme| name.starts_with(scheme))
    {
        return true;
    }
    let (repository, file) = name.split_once(':').unwrap_or((name, ""));
    let Some((organisation, model)) = repository.split_once('/') else {
        return false;
    };
    let plain = |part: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
        !part.is_empty() && !part.starts_with('.') && part.chars().all(allowed)
    };
    let is_file = |end: &str| file.is_empty() && model.to_ascii_lowercase().ends_with(end);
    plain(organisation)
        && plain(model)
        && ![".gguf", ".wasm", ".cwasm", ".safetensors"]
            .iter()
            .any(|end| is_file(end))
        && !Path::new(organisation).is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_paths() {
        for name in [
            "org/name",
            "org/name:Q2_0",
            "org/name@v1:a.gguf",
            "oci://a/b:1",
            "https://a/b",
        ] {
            assert!(is_reference(name), "{name}");
        }
        // Tests run in the crate's folder, which has a `src`.
        for path in [
            "model", "./a/b", "../b", "/a/b", "a/b.gguf", "a/b/c", "src/name", "a/", "~/m",
        ] {
            assert!(!is_reference(path), "{path}");
        }
    }

    #[test]
    fn a_path_that_is_there_is_taken_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(find_model(folder.path()).unwrap(), folder.path());
        let absent = folder.path().join("absent");
        assert_eq!(find_model(&absent).unwrap(), absent);
    }
}
