//! Truncated and bit-flipped files: an error or a model, never a panic.

use super::*;
use crate::files::Gguf;

/// xorshift64; the tests are the same every time.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

fn small_gguf() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("small.gguf");
    crate::convert::save(&odd_model(7), &path, &Default::default(), &mut |_, _| ()).unwrap();
    std::fs::read(&path).unwrap()
}

fn header_len(bytes: &[u8]) -> usize {
    let gguf = Gguf::parse(Bytes::from(bytes.to_vec())).unwrap();
    gguf.tensors()
        .iter()
        .map(|tensor| tensor.start)
        .min()
        .unwrap()
}

#[test]
fn a_gguf_cut_anywhere_is_an_error() {
    let bytes = small_gguf();
    let header = header_len(&bytes);
    let shared = Bytes::from(bytes.clone());
    for end in (0..header).chain((header..bytes.len()).step_by(97)) {
        let error = load_bytes(shared.slice(0..end).unwrap())
            .unwrap_err()
            .to_string();
        let named = error.contains("damaged file") || error.contains("tensor `");
        assert!(named, "cut at {end}: {error}");
    }
}

#[test]
fn flipped_bits_of_a_gguf_never_panic() {
    let bytes = small_gguf();
    let header = header_len(&bytes);
    let mut random = Random(0x5eed);
    let mut refused = 0;
    for round in 0..4000 {
        let mut damaged = bytes.clone();
        let reach = if round % 4 == 0 { bytes.len() } else { header };
        for _ in 0..=random.below(3) {
            damaged[random.below(reach)] ^= 1 << random.below(8);
        }
        refused += usize::from(load_bytes(damaged).is_err());
    }
    assert!(
        refused > 500,
        "only {refused} of 4000 were refused: are the header's checks gone?"
    );
}

#[test]
fn huge_counts_and_lengths_are_refused_before_anything_is_allocated() {
    let bytes = small_gguf();
    let header = header_len(&bytes);
    for at in 8..header - 8 {
        for value in [u64::MAX, 1 << 62, 1 << 40, u64::from(u32::MAX)] {
            let mut damaged = bytes.clone();
            damaged[at..at + 8].copy_from_slice(&value.to_le_bytes());
            // Most are errors; where the bytes were a float or a name, the model may load.
            let _ = Gguf::parse(damaged.into());
        }
    }
    for (at, what) in [(8, "tensors"), (16, "metadata")] {
        let mut damaged = bytes.clone();
        damaged[at..at + 8].copy_from_slice(&(1u64 << 40).to_le_bytes());
        let error = load_bytes(damaged).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
}

#[test]
fn versions_and_endianness_are_told_apart() {
    let mut bytes = small_gguf();
    let refused = |bytes: &[u8]| load_bytes(bytes.to_vec()).unwrap_err().to_string();
    bytes[4] = 1;
    assert!(refused(&bytes).contains("version 1"));
    bytes[4] = 9;
    assert!(refused(&bytes).contains("version 9"));
    bytes[4..8].copy_from_slice(&3u32.to_be_bytes());
    assert!(refused(&bytes).contains("big-endian"));
    bytes[0] = b'g';
    assert!(refused(&bytes).contains("GGUF"));
    bytes[..8].copy_from_slice(b"GGUF\x02\0\0\0");
    assert!(load_bytes(bytes).is_ok(), "version 2 has the same layout");
}

#[test]
fn damaged_hugging_face_directories_never_panic() {
    let dir = tempfile::tempdir().unwrap();
    let config = ModelConfig {
        vocab_size: 513,
        n_layers: 1,
        ..odd_config()
    };
    let model = synthetic::from_config("odd", config, true, DenseType::F32, 8).unwrap();
    write_hf(dir.path(), &model, Linears::PackedMultiply, 1);
    assert!(load(dir.path()).is_ok());
    let mut random = Random(0xbad);
    for file in ["model.safetensors", "config.json"] {
        let path = dir.path().join(file);
        let bytes = std::fs::read(&path).unwrap();
        let header = if file == "config.json" {
            bytes.len()
        } else {
            8 + usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap()
        };
        let mut refused = 0;
        for _ in 0..1000 {
            let mut damaged = bytes.clone();
            damaged[random.below(header)] ^= 1 << random.below(8);
            replace(&path, &damaged);
            refused += usize::from(load(dir.path()).is_err());
        }
        assert!(refused > 100, "{file}: only {refused} of 1000 were refused");
        for end in (0..header).step_by(13).chain([bytes.len() - 1]) {
            replace(&path, &bytes[..end]);
            assert!(load(dir.path()).is_err(), "{file} cut at {end}");
        }
        replace(&path, &bytes);
    }
}

/// By a new file: the old one may still be mapped.
fn replace(path: &Path, bytes: &[u8]) {
    let next = path.with_extension("next");
    std::fs::write(&next, bytes).unwrap();
    std::fs::rename(next, path).unwrap();
}
