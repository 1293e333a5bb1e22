//! Downloads that went wrong: what the file is and what to do, instead of what it is not.

use super::*;

/// First bytes, and words the message must have.
const WRONG: [(&str, &[u8], &[&str]); 29] = [
    ("empty.gguf", b"", &["empty", "anew"]),
    (
        "pointer.gguf",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 1187801280\n",
        &["Git LFS pointer", "git lfs pull"],
    ),
    ("page.gguf", b"<!DOCTYPE html>\n<html lang=\"en\">", &["web page", "resolve"]),
    ("page2.gguf", b"\xEF\xBB\xBF \n<HTML><head>", &["web page"]),
    ("xml.gguf", b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code>", &["web page"]),
    ("error.gguf", b"{\"error\":\"Repository not found\"}", &["error message", "anew"]),
    ("detail.gguf", b"{\"detail\": \"Unauthorized\"}", &["error message"]),
    (
        "manifest",
        b"{\"schemaVersion\":2,\"mediaType\":\"application/vnd.docker.distribution.manifest.v2+json\"}",
        &["manifest", "blobs"],
    ),
    ("config.json", b"{\"model_type\": \"bitnet\"}", &["directory"]),
    ("a.gz", b"\x1f\x8b\x08\0\0\0\0\0", &["gzip", "unpack"]),
    ("a.zst", b"\x28\xb5\x2f\xfd\x04", &["zstd"]),
    ("a.xz", b"\xfd7zXZ\0\0", &["xz"]),
    ("a.bz2", b"BZh91AY", &["bzip2"]),
    ("a.zip", b"PK\x03\x04\x14\0\0\0\x08\0model.gguf", &["zip archive"]),
    ("a.7z", b"7z\xbc\xaf\x27\x1c\0\x04", &["7z"]),
    (
        "pytorch_model.bin",
        b"PK\x03\x04\0\0\x08\x08\0\0\0\0\0\0\0\0\0\0pytorch_model/data.pkl",
        &["PyTorch", "safetensors"],
    ),
    ("old.pt", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", &["pickle", "safetensors"]),
    ("model.pkl", b"\x80\x04\x95\0\0", &["pickle"]),
    ("ggml.bin", b"lmgg\0\0\0\0", &["ggml", "GGUF"]),
    ("ggjt.bin", b"tjgg\x03\0\0\0", &["ggjt"]),
    ("ggla.bin", b"algg\x01\0\0\0", &["LoRA"]),
    ("m.onnx", b"\x08\x07\x12\x07pytorch", &["ONNX"]),
    ("m.h5", b"\x89HDF\r\n\x1a\n", &["HDF5"]),
    ("tokenizer.model", b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02", &["tokenizer", "no weights"]),
    ("renamed.gguf", b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02", &["tokenizer"]),
    (
        "model.safetensors",
        b"\x2a\0\0\0\0\0\0\0{\"a\":{\"dtype\":\"F32\"",
        &["safetensors", "directory"],
    ),
    ("Modelfile", b"FROM ./model.gguf\nPARAMETER temperature 1\n", &["Modelfile"]),
    ("notes.txt", b"Once upon a time\n", &["a text"]),
    ("zeros.gguf", &[0; 600], &["zeros", "not finished"]),
];

#[test]
fn a_file_is_called_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes, parts) in WRONG {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let error = load(&path).unwrap_err().to_string();
        for part in parts.iter().chain([&name]) {
            assert!(error.contains(part), "{name}: {part}: {error}");
        }
    }
    let mut tar = vec![0; 512];
    tar[..10].copy_from_slice(b"model.gguf");
    tar[257..262].copy_from_slice(b"ustar");
    let path = dir.path().join("a.tar");
    std::fs::write(&path, tar).unwrap();
    assert!(load(&path).unwrap_err().to_string().contains("tar archive"));
    // The same in the place of a directory's own files.
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        for (_, bytes, parts) in &WRONG[..3] {
            let copy = tempfile::tempdir().unwrap();
            for entry in std::fs::read_dir(fixture("packed-autobitlinear")).unwrap() {
                let path = entry.unwrap().path();
                std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
            }
            std::fs::write(copy.path().join(name), bytes).unwrap();
            let error = load(copy.path()).unwrap_err().to_string();
            assert!(
                error.contains(name) && error.contains(parts[0]),
                "{name}: {error}"
            );
        }
    }
}

#[test]
fn a_directory_is_called_what_it_is() {
    let say = |files: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "{}").unwrap();
        }
        load(dir.path()).unwrap_err().to_string()
    };
    for (files, parts) in [
        (
            &["b.gguf", "a.gguf"][..],
            &["give the GGUF file in it, a.gguf", "1 others"][..],
        ),
        (
            &["adapter_config.json", "adapter_model.safetensors"],
            &["adapter", "merge"],
        ),
        (
            &["adapter_config.json", "config.json"],
            &["adapter", "merge"],
        ),
        (&["tokenizer.model"], &["tokenizer", "config.json"]),
        (&["model.onnx"], &["ONNX"]),
        (&["model.safetensors"], &["whole repository"]),
        (&["blobs/sha256-1", "manifests/a"], &["Ollama", "blobs"]),
        (&[], &["no config.json"]),
    ] {
        let error = say(files);
        for part in parts {
            assert!(error.contains(part), "{files:?}: {error}");
        }
    }
    let with = |add: &[&str], without: &str| {
        let dir = tempfile::tempdir().unwrap();
        for name in ["config.json", "tokenizer.json"] {
            let from = fixture("packed-autobitlinear").join(name);
            std::fs::copy(from, dir.path().join(name)).unwrap();
        }
        for name in add {
            std::fs::write(dir.path().join(name), "x").unwrap();
        }
        let _ = std::fs::remove_file(dir.path().join(without));
        load(dir.path()).unwrap_err().to_string()
    };
    for (add, without, part) in [
        (&["pytorch_model.bin"][..], "", "run code"),
        (&["model.gguf"], "", "GGUF file in it"),
        (&["other.safetensors"], "", "other.safetensors"),
        (&[], "", "download the weights"),
        (&["tokenizer.model"], "tokenizer.json", "it is a text"),
        (&[], "tokenizer.json", "neither a tokenizer.json"),
    ] {
        let error = with(add, without);
        assert!(error.contains(part), "{add:?}: {error}");
    }
}

/// Opening one of these must not wait for somebody who writes.
#[test]
fn what_is_no_regular_file_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = |name: &str| {
        let path = dir.path().join(name);
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        path
    };
    let error = load(&pipe("model.gguf")).unwrap_err().to_string();
    assert!(error.contains("named pipe"), "{error}");
    let socket = dir.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert!(load(&socket).unwrap_err().to_string().contains("socket"));
    let error = load(Path::new("/dev/zero")).unwrap_err().to_string();
    assert!(error.contains("device"), "{error}");
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let dir = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(fixture("packed-autobitlinear")).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
        }
        let path = dir.path().join(name);
        std::fs::remove_file(&path).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        assert!(load(dir.path()).is_err(), "{name}");
    }
}

mod in_parts {
    use super::super::edit::Edited;
    use super::*;
    use crate::files::gguf_write::{Entry, GgufWriter, TensorPlan};

    /// The fixture in `count` files, as `llama-gguf-split` makes them.
    fn split(dir: &Path, count: usize) -> Vec<PathBuf> {
        let whole = Edited::fixture();
        let gguf = whole.gguf();
        let tensors: Vec<_> = gguf.tensors().iter().collect();
        let mut names = Vec::new();
        for (index, own) in tensors.chunks(tensors.len().div_ceil(count)).enumerate() {
            let n_bytes = |tensor: &crate::files::gguf::TensorInfo| {
                crate::files::ggml_type::n_bytes(tensor.ty, &tensor.ne).unwrap()
            };
            let plans: Vec<TensorPlan> = own
                .iter()
                .map(|tensor| TensorPlan {
                    name: tensor.name.clone(),
                    shape: tensor
                        .ne
                        .iter()
                        .rev()
                        .map(|&n| usize::try_from(n).unwrap())
                        .collect(),
                    ty: tensor.ty,
                    n_bytes: n_bytes(tensor),
                })
                .collect();
            let number = |n: usize| Entry::U32(u32::try_from(n).unwrap());
            let metadata = vec![
                ("split.no".to_owned(), number(index)),
                ("split.count".to_owned(), number(count)),
                ("split.tensors.count".to_owned(), number(tensors.len())),
            ];
            let mut writer = GgufWriter::new(Vec::new(), &metadata, &plans).unwrap();
            for tensor in own {
                writer
                    .append(&gguf.data(tensor, n_bytes(tensor)).unwrap())
                    .unwrap();
                writer.pad().unwrap();
            }
            let mut bytes = writer.into_inner();
            if index == 0 {
                bytes = with_metadata_of(&whole.0, &bytes, metadata.len());
            }
            let name = dir.join(format!("tiny-{:05}-of-{count:05}.gguf", index + 1));
            std::fs::write(&name, bytes).unwrap();
            names.push(name);
        }
        names
    }

    /// `part` with the metadata of `whole` before its own, padded so that its data keeps its
    /// alignment.
    fn with_metadata_of(whole: &[u8], part: &[u8], own: usize) -> Vec<u8> {
        let gguf = Edited(whole.to_vec()).gguf();
        let first = &gguf.tensors()[0].name;
        let end = Edited(whole.to_vec()).entry(first) - first.len() - 8;
        let metadata = &whole[24..end];
        let count = gguf.metadata().count() + own;
        let mut joined = part[..16].to_vec();
        joined.extend((count as u64).to_le_bytes());
        joined.extend(metadata);
        joined.extend(&part[24..]);
        // The header grew by so much; `with_text` pads whatever there is to a whole step.
        let grown = metadata.len() % 32;
        let key = "test.fill";
        let fixed = 8 + key.len() + 4 + 8;
        let fill = (64 - (grown + fixed) % 32) % 32;
        let mut entry = (key.len() as u64).to_le_bytes().to_vec();
        entry.extend(key.as_bytes());
        entry.extend(8u32.to_le_bytes());
        entry.extend((fill as u64).to_le_bytes());
        entry.extend(vec![b' '; fill]);
        joined[16..24].copy_from_slice(&(count as u64 + 1).to_le_bytes());
        joined.splice(24..24, entry);
        joined
    }

    #[test]
    fn all_parts_are_one_model_whichever_is_given() {
        let dir = tempfile::tempdir().unwrap();
        let names = split(dir.path(), 3);
        let whole = Edited::fixture().load().unwrap();
        for name in &names {
            let model = load(name).unwrap();
            assert_same(&model, &whole, 0.0);
            assert_eq!(model.id, "tiny");
        }
    }

    #[test]
    fn an_absent_part_is_named_and_so_is_a_wrong_one() {
        let dir = tempfile::tempdir().unwrap();
        let names = split(dir.path(), 3);
        let third = std::fs::read(&names[2]).unwrap();
        std::fs::remove_file(&names[2]).unwrap();
        let error = load(&names[0]).unwrap_err().to_string();
        assert!(error.contains("tiny-00003-of-00003.gguf"), "{error}");
        std::fs::copy(&names[1], &names[2]).unwrap();
        let error = load(&names[0]).unwrap_err().to_string();
        assert!(error.contains("part 3 of 3"), "{error}");
        std::fs::remove_file(&names[2]).unwrap();
        std::fs::write(&names[2], third).unwrap();
        let alone = dir.path().join("renamed.gguf");
        std::fs::copy(&names[0], &alone).unwrap();
        let error = load(&alone).unwrap_err().to_string();
        assert!(
            error.contains("part 1 of 3") && error.contains("own names"),
            "{error}"
        );
    }
}
