//! Reads the arrays of a numpy `.npz` as `numpy.savez` writes it: a zip whose members are stored, each a
//! version 1 `.npy` of little-endian f32. Nothing else is needed here, and a full reader would bring 70 crates.

use std::collections::HashMap;
use std::path::Path;

fn number(bytes: &[u8], at: usize, size: usize) -> usize {
    bytes[at..at + size].iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte))
}

/// Every f32 array by name, flattened in C order.
pub fn read(path: &Path) -> HashMap<String, Vec<f32>> {
    let zip = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    // The end record is the last 22 bytes: numpy writes no comment.
    let end = zip.len() - 22;
    assert_eq!(&zip[end..end + 4], b"PK\x05\x06", "no zip without a comment");
    let (entries, mut at) = (number(&zip, end + 10, 2), number(&zip, end + 16, 4));
    let mut arrays = HashMap::new();
    for _ in 0..entries {
        assert_eq!(number(&zip, at + 10, 2), 0, "a compressed member");
        let size = number(&zip, at + 24, 4);
        let name_len = number(&zip, at + 28, 2);
        let name = String::from_utf8(zip[at + 46..at + 46 + name_len].to_vec()).unwrap();
        let local = number(&zip, at + 42, 4);
        let data = local + 30 + number(&zip, local + 26, 2) + number(&zip, local + 28, 2);
        if let Some(array) = npy(&zip[data..data + size]) {
            arrays.insert(name.trim_end_matches(".npy").to_string(), array);
        }
        at += 46 + name_len + number(&zip, at + 30, 2) + number(&zip, at + 32, 2);
    }
    arrays
}

/// The numbers of an f32 array; `None` for another type.
fn npy(bytes: &[u8]) -> Option<Vec<f32>> {
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00", "no version 1 npy");
    let start = 10 + number(bytes, 8, 2);
    let header = std::str::from_utf8(&bytes[10..start]).unwrap();
    assert!(header.contains("'fortran_order': False"), "{header}");
    header
        .contains("'descr': '<f4'")
        .then(|| bytes[start..].chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}
