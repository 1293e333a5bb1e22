//! A baked component needs no files, starts with its model loaded, and gives the native server's
//! texts.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::plain_host::PlainHost;
use crate::support::server::{Server, run, sterna};
use crate::support::{LILY, LILY_GREEDY, greedy, sampled};

/// `sterna bake` into `folder`; the component's path.
pub(crate) fn bake(folder: &Path, options: &[&str]) -> PathBuf {
    let app = folder.join("app.wasm");
    let (status, stdout, stderr) = run(sterna().args(["bake", "-o"]).arg(&app).args(options));
    assert!(status.success(), "{stderr}");
    assert!(stdout.contains("app.wasm: "), "{stdout}");
    let left: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| !name.to_string_lossy().starts_with("app."))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    app
}

#[test]
fn the_baked_component_gives_the_native_texts() {
    let folder = tempfile::tempdir().unwrap();
    let app = bake(folder.path(), &[]);
    let plain = PlainHost::new(&app);
    assert_eq!(plain.text(&greedy(LILY, 48, false)), LILY_GREEDY);

    let native = Server::start(&[]);
    for seed in 1..4 {
        let request = sampled(LILY, seed, 60, false);
        let expected = native.post("/v1/completions", &request).completion();
        assert_eq!(plain.text(&request), expected, "seed {seed}");
    }

    // One instance may answer several requests.
    let request = greedy(LILY, 48, false);
    let (first, instance) = plain.answer(plain.instantiate(), &request);
    let (second, _) = plain.answer(instance, &request);
    for answer in [first, second] {
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["choices"][0]["text"], LILY_GREEDY);
    }

    // What must not come from the snapshot: the seed of a request that gives none, and the
    // environment.
    let mut unseeded = sampled(LILY, 0, 40, false);
    unseeded.as_object_mut().unwrap().remove("seed");
    assert_ne!(plain.text(&unseeded), plain.text(&unseeded));
    let plain = plain.with_variable("STERNA_ISA", "scalar");
    assert_eq!(plain.text(&greedy(LILY, 48, false)), LILY_GREEDY);
    let wrong = PlainHost::new(&app).with_variable("STERNA_ISA", "z80");
    let answer = wrong.post(&request);
    assert!(answer.contains("z80"), "{answer}");
}

#[test]
fn relaxed_simd_gives_the_same_texts() {
    let folder = tempfile::tempdir().unwrap();
    let plain = PlainHost::new(&bake(folder.path(), &[]));
    let relaxed = PlainHost::new(&bake(folder.path(), &["--relaxed-simd"]));
    assert_eq!(relaxed.text(&greedy(LILY, 48, false)), LILY_GREEDY);
    let native = Server::start(&[]);
    for seed in 1..4 {
        let request = sampled(LILY, seed, 60, false);
        let expected = native.post("/v1/completions", &request).completion();
        assert_eq!(plain.text(&request), expected, "seed {seed}");
        assert_eq!(relaxed.text(&request), expected, "seed {seed}");
    }
    // Each knows its own kernels only.
    for (isa, known) in [("simd128-relaxed", true), ("simd128", false)] {
        let named =
            PlainHost::new(&folder.path().join("app.wasm")).with_variable("STERNA_ISA", isa);
        let answer = named.post(&greedy(LILY, 1, false));
        assert_eq!(answer.contains("choices"), known, "{isa}: {answer}");
    }
}

#[test]
fn the_head_and_the_name_can_be_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let models = tempfile::tempdir().unwrap();
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../component/engine/models/demo.gguf");
    let converted = models.path().join("converted.gguf");
    let (status, _, stderr) = run(sterna()
        .arg("convert")
        .arg(&demo)
        .args(["--head", "q8_0", "-o"])
        .arg(&converted));
    assert!(status.success(), "{stderr}");
    let native = Server::start(&[
        "--model",
        converted.to_str().unwrap(),
        "--model-name",
        "demo",
    ]);

    let model = demo.to_str().unwrap();
    let options = ["--model", model, "--head", "q8_0", "--model-name", "other"];
    let plain = PlainHost::new(&bake(folder.path(), &options));
    let answer = plain.post(&greedy(LILY, 1, false));
    assert!(answer.contains("model_not_found"), "{answer}");
    let mut request = sampled(LILY, 7, 60, false);
    let expected = native.post("/v1/completions", &request).completion();
    request["model"] = "other".into();
    assert_eq!(plain.text(&request), expected);
}

#[test]
fn a_model_that_cannot_be_baked_leaves_the_output_alone() {
    let folder = tempfile::tempdir().unwrap();
    let app = folder.path().join("app.wasm");
    fs::write(&app, "what was there").unwrap();
    let broken = folder.path().join("broken.gguf");
    fs::write(&broken, b"GGUF\x03\0\0\0").unwrap();
    for model in [broken, folder.path().join("absent.gguf")] {
        let (status, _, stderr) = run(sterna()
            .args(["bake", "-o"])
            .arg(&app)
            .arg("--model")
            .arg(&model));
        assert_eq!(status.code(), Some(1), "{stderr}");
        assert!(
            stderr.contains("error: cannot convert the model"),
            "{stderr}"
        );
        assert!(stderr.contains(model.to_str().unwrap()), "{stderr}");
        assert_eq!(fs::read(&app).unwrap(), b"what was there");
    }
    let nowhere = folder.path().join("absent/app.wasm");
    let (status, _, stderr) = run(sterna().args(["bake", "-o"]).arg(&nowhere));
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("cannot write in"), "{stderr}");
}
