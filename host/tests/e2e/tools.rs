//! The commands that look at models and machines: `inspect`, `doctor`, `perplexity`.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::LILY;
use crate::support::server::{run, sterna};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures")
        .join(name)
}

fn json(command: &mut Command) -> (Option<i32>, Value) {
    let (status, stdout, stderr) = run(command);
    let parsed = serde_json::from_str(&stdout);
    (
        status.code(),
        parsed.unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}")),
    )
}

#[test]
fn inspect_says_what_a_model_is_and_takes() {
    let path = fixture("qwen3/ternary-Q2_0.gguf");
    let (code, found) = json(
        sterna()
            .args(["inspect", "--json", "--context", "100"])
            .arg(&path),
    );
    assert_eq!(code, Some(0), "{found}");
    assert_eq!(found["loads"], true);
    assert_eq!(found["architecture"], "qwen3");
    assert_eq!(found["format"], "GGUF 3");
    assert_eq!(found["model"]["head_dim"], 48);
    assert_eq!(found["model"]["rope_scaling"]["type"], "yarn");
    let ends = found["model"]["end_tokens"].as_array().unwrap();
    assert!(
        ends.iter().any(|end| end["text"] == "<|im_end|>"),
        "{ends:?}"
    );
    let types = found["tensors"].as_array().unwrap();
    assert!(types.iter().any(|ty| ty["type"] == "Q2_0"), "{types:?}");
    assert_eq!(found["tokenizer"]["pre"], "qwen2");
    assert!(
        found["chat_template"]["text"]
            .as_str()
            .unwrap()
            .contains("im_start")
    );
    let use_ = &found["use"];
    // Two blocks of 64 positions; every weight of this type is packed at load.
    assert_eq!(use_["memory"]["positions"], 100);
    assert_eq!(
        use_["memory"]["kv_bytes"],
        2 * 64 * 2 * 2 * 48 * 2 * found["model"]["num_hidden_layers"].as_u64().unwrap()
    );
    assert_eq!(use_["memory"]["mapped_bytes"], 0);
    assert_eq!(use_["bakes"]["fits"], true);
    assert!(use_["read_gb_per_s"].as_f64().unwrap() > 0.0);
    assert!(use_["tokens_per_s_at_most"].as_f64().unwrap() > 0.0);
    let warnings = found["warnings"].to_string();
    assert!(warnings.contains("sterna convert"), "{warnings}");

    let (status, stdout, _) = run(sterna().args(["inspect", "--no-measure"]).arg(&path));
    assert!(status.success());
    for words in [
        "qwen3",
        "Q2_0",
        "YaRN",
        "128 weights",
        "<|im_end|>",
        "the file's",
        "loads          yes",
    ] {
        assert!(stdout.contains(words), "{words}: {stdout}");
    }
    assert!(
        !stdout.contains("GB/s") && stdout.contains("(--template)"),
        "{stdout}"
    );
    let (_, stdout, _) = run(sterna()
        .args(["inspect", "--no-measure", "--template"])
        .arg(&path));
    assert!(stdout.contains("add_generation_prompt"), "{stdout}");
}

#[test]
fn inspect_describes_what_it_refuses_and_ends_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = std::fs::read(fixture("tiny-I2_S.gguf")).unwrap();
    let from = b"bitnet-b1.58";
    for at in 0..bytes.len() - from.len() {
        if bytes[at..].starts_with(from) {
            bytes[at..at + from.len()].copy_from_slice(b"mystery-arch");
        }
    }
    let path = folder.path().join("m.gguf");
    std::fs::write(&path, bytes).unwrap();
    let (status, stdout, stderr) = run(sterna().arg("inspect").arg(&path));
    assert_eq!(status.code(), Some(1), "{stderr}");
    for words in [
        "mystery-arch",
        "I2_S",
        "block_count = 4",
        "loads          no: ",
        "is not supported",
    ] {
        assert!(stdout.contains(words), "{words}: {stdout}");
    }
    let (code, found) = json(sterna().args(["inspect", "--json"]).arg(&path));
    assert_eq!((code, &found["loads"]), (Some(1), &Value::Bool(false)));
    assert!(found["refused"].as_str().unwrap().contains("mystery-arch"));
    assert!(found["use"].is_null());
    std::fs::write(&path, "<!doctype html>").unwrap();
    let (status, stdout, _) = run(sterna().arg("inspect").arg(&path));
    assert_eq!(status.code(), Some(1));
    assert!(stdout.contains("it is a web page"), "{stdout}");
}

#[test]
fn doctor_checks_the_machine_and_a_model() {
    let path = fixture("tiny-I2_S.gguf");
    let (code, found) = json(sterna().args(["doctor", "--json", "--model"]).arg(&path));
    assert_eq!(code, Some(0), "{found}");
    assert_eq!(found["ok"], true);
    let checks = found["checks"].as_array().unwrap();
    let state = |name: &str| {
        let check = checks.iter().find(|check| check["check"] == name);
        check.unwrap_or_else(|| panic!("{name}: {found}"))["state"].clone()
    };
    for name in ["kernels", "memory bandwidth", "model"] {
        assert_eq!(state(name), "ok", "{found}");
    }
    for name in [
        "processor",
        "instruction set",
        "cores",
        "memory",
        "huge pages",
        "overcommit",
    ] {
        assert_ne!(state(name), "wrong", "{found}");
    }
    let (status, stdout, stderr) = run(sterna().arg("doctor"));
    assert!(status.success(), "{stdout}{stderr}");
    assert!(stdout.contains("8 greedy tokens are the same"), "{stdout}");
    let (status, stdout, _) = run(sterna().args(["doctor", "--model", "no/such.gguf"]));
    assert_eq!(status.code(), Some(1));
    assert!(stdout.contains("WRONG model"), "{stdout}");
    let (status, stdout, _) = run(sterna().args(["doctor", "--isa", "sse9"]));
    assert_eq!(status.code(), Some(1));
    assert!(stdout.contains("sse9"), "{stdout}");
}

#[test]
fn perplexity_measures_a_text() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.txt");
    std::fs::write(
        &text,
        format!("{LILY} {}", "She loved to play. ".repeat(20)),
    )
    .unwrap();
    let measure = |more: &[&str]| {
        json(
            sterna()
                .args(["perplexity", "--json"])
                .args(more)
                .arg(&text),
        )
    };
    let (code, whole) = measure(&[]);
    assert_eq!(code, Some(0));
    let tokens = whole["tokens"].as_u64().unwrap();
    assert_eq!(whole["scored_tokens"].as_u64().unwrap(), tokens - 1);
    let (nll, value) = (&whole["mean_nll"], &whole["perplexity"]);
    let (nll, value) = (nll.as_f64().unwrap(), value.as_f64().unwrap());
    assert!(
        (nll.exp() - value).abs() < 1e-9 * value && value > 1.0,
        "{whole}"
    );
    let (_, short) = measure(&["--context", "16", "--stride", "8"]);
    assert!(
        short["perplexity"].as_f64().unwrap() > value,
        "less context: {short}"
    );
    let (_, halves) = measure(&["--context", "32", "--cut", "halves"]);
    assert_eq!(halves["scored_tokens"].as_u64().unwrap(), tokens / 32 * 15);
    let (status, stdout, _) = run(sterna().arg("perplexity").arg(&text));
    assert!(
        status.success() && stdout.starts_with("perplexity "),
        "{stdout}"
    );
    let refused: [&[&str]; 3] = [
        &["--context", "1000000"],
        &["--stride", "9", "--cut", "halves"],
        &["--stride", "900"],
    ];
    for more in refused {
        let (status, _, stderr) = run(sterna().arg("perplexity").args(more).arg(&text));
        assert!(
            !status.success() && !stderr.contains("panicked"),
            "{stderr}"
        );
    }
}
