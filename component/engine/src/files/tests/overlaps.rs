//! Tensors that lie over each other, outside the file or where none may begin.

use super::edit::Edited;
use super::*;
use crate::files::Gguf;

/// Every tensor of the fixture moved onto every other one.
#[test]
fn no_two_tensors_share_a_byte() {
    let whole = Edited::fixture();
    let gguf = whole.gguf();
    let names: Vec<&str> = gguf.tensors().iter().map(|t| t.name.as_str()).collect();
    let mut refused = 0;
    for a in &names {
        for b in names.iter().filter(|b| *b != a) {
            let mut file = whole.clone();
            file.set_offset(a, whole.offset(b));
            let reason = Gguf::parse(file.0.into()).map(|_| ()).unwrap_err();
            let named =
                reason.contains(a) && reason.contains("overlap") || reason.contains("cut short");
            assert!(named, "{a} over {b}: {reason}");
            refused += 1;
        }
    }
    assert_eq!(refused, names.len() * (names.len() - 1));
}

/// By one step of the alignment into its neighbour before, or beyond the end.
#[test]
fn a_tensor_that_is_moved_a_little_meets_another() {
    let whole = Edited::fixture();
    let gguf = whole.gguf();
    for tensor in gguf.tensors() {
        let offset = whole.offset(&tensor.name);
        for moved in [offset.wrapping_sub(32), offset + 32, u64::MAX - 31] {
            let mut file = whole.clone();
            file.set_offset(&tensor.name, moved);
            // A norm may end where the padding begins, and no other tensor with it.
            let small = tensor.ne.len() == 1;
            assert!(
                Gguf::parse(file.0.into()).is_err() || small,
                "{}",
                tensor.name
            );
        }
        for odd in [offset + 1, offset + 4, offset + 16] {
            let mut file = whole.clone();
            file.set_offset(&tensor.name, odd);
            let reason = Gguf::parse(file.0.into()).map(|_| ()).unwrap_err();
            assert!(reason.contains("aligned"), "{reason}");
        }
    }
}

#[test]
fn holes_are_fine() {
    let mut file = Edited::fixture();
    let moved = "blk.0.attn_norm.weight";
    let gguf = file.gguf();
    let data = gguf
        .data(gguf.tensor(moved).unwrap(), 1024)
        .unwrap()
        .to_vec();
    let first = gguf.tensors().iter().map(|t| t.start).min().unwrap();
    file.0.resize(file.0.len().next_multiple_of(32) + 320, 7);
    let offset = (file.0.len() - first) as u64;
    file.0.extend(data);
    file.set_offset(moved, offset);
    assert_same(
        &file.load().unwrap(),
        &Edited::fixture().load().unwrap(),
        0.0,
    );
}

#[test]
fn a_truncated_download_is_called_so() {
    let mut file = Edited::fixture();
    file.0.truncate(file.0.len() / 2);
    let error = file.refusal();
    assert!(
        error.contains("cut short") && error.contains("Download"),
        "{error}"
    );
}

/// A safetensors header with two entries exchanged, doubled or moved.
#[test]
fn safetensors_share_no_byte_either() {
    let dir = tempfile::tempdir().unwrap();
    let config = ModelConfig {
        vocab_size: 513,
        n_layers: 1,
        ..odd_config()
    };
    let model = synthetic::from_config("odd", config, true, DenseType::F32, 8).unwrap();
    write_hf(dir.path(), &model, Linears::PackedMultiply, 1);
    let path = dir.path().join("model.safetensors");
    let whole = std::fs::read(&path).unwrap();
    let length = usize::try_from(u64::from_le_bytes(whole[..8].try_into().unwrap())).unwrap();
    let header: serde_json::Map<String, Json> =
        serde_json::from_slice(&whole[8..8 + length]).unwrap();
    let names: Vec<&String> = header
        .keys()
        .filter(|name| *name != "__metadata__")
        .collect();
    let refused = |header: String| {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.extend(&whole[8 + length..]);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, file).unwrap();
        load(dir.path()).map(|_| ()).unwrap_err().to_string()
    };
    for (i, a) in names.iter().enumerate() {
        for b in names.iter().skip(i + 1) {
            let mut moved = header.clone();
            moved[*a]["data_offsets"] = moved[*b]["data_offsets"].clone();
            let error = refused(Json::Object(moved).to_string());
            assert!(error.contains("overlap"), "{a} over {b}: {error}");
        }
    }
    // The same name twice, each with the same good bytes.
    let text = Json::Object(header.clone()).to_string();
    let name = names[0];
    let twice = format!("{{{}:{},{}", json!(name), header[name], &text[1..]);
    let error = refused(twice);
    assert!(
        error.contains("twice") && error.contains(name.as_str()),
        "{error}"
    );
}
