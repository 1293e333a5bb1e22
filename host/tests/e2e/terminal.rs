//! The commands on a terminal: `run`, `bench`, `convert` and `--help`. (`compose` and `bake` are tested in files of their own.)

use std::path::Path;

use crate::support::server::{run, sterna};
use crate::support::{LILY, LILY_GREEDY};

#[test]
fn run_prints_the_completion_and_its_figures() {
    let (status, stdout, stderr) =
        run(sterna().args(["run", LILY, "-n", "48", "--temperature", "0"]));
    assert!(status.success(), "{stderr}");
    assert_eq!(stdout, LILY_GREEDY);
    assert!(
        stderr.contains("completion 48 tokens") && stderr.contains("tokens/s"),
        "{stderr}"
    );
}

#[test]
fn run_names_a_wrong_option() {
    let (status, _, stderr) = run(sterna().args(["run", LILY, "--temperature", "-3"]));
    assert!(!status.success());
    assert!(stderr.contains("temperature"), "{stderr}");
}

#[test]
fn help_lists_every_command() {
    let (status, stdout, _) = run(sterna().arg("--help"));
    assert!(status.success());
    for command in ["serve", "run", "bench", "convert", "compose", "bake"] {
        assert!(stdout.contains(command), "{stdout}");
    }
}

/// A rate is of what the engine did, however fast the terminal is: a short answer has one like a long one's.
#[test]
fn the_rate_of_a_short_answer_is_the_engines() {
    let rate = |tokens: &str| -> f64 {
        let (_, _, stderr) = run(sterna().args(["run", LILY, "-n", tokens, "--isa", "scalar"]));
        let figures = stderr.rsplit("completion ").next().unwrap().to_owned();
        let figure = figures
            .split(", ")
            .nth(1)
            .and_then(|text| text.split(' ').next());
        figure.unwrap().parse().unwrap()
    };
    let (short, long) = (rate("3"), rate("48"));
    assert!(short < long * 20.0, "{short} and {long} tokens/s");
    let (_, _, stderr) = run(sterna().args(["run", LILY, "-n", "1"]));
    assert!(stderr.contains("completion 1 tokens, no rate"), "{stderr}");
}

#[test]
fn bench_measures_natively_and_in_wasm() {
    for isa in ["scalar", "simd128"] {
        let (status, stdout, stderr) = run(sterna().args([
            "bench",
            "--shape",
            "tiny",
            "--prompt",
            "8",
            "--generate",
            "4",
            "--reps",
            "1",
            "--isa",
            isa,
            "--json",
        ]));
        assert!(status.success(), "{stderr}");
        let figures: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        for phase in ["prefill_tokens_per_s", "decode_tokens_per_s"] {
            let rate = figures[phase]["median"].as_f64();
            assert!(rate.is_some_and(|rate| rate > 0.0), "{phase}: {stdout}");
        }
    }
    let (status, _, stderr) = run(sterna().args(["bench", "--shape", "cube"]));
    assert!(!status.success());
    assert!(
        stderr.contains("cube") && stderr.contains("bitnet-2b-4t"),
        "{stderr}"
    );
}

/// A directory becomes a file that answers like it.
#[test]
fn convert_keeps_the_answers() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    let folder = tempfile::tempdir().unwrap();
    let gguf = folder.path().join("packed.gguf");
    let source = fixtures.join("packed-autobitlinear");
    let (status, stdout, stderr) = run(sterna().arg("convert").arg(&source).arg("-o").arg(&gguf));
    assert!(status.success(), "{stderr}");
    assert!(stdout.contains("packed.gguf"), "{stdout}");
    let answer = |model: &Path| {
        let (status, stdout, stderr) = run(sterna()
            .args([
                "run",
                "Once upon",
                "-n",
                "12",
                "--temperature",
                "0",
                "--model",
            ])
            .arg(model));
        assert!(status.success(), "{stderr}");
        stdout
    };
    assert_eq!(answer(&gguf), answer(&source));

    let (status, _, stderr) = run(sterna().args(["convert", "/absent/model", "-o"]).arg(&gguf));
    assert_eq!(status.code(), Some(1));
    assert!(stderr.contains("/absent/model"), "{stderr}");
    assert_eq!(
        answer(&gguf),
        answer(&source),
        "what was there is still there"
    );
}
