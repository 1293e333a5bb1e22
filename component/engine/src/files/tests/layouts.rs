//! Files in layout trits5: written and read back exactly, and refused with a reason where they are
//! damaged.

use sterna_kernels::TernaryLayout;

use super::edit::{find, refusal};
use super::*;
use crate::convert::{ConvertOptions, convert, save};
use crate::files::{Gguf, TRITS5, ggml_id};
use crate::placement;
use crate::weights::Linear;

fn options(layout: TernaryLayout) -> ConvertOptions {
    ConvertOptions {
        layout: Some(layout),
        head: Some(DenseType::F32.into()),
        ..ConvertOptions::default()
    }
}

fn write(from: &Path, to: &Path, options: &ConvertOptions) {
    convert(from, to, options, &mut |_, _| ()).unwrap_or_else(|error| panic!("{error}"));
}

/// A model in trits5, as a file's bytes.
fn trits5_file() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trits5.gguf");
    write(
        &fixture("tiny-I2_S.gguf"),
        &path,
        &options(TernaryLayout::Trits5),
    );
    let bytes = std::fs::read(&path).unwrap();
    (dir, path, bytes)
}

#[test]
fn there_and_back_gives_the_same_file() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b, c] = ["a", "b", "c"].map(|name| dir.path().join(format!("{name}.gguf")));
    write(&fixture("tiny-I2_S.gguf"), &a, &options(TernaryLayout::I2S));
    write(&a, &b, &options(TernaryLayout::Trits5));
    write(&b, &c, &options(TernaryLayout::I2S));
    assert!(std::fs::read(&a).unwrap() == std::fs::read(&c).unwrap());
    let trits5 = load(&b).unwrap();
    assert_same(
        &load(&a).unwrap(),
        &{
            let mut model = trits5.clone();
            model.to_layout(TernaryLayout::I2S).unwrap();
            model
        },
        0.0,
    );
    for linear in linears(&trits5) {
        assert_eq!(linear.layout(), TernaryLayout::Trits5);
        // A mapped file is used where it lies.
        assert_eq!(linear.packed().is_owned(), cfg!(not(feature = "native")));
    }
    // Who does not say otherwise keeps what the source has.
    let kept = ConvertOptions {
        layout: None,
        ..options(TernaryLayout::Trits5)
    };
    write(&b, &c, &kept);
    assert!(std::fs::read(&b).unwrap() == std::fs::read(&c).unwrap());
}

#[test]
fn any_shape_has_a_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("odd.gguf");
    for seed in 0..3 {
        let model = odd_model(seed);
        save(
            &model,
            &path,
            &options(TernaryLayout::Trits5),
            &mut |_, _| (),
        )
        .unwrap_or_else(|error| panic!("{error}"));
        let mut loaded = load(&path).unwrap();
        assert!(loaded.weights.has_layout(TernaryLayout::Trits5));
        loaded.to_layout(TernaryLayout::I2S).unwrap();
        assert_same(&model, &loaded, 0.0);
    }
}

#[test]
fn a_weight_of_two_has_none_and_the_tensor_is_named() {
    let mut model = load(&fixture("tiny-I2_S.gguf")).unwrap();
    let up = model.weights.layers[1].up.ternary_mut().unwrap();
    let mut packed = up.packed().to_vec();
    packed[7] |= 0b11;
    *up = Linear::new(up.rows(), up.cols(), packed.into(), up.scale()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    let trits5 = save(
        &model,
        &path,
        &options(TernaryLayout::Trits5),
        &mut |_, _| (),
    );
    let reason = trits5.unwrap_err().to_string();
    assert!(
        reason.contains("blk.1.ffn_up.weight") && reason.contains("code 3"),
        "{reason}"
    );
    assert!(!path.exists());
    save(&model, &path, &options(TernaryLayout::I2S), &mut |_, _| ()).unwrap();
}

#[test]
fn other_versions_and_none_are_refused() {
    let (_dir, path, bytes) = trits5_file();
    let key = find(&bytes, TRITS5.version_key.as_bytes());
    let version = key + TRITS5.version_key.len() + 4;
    let mut other = bytes.clone();
    other[version] = 2;
    let reason = refusal(&path, &other);
    assert!(
        reason.contains("is 2; this program reads 1") && reason.contains("--layout trits5"),
        "{reason}"
    );
    let mut none = bytes.clone();
    none[key] = b'x';
    let reason = refusal(&path, &none);
    assert!(reason.contains("has no metadata key"), "{reason}");
}

#[test]
fn truncated_files_and_other_shapes_are_refused() {
    let (_dir, path, bytes) = trits5_file();
    for keep in [bytes.len() / 2, bytes.len() * 9 / 10] {
        let reason = refusal(&path, &bytes[..keep]);
        assert!(reason.contains("cut short"), "{reason}");
    }
    let gguf = Gguf::parse(placement::open(&fixture("tiny-I2_S.gguf")).unwrap()).unwrap();
    let mut tensors = gguf.tensors().iter();
    let tensor = tensors.find(|tensor| tensor.ty == ggml_id::I2_S).unwrap();
    let mut other = bytes.clone();
    // The name, the number of dimensions, the first one, then the rows.
    other[find(&bytes, tensor.name.as_bytes()) + tensor.name.len() + 4 + 8] += 1;
    let reason = refusal(&path, &other);
    assert!(
        reason.contains(&tensor.name) && reason.contains("overlap"),
        "{reason}"
    );
}

#[test]
fn a_tensor_with_too_little_room_is_refused() {
    let (_dir, path, bytes) = trits5_file();
    let gguf = Gguf::parse(placement::open(&path).unwrap()).unwrap();
    let trits5: Vec<_> = gguf
        .tensors()
        .iter()
        .filter(|tensor| tensor.ty == ggml_id::STERNA_TRITS5)
        .collect();
    // The second one begins where the first one does: 32 bytes later, as alignment asks.
    let (first, second) = (trits5[0], trits5[1]);
    let offset = |tensor: &crate::files::gguf::TensorInfo| {
        // name, number of dimensions, two dimensions, type, offset
        find(&bytes, tensor.name.as_bytes()) + tensor.name.len() + 4 + 16 + 4
    };
    let (from, to) = (offset(first), offset(second));
    let start = u64::from_le_bytes(bytes[from..from + 8].try_into().unwrap());
    let mut overlapping = bytes.clone();
    overlapping[to..to + 8].copy_from_slice(&(start + 32).to_le_bytes());
    let reason = refusal(&path, &overlapping);
    assert!(
        reason.contains(&first.name) && reason.contains("overlap"),
        "{reason}"
    );
}
