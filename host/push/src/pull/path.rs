//! Names of files as servers give them.

/// True if it is a relative path that stays in its folder, on every system.
pub(crate) fn is_path(path: &str) -> bool {
    const LONGEST_PATH: usize = 512;
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && !part
                .chars()
                .any(|c| c.is_control() || "\\:*?\"<>|".contains(c))
    };
    path.len() <= LONGEST_PATH && path.split('/').all(part)
}
