//! `sterna image`: what Docker's and containerd's tools find in the file it writes.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::server::{run, sterna};

const MODEL: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../component/engine/models/demo.gguf"
);

/// One file of a model in two.
const PART: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../tests/fixtures/qwen3/ternary-F16-00001-of-00002.gguf"
);

/// A file of a tar archive, by the system's own tar.
fn extract(tar: &Path, name: &str) -> Vec<u8> {
    let out = Command::new("tar").arg("-xOf").arg(tar).arg(name).output();
    let out = out.unwrap();
    assert!(
        out.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    out.stdout
}

fn json(tar: &Path, name: &str) -> Value {
    serde_json::from_slice(&extract(tar, name)).unwrap()
}

fn blob(digest: &Value) -> String {
    let (algorithm, hex) = digest.as_str().unwrap().split_once(':').unwrap();
    format!("blobs/{algorithm}/{hex}")
}

/// The digests as another program computes them.
fn sha256(bytes: &[u8]) -> String {
    use std::io::Write;
    let mut child = Command::new("sha256sum")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let out = child.wait_with_output().unwrap().stdout;
    format!("sha256:{}", String::from_utf8_lossy(&out[..64]))
}

fn image(to: &Path, options: &[&str]) {
    let (status, _, stderr) = run(sterna().args(["image", "-o"]).arg(to).args(options));
    assert!(status.success(), "{stderr}");
}

#[test]
fn every_digest_in_the_layout_is_that_of_its_blob() {
    let folder = tempfile::tempdir().unwrap();
    let tar = folder.path().join("image.tar");
    image(
        &tar,
        &["--no-host", "--model", MODEL, "-t", "127.0.0.1:5000/llm:7"],
    );
    let index = json(&tar, "index.json");
    let descriptor = &index["manifests"][0];
    assert_eq!(
        descriptor["annotations"]["io.containerd.image.name"],
        "127.0.0.1:5000/llm:7"
    );
    assert_eq!(
        descriptor["annotations"]["org.opencontainers.image.ref.name"],
        "7"
    );
    let manifest = json(&tar, &blob(&descriptor["digest"]));
    let layers = manifest["layers"].as_array().unwrap();
    for part in layers.iter().chain([descriptor, &manifest["config"]]) {
        let bytes = extract(&tar, &blob(&part["digest"]));
        assert_eq!(part["digest"].as_str().unwrap(), sha256(&bytes));
        assert_eq!(part["size"], bytes.len());
    }
    let config = json(&tar, &blob(&manifest["config"]["digest"]));
    assert_eq!(config["rootfs"]["diff_ids"][0], layers[0]["digest"]);
    let layer = folder.path().join("layer.tar");
    std::fs::write(&layer, extract(&tar, &blob(&layers[0]["digest"]))).unwrap();
    assert!(extract(&layer, "model.gguf") == std::fs::read(MODEL).unwrap());
}

#[test]
fn the_same_files_give_the_same_bytes_and_a_model_is_one_layer_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    image(&path("a.tar"), &["--no-host", "--model", MODEL]);
    // Another time, another name of the same model.
    let copy = path("copy.gguf");
    std::fs::copy(MODEL, &copy).unwrap();
    image(
        &path("b.tar"),
        &["--no-host", "--model", copy.to_str().unwrap()],
    );
    assert!(std::fs::read(path("a.tar")).unwrap() == std::fs::read(path("b.tar")).unwrap());
    // A static program, as far as its header tells.
    let mut program = b"\x7fELF\x02\x01".to_vec();
    program.resize(64, 0);
    program[18] = 183;
    std::fs::write(path("host"), &program).unwrap();
    let host = path("host").to_str().unwrap().to_owned();
    image(
        &path("c.tar"),
        &["--host", &host, "--shim", &host, "--model", MODEL],
    );
    let layers = |name: &str| {
        let index = json(&path(name), "index.json");
        let manifest = json(&path(name), &blob(&index["manifests"][0]["digest"]));
        (
            index,
            manifest["layers"].clone(),
            json(&path(name), &blob(&manifest["config"]["digest"])),
        )
    };
    let (_, alone, without) = layers("a.tar");
    let (index, both, with) = layers("c.tar");
    // Lowest, so that it is unpacked once.
    assert_eq!(
        (alone[0].clone(), both.as_array().unwrap().len()),
        (both[0].clone(), 3)
    );
    assert_eq!(index["manifests"][0]["platform"]["architecture"], "arm64");
    assert_eq!(without["config"]["Entrypoint"][0], "/");
    assert_eq!(with["config"]["Entrypoint"][0], "/sterna");
    assert_eq!(with["config"]["User"], "65532:65532");
}

#[test]
fn programs_for_two_machines_make_one_image_that_shares_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (name, machine) in [("amd64", 62), ("arm64", 183)] {
        let mut program = b"\x7fELF\x02\x01".to_vec();
        program.resize(64, 0);
        program[18] = machine;
        std::fs::write(path(name), &program).unwrap();
    }
    let (amd64, arm64) = (path("amd64"), path("arm64"));
    let (amd64, arm64) = (amd64.to_str().unwrap(), arm64.to_str().unwrap());
    let tar = path("both.tar");
    image(
        &tar,
        &[
            "--host", amd64, "--host", arm64, "--shim", arm64, "--model", MODEL, "-t", "llm:1",
        ],
    );
    let top = json(&tar, "index.json");
    assert_eq!(top["manifests"].as_array().unwrap().len(), 1);
    let image_index = &top["manifests"][0];
    assert_eq!(
        image_index["annotations"]["io.containerd.image.name"],
        "llm:1"
    );
    let index = json(&tar, &blob(&image_index["digest"]));
    assert_eq!(index["mediaType"], image_index["mediaType"]);
    let mut layers = Vec::new();
    for (n, name) in ["amd64", "arm64"].into_iter().enumerate() {
        let descriptor = &index["manifests"][n];
        assert_eq!(descriptor["platform"]["architecture"], name);
        let manifest = json(&tar, &blob(&descriptor["digest"]));
        let config = json(&tar, &blob(&manifest["config"]["digest"]));
        assert_eq!(config["architecture"], name);
        layers.push(manifest["layers"].as_array().unwrap().clone());
        let layer = path("layer.tar");
        std::fs::write(&layer, extract(&tar, &blob(&layers[n][1]["digest"]))).unwrap();
        assert_eq!(
            extract(&layer, "sterna"),
            std::fs::read(path(name)).unwrap()
        );
    }
    assert_eq!((layers[0].len(), layers[1].len()), (2, 3));
    assert_eq!(layers[0][0], layers[1][0]);
    // Once in the file, too.
    let model = std::fs::metadata(MODEL).unwrap().len();
    assert!(std::fs::metadata(&tar).unwrap().len() < model * 3 / 2);

    for (options, words) in [
        (
            vec!["--host", amd64, "--host", amd64],
            "two programs are for linux/amd64",
        ),
        (vec!["--host", amd64, "--shim", arm64], "another machine"),
    ] {
        let (status, _, stderr) = run(sterna().args(["image", "-o"]).arg(&tar).args(&options));
        assert_eq!(status.code(), Some(1), "{options:?}: {stderr}");
        assert!(stderr.contains(words), "{stderr}");
    }
}

#[test]
fn what_does_not_fit_an_image_is_refused_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let tar = folder.path().join("image.tar");
    std::fs::write(&tar, "what was there").unwrap();
    let model = std::fs::read(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../component/engine/models/demo.gguf"
    ));
    let cut = folder.path().join("cut.gguf");
    std::fs::write(&cut, &model.unwrap()[..1 << 20]).unwrap();
    for (options, words) in [
        // The program under test is dynamic.
        (vec!["--model", MODEL], "scripts/static.sh"),
        (vec!["--host", MODEL], "no 64-bit ELF program"),
        (vec!["--no-host"], "is empty"),
        (
            vec!["--no-host", "--app", MODEL],
            "no file that `sterna bake` wrote",
        ),
        (vec!["--no-host", "--model", "."], "sterna convert"),
        (vec!["--no-host", "--model", file!()], "no GGUF file"),
        (
            vec!["--no-host", "--model", cut.to_str().unwrap()],
            "cannot be served",
        ),
        (vec!["--no-host", "--model", PART], "this is part 1 of 2"),
    ] {
        let (status, _, stderr) = run(sterna()
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .args(["image", "-o"])
            .arg(&tar)
            .args(&options));
        assert_eq!(status.code(), Some(1), "{options:?}: {stderr}");
        assert!(stderr.contains(words), "{stderr}");
    }
    assert_eq!(std::fs::read_to_string(&tar).unwrap(), "what was there");
}
