//! The node's `sterna`: opened before there is a container, and started inside it.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, anyhow};
use nix::fcntl::AtFlags;
use nix::unistd::execveat;

use crate::command::Command;

/// Its name, beside the shim.
const NAME: &str = "sterna";

/// Opened once by each shim process. The process that makes containers is forked from that one, and
/// their first processes from it, so the descriptor is theirs too; close-on-exec lets the server
/// itself not inherit it.
static PROGRAM: OnceLock<anyhow::Result<File>> = OnceLock::new();

/// Open the program. A failure is reported where a container needs it: containerd also runs the
/// shim for its version and to clean up.
pub(crate) fn open() {
    PROGRAM.get_or_init(|| {
        let shim = std::env::current_exe().context("cannot tell where the shim lies")?;
        beside(&shim)
    });
}

fn beside(shim: &Path) -> anyhow::Result<File> {
    let path: PathBuf = shim.with_file_name(NAME);
    File::open(&path).with_context(|| {
        format!(
            "cannot open {} on the node: the shim needs the program `{NAME}` in its own folder; install both files",
            path.display()
        )
    })
}

/// Turn this process into the program.
///
/// # Errors
/// It was not found, or the system refuses to start it; there is no other way to return.
pub(crate) fn become_it(command: &Command) -> anyhow::Result<()> {
    let program = match PROGRAM.get() {
        Some(Ok(program)) => program,
        Some(Err(error)) => return Err(anyhow!("{error:#}")),
        None => return Err(anyhow!("the node's `{NAME}` was not opened")),
    };
    // By descriptor, so that it needs neither a path in the container nor /proc. It must be a
    // static program: the loader that a dynamic one names is not in the container.
    let Err(errno) = execveat(
        program.as_fd(),
        c"",
        &command.arguments,
        &command.environment,
        AtFlags::AT_EMPTY_PATH,
    );
    Err(errno).context(
        "cannot start the node's `sterna`; it must be a static program for this machine (scripts/static.sh builds one)",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_without_the_program_is_told_what_to_install() {
        let folder = tempfile::tempdir().unwrap();
        let error = beside(&folder.path().join("containerd-shim-sterna-v1")).unwrap_err();
        let text = format!("{error:#}");
        assert!(
            text.contains("install both files") && text.contains("/sterna "),
            "{text}"
        );
        std::fs::write(folder.path().join(NAME), b"program").unwrap();
        assert!(beside(&folder.path().join("containerd-shim-sterna-v1")).is_ok());
    }
}
