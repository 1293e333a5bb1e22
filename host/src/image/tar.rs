//! The few bytes of the tar format (POSIX ustar) that an image needs: files, by root, of no date.

use std::io::{self, Write};

/// Headers and contents fill whole blocks.
pub(super) const BLOCK: u64 = 512;

/// A header. Sizes from 8 GiB on, which ustar's octal digits cannot hold, are binary, as GNU tar,
/// Go and libarchive read them.
///
/// # Errors
/// A name of more than 100 bytes.
pub(super) fn header(name: &str, mode: u32, size: u64) -> io::Result<[u8; BLOCK as usize]> {
    let mut block = [0; BLOCK as usize];
    if name.len() > 100 {
        return Err(io::Error::other(format!("{name}: longer than 100 bytes")));
    }
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, format!("{mode:07o}").as_bytes());
    put(108, b"0000000"); // owner
    put(116, b"0000000"); // group
    if size < 1 << 33 {
        put(124, format!("{size:011o}").as_bytes());
    } else {
        put(124, &[0x80, 0, 0, 0]);
        put(128, &size.to_be_bytes());
    }
    put(136, b"00000000000"); // date
    put(148, b"        "); // the checksum counts as blanks
    put(156, b"0"); // a file
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(block)
}

/// The zeros after `size` bytes of content.
pub(super) fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK) - size
}

/// Write `n` zeros, fewer than a block or the two blocks at an archive's end.
pub(super) fn zeros(out: &mut impl Write, n: u64) -> io::Result<()> {
    io::copy(&mut io::Read::take(io::repeat(0), n), out).map(|_| ())
}

/// An archive with one file of `size` bytes is this long.
pub(super) fn archive_size(size: u64) -> u64 {
    BLOCK + size + padding(size) + 2 * BLOCK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tar_reads_what_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar");
        let mut archive = Vec::new();
        for (name, content) in [("a.txt", "first"), ("b", "")] {
            let size = content.len() as u64;
            archive.extend(header(name, 0o755, size).unwrap());
            archive.extend(content.as_bytes());
            zeros(&mut archive, padding(size)).unwrap();
        }
        zeros(&mut archive, 2 * BLOCK).unwrap();
        std::fs::write(&path, &archive).unwrap();
        let list = std::process::Command::new("tar")
            .args(["-tvf"])
            .arg(&path)
            .env("TZ", "UTC")
            .output()
            .unwrap();
        let list = String::from_utf8(list.stdout).unwrap();
        let words: Vec<&str> = list.split_whitespace().collect();
        assert_eq!(
            words,
            [
                "-rwxr-xr-x",
                "0/0",
                "5",
                "1970-01-01",
                "00:00",
                "a.txt",
                "-rwxr-xr-x",
                "0/0",
                "0",
                "1970-01-01",
                "00:00",
                "b"
            ]
        );
    }

    #[test]
    fn large_sizes_are_binary() {
        let octal = header("a", 0o644, (1 << 33) - 1).unwrap();
        assert_eq!(&octal[124..136], b"77777777777\0");
        let binary = header("a", 0o644, 1 << 33).unwrap();
        assert_eq!(binary[124..136], [0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]);
        assert!(header(&"a".repeat(101), 0, 0).is_err());
        assert_eq!(archive_size(1), 4 * BLOCK);
        assert_eq!(archive_size(0), 3 * BLOCK);
    }
}
