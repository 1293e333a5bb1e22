//! Files of group-scaled tiles: what `convert` writes of each form of a Qwen3 model, used where it
//! lies, and refused with a reason where it is damaged.

use sterna_kernels::{GroupCodes, TernaryLayout};

use super::edit::{find, refusal};
use super::*;
use crate::convert::{ConvertOptions, convert};
use crate::files::gguf::TensorInfo;
use crate::files::{Gguf, group_tiles};
use crate::matrix::{Matrix, Table};
use crate::placement;

const FORMS: [&str; 10] = [
    "ternary-Q2_0.gguf",
    "ternary-PQ2_0.gguf",
    "ternary-F16-00001-of-00002.gguf",
    "ternary-unpacked",
    "binary-Q1_0.gguf",
    "binary-BF16.gguf",
    "binary-unpacked",
    "narrow-Q2_0.gguf",
    "wide-TQ1_0.gguf",
    "wide-TQ2_0.gguf",
];

fn converted(form: &str, options: &ConvertOptions) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiles.gguf");
    let from = fixture("qwen3").join(form);
    convert(&from, &path, options, &mut |_, _| ()).unwrap_or_else(|error| panic!("{error}"));
    (dir, path)
}

fn bytes_of(model: &Model) -> Vec<(String, Bytes)> {
    let weights = &model.weights;
    let tables = [Some(&weights.embedding), weights.head.as_ref()];
    let tables = tables.into_iter().flatten().map(|table| {
        let Table::Grouped(grouped) = table else {
            panic!("a table of numbers")
        };
        (format!("{:?}", grouped.shape()), grouped.bytes().clone())
    });
    let matrices = weights.layers.iter().flat_map(Layer::matrices);
    let matrices = matrices.map(|matrix| {
        let Matrix::Grouped(grouped) = matrix else {
            panic!("one scale")
        };
        (format!("{:?}", grouped.shape()), grouped.bytes().clone())
    });
    tables.chain(matrices).collect()
}

#[test]
fn every_form_becomes_the_same_tiles_and_is_used_where_they_lie() {
    for form in FORMS {
        let source = load(&fixture("qwen3").join(form)).unwrap();
        let (dir, path) = converted(form, &ConvertOptions::default());
        let model = load(&path).unwrap();
        assert_eq!(model.config, source.config, "{form}");
        assert_eq!(model.weights.head.is_none(), source.weights.head.is_none());
        assert_eq!(model.template.source(), source.template.source(), "{form}");
        for text in [
            "It's  12345 o'clock.\n<|im_end|>",
            "A\u{30a} \u{1e9b}\u{323}",
        ] {
            let tokens = |model: &Model| model.tokenize(text, true).unwrap();
            assert_eq!(tokens(&model), tokens(&source), "{form}");
        }
        for ((shape, found), (expected_shape, expected)) in
            bytes_of(&model).into_iter().zip(bytes_of(&source))
        {
            assert_eq!(shape, expected_shape, "{form}");
            assert!(*found == *expected, "{form}");
            assert_eq!(found.is_owned(), cfg!(not(feature = "native")), "{form}");
            assert_eq!(found.as_ptr().addr() % group_tiles::ALIGNMENT, 0, "{form}");
        }
        let ternary = form.starts_with("ternary") || form.starts_with("wide");
        if ternary {
            there_and_back(&fixture("qwen3").join(form), &path, &source);
        }
        // What is converted already stays what it is.
        let again = dir.path().join("again.gguf");
        convert(&path, &again, &ConvertOptions::default(), &mut |_, _| ()).unwrap();
        assert!(std::fs::read(&path).unwrap() == std::fs::read(&again).unwrap());
    }
}

/// In trits8, straight from the source and of tiles in two bits; and back.
fn there_and_back(source: &Path, tiles: &Path, model: &Model) {
    let dir = tempfile::tempdir().unwrap();
    let [a, b, c] = ["a", "b", "c"].map(|name| dir.path().join(name));
    let write = |from: &Path, to: &Path, codes| {
        let options = ConvertOptions {
            groups: Some(codes),
            ..ConvertOptions::default()
        };
        convert(from, to, &options, &mut |_, _| ()).unwrap_or_else(|error| panic!("{error}"));
        std::fs::read(to).unwrap()
    };
    let trits8 = write(source, &a, GroupCodes::Trits8);
    let loaded = load(&a).unwrap();
    assert!(loaded.weights.has_codes(GroupCodes::Trits8));
    assert!(!loaded.weights.has_codes(GroupCodes::Ternary));
    assert_eq!(table(&loaded, true), table(model, true));
    // The file's name is in it.
    let same = |a: &[u8], b: &[u8]| a.len() == b.len() && a[a.len() / 2..] == b[b.len() / 2..];
    assert!(same(&trits8, &write(tiles, &b, GroupCodes::Trits8)));
    let back = write(&a, &c, GroupCodes::Ternary);
    assert!(same(&back, &std::fs::read(tiles).unwrap()));
}

#[test]
fn a_table_of_numbers_can_be_chosen_and_a_layout_of_its_own_kind() {
    let options = ConvertOptions {
        head: Some(DenseType::F16.into()),
        ..ConvertOptions::default()
    };
    let (_dir, path) = converted("ternary-Q2_0.gguf", &options);
    let model = load(&path).unwrap();
    let source = load(&fixture("qwen3/ternary-Q2_0.gguf")).unwrap();
    assert_eq!(table(&model, true), table(&source, true));
    // Its numbers lie on the grid still, so that they are codes again.
    assert!(matches!(model.weights.embedding, Table::Grouped(_)));

    let (layout, trits8) = (Some(TernaryLayout::Trits5), Some(GroupCodes::Trits8));
    for (name, layout, groups, words) in [
        (
            "qwen3/ternary-Q2_0.gguf",
            layout,
            None,
            "two-bits and trits8",
        ),
        ("tiny-I2_S.gguf", None, trits8, "i2_s and trits5"),
        (
            "qwen3/binary-Q1_0.gguf",
            None,
            trits8,
            "cannot be ternary groups in trits8",
        ),
    ] {
        let options = ConvertOptions {
            layout,
            groups,
            head: (!name.contains("binary")).then_some(DenseType::F32.into()),
            ..ConvertOptions::default()
        };
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("x.gguf");
        let converted = convert(&fixture(name), &to, &options, &mut |_, _| ());
        let text = converted.unwrap_err().to_string();
        assert!(text.contains(words) && text.contains(".weight`"), "{text}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

#[test]
fn what_gguf_has_no_key_for_is_not_left_out() {
    let path = fixture("qwen3/ternary-Q2_0.gguf");
    let refusal = |change: fn(&mut Yarn)| {
        let mut model = load(&path).unwrap();
        let RopeScaling::Yarn(yarn) = &mut model.config.rope_scaling else {
            panic!("yarn")
        };
        change(yarn);
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("x.gguf");
        let saved = crate::convert::save(&model, &to, &ConvertOptions::default(), &mut |_, _| ());
        saved.unwrap_err().to_string()
    };
    for text in [
        refusal(|yarn| yarn.truncate = false),
        refusal(|yarn| yarn.attention_factor = 1.5),
        refusal(|yarn| yarn.original_context += 0.5),
        refusal(|yarn| {
            yarn.factor = 4.1;
            yarn.attention_factor = Yarn::new(4.1, 1.0).attention_factor;
        }),
    ] {
        assert!(text.contains("rope_scaling"), "{text}");
    }
}

/// A model in tiles, as a file's bytes.
fn tiles_file() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let (dir, path) = converted("narrow-Q2_0.gguf", &ConvertOptions::default());
    let bytes = std::fs::read(&path).unwrap();
    (dir, path, bytes)
}

/// Where a matrix's type stands in the header; its offset comes next.
fn type_at(bytes: &[u8], tensor: &TensorInfo) -> usize {
    let length = (tensor.name.len() as u64).to_le_bytes();
    let name = [&length[..], tensor.name.as_bytes()].concat();
    find(bytes, &name) + name.len() + 4 + 16
}

#[test]
fn other_versions_and_none_are_refused() {
    let (_dir, path, bytes) = tiles_file();
    let name = group_tiles::LAYOUT.version_key;
    let key = find(&bytes, name.as_bytes());
    let mut other = bytes.clone();
    other[key + name.len() + 4] = 2;
    let reason = refusal(&path, &other);
    assert!(reason.contains("is 2; this program reads 1"), "{reason}");
    assert!(reason.contains("sterna convert"), "{reason}");
    let mut none = bytes;
    none[key] = b'x';
    let reason = refusal(&path, &none);
    assert!(reason.contains("has no metadata key"), "{reason}");
}

#[test]
fn damage_is_refused_by_tensor() {
    let (_dir, path, bytes) = tiles_file();
    for keep in [bytes.len() / 2, bytes.len() * 9 / 10] {
        let reason = refusal(&path, &bytes[..keep]);
        assert!(reason.contains("cut short"), "{reason}");
    }
    std::fs::write(&path, &bytes).unwrap();
    let gguf = Gguf::parse(placement::open(&path).unwrap()).unwrap();
    let tiles: Vec<_> = gguf
        .tensors()
        .iter()
        .filter(|tensor| group_tiles::kind(tensor.ty).is_some())
        .collect();
    let tensor = tiles[3];
    // Tiles of larger groups, whose scales take less room, and of smaller codes.
    for (ty, word) in [(0x5354_0122_u32, "takes"), (0x5354_0111, "takes")] {
        let mut other = bytes.clone();
        other[type_at(&bytes, tensor)..][..4].copy_from_slice(&ty.to_le_bytes());
        let reason = refusal(&path, &other);
        assert!(reason.contains(&tensor.name), "{reason}");
        assert!(reason.contains(word) || reason.contains("128"), "{reason}");
    }
    // A type of tiles that is none.
    let mut other = bytes.clone();
    other[type_at(&bytes, tensor)..][..4].copy_from_slice(&0x5354_0133_u32.to_le_bytes());
    let reason = refusal(&path, &other);
    assert!(reason.contains(&tensor.name), "{reason}");
    // The next one begins before this one ends.
    let mut other = bytes.clone();
    let offset = type_at(&bytes, tiles[4]) + 4;
    let start = u64::from_le_bytes(bytes[offset..][..8].try_into().unwrap());
    other[offset..][..8].copy_from_slice(&(start - 64).to_le_bytes());
    let reason = refusal(&path, &other);
    assert!(reason.contains("overlap"), "{reason}");
}

/// As another tool may have written it: 32 bytes further on.
#[test]
fn tiles_that_are_not_aligned_are_refused_by_tensor() {
    let (_dir, path, mut bytes) = tiles_file();
    let key = find(&bytes, b"general.alignment");
    let value = key + b"general.alignment".len() + 4;
    bytes[value..value + 4].copy_from_slice(&32_u32.to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();
    let gguf = Gguf::parse(placement::open(&path).unwrap()).unwrap();
    let last = gguf.tensors().iter().max_by_key(|t| t.start).unwrap();
    let offset = type_at(&bytes, last) + 4;
    let start = u64::from_le_bytes(bytes[offset..][..8].try_into().unwrap());
    bytes[offset..][..8].copy_from_slice(&(start + 32).to_le_bytes());
    bytes.extend([0; 32]);
    let reason = refusal(&path, &bytes);
    // Where the header's end moves too, the first tensor is the one.
    assert!(reason.contains(".weight`: begins at byte"), "{reason}");
    assert!(reason.contains("multiples of 64"), "{reason}");
}
