//! Optimisations that copy a model's weights into memory of the process's own, and when they are
//! left out.
//!
//! On a machine with one server, copies only cost memory nobody else wants. If several serve the
//! same file, as pods of one image on a node, each would hold its own of what they else share in
//! the page cache, and a scheduler that was told `requests.memory` of a pod knows nothing of it. A
//! process cannot see which of the two it is in; a memory limit of its control group is what pods
//! have and servers of a whole machine have not.

use std::path::Path;

use sterna_engine::optimisations::Optimisations;

use crate::cgroup::Cgroup;
use crate::process;

/// The optimisations that copy.
pub(crate) const COPYING: &str = "huge-pages,trits5,down-copy";

/// The value of `--without` that leaves nothing out, whatever the default.
const NOTHING: &str = "nothing";

/// The optimisations for a model: `without` as the user gave it, else all, or those that do not
/// copy where the model is a file and memory is limited.
///
/// # Errors
/// A sentence, for a name that is none.
pub(crate) fn optimisations(
    without: Option<&str>,
    model: Option<&Path>,
    memory_is_limited: impl FnOnce() -> bool,
) -> Result<Optimisations, String> {
    match without.map(str::trim) {
        Some(NOTHING) => Ok(Optimisations::ALL),
        Some(names) => Optimisations::without(names),
        None if model.is_some_and(Path::is_file) && memory_is_limited() => {
            tracing::info!(
                "memory is limited, as a pod's: weights stay in the model's file, which other pods of the node share \
                 (STERNA_WITHOUT={NOTHING} makes copies in 2 MiB pages)"
            );
            Optimisations::without(COPYING)
        }
        None => Ok(Optimisations::ALL),
    }
}

/// True if a control group leaves this process less memory than the machine has.
pub(crate) fn memory_is_limited() -> bool {
    let limit = Cgroup::of_this_process().memory_limit();
    let machine = process::machine_memory();
    limit.is_some_and(|limit| machine.is_none_or(|machine| limit < machine.total_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_left_where_it_lies_if_memory_is_limited() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let file = Some(file.path());
        let off = |without, model, limited| {
            optimisations(without, model, || limited).map(Optimisations::off)
        };
        assert_eq!(
            off(None, file, true).unwrap(),
            ["huge-pages", "trits5", "down-copy"],
            "a pod"
        );
        assert!(off(None, file, false).unwrap().is_empty(), "a machine");
        // A Hugging Face directory is quantised into memory, and the demo lies in the program:
        // there is no file to share.
        let folder = std::env::temp_dir();
        for model in [None, Some(folder.as_path())] {
            assert!(off(None, model, true).unwrap().is_empty());
        }
        assert!(off(Some("nothing"), file, true).unwrap().is_empty());
        assert!(off(Some(""), file, true).unwrap().is_empty());
        assert_eq!(
            off(Some("speculation"), file, true).unwrap(),
            ["speculation"]
        );
        assert!(off(Some("warp"), file, true).unwrap_err().contains("warp"));
    }
}
