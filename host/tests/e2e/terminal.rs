//! The commands on a terminal: `run`, `bench`, `convert` and `--help`. (`compose` and `bake` are
//! tested in files of their own.)

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
    for command in [
        "serve",
        "run",
        "inspect",
        "doctor",
        "perplexity",
        "bench",
        "convert",
        "synth",
        "compose",
        "bake",
        "pull",
    ] {
        assert!(stdout.contains(command), "{stdout}");
    }
}

/// A rate is of what the engine did, however fast the terminal is: a short answer has one like a
/// long one's.
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
    for (shape, isa) in [
        ("tiny", "scalar"),
        ("tiny", "simd128"),
        ("demo", "simd128-relaxed"),
    ] {
        let (status, stdout, stderr) = run(sterna().args([
            "bench",
            "--shape",
            shape,
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
        for (phase, figure) in [
            ("prefill", "tokens_per_s"),
            ("prefill", "share_of_int8_peak"),
            ("decode", "tokens_per_s"),
            ("decode", "share_of_read_bandwidth"),
        ] {
            let figure = figures[phase][figure].as_f64();
            assert!(
                figure.is_some_and(|figure| figure > 0.0),
                "{phase}: {stdout}"
            );
        }
        assert_eq!(figures["isa"], isa);
    }
}

#[test]
fn bench_prints_a_table_and_refuses_what_it_does_not_know() {
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
        "--batch",
        "2",
        "--without",
        "huge-pages",
    ]));
    assert!(status.success(), "{stderr}");
    for text in [
        "pp8 tokens/s",
        "tg4 tokens/s",
        "of the int8 peak",
        "pages",
        "without huge-pages",
        "2 sequences are",
    ] {
        assert!(stdout.contains(text), "{text}: {stdout}");
    }
    for (arguments, expected) in [
        ("--shape cube", "bitnet-2b-4t"),
        ("--shape tiny --without warp", "huge-pages"),
        ("--shape tiny --isa sse9", "scalar"),
        ("--shape tiny --prompt 5000", "5032"),
    ] {
        let (status, _, stderr) = run(sterna().arg("bench").args(arguments.split(' ')));
        assert!(!status.success());
        assert!(stderr.contains(expected), "{arguments}: {stderr}");
    }
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

#[test]
fn synth_writes_a_file_that_generates_and_is_the_same_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let synth = |args: &[&str], name: &str| {
        let (args, path) = (args.to_owned(), path(name));
        run(sterna()
            .arg("synth")
            .args(&args[..2])
            .arg(path)
            .args(&args[2..]))
    };
    let args = ["bonsai-tiny", "q2_0", "--layers", "1", "--seed", "3"];
    for name in ["a.gguf", "b.gguf"] {
        let (status, stdout, stderr) = synth(&args, name);
        assert!(status.success(), "{stderr}");
        assert!(stdout.contains("MB"), "{stdout}");
    }
    let bytes = |name: &str| std::fs::read(path(name)).unwrap();
    assert!(bytes("a.gguf") == bytes("b.gguf"));
    let mut command = sterna();
    command.arg("run").arg("-m").arg(path("a.gguf"));
    let (status, _, stderr) = run(command.args(["Hello", "-n", "5", "--temperature", "0"]));
    assert!(status.success(), "{stderr}");
    assert!(stderr.contains("completion"), "{stderr}");

    // What was there stays where nothing can be written.
    let (status, _, stderr) = synth(&["tiny", "q1_0"], "a.gguf");
    assert!(!status.success());
    assert!(
        stderr.contains("q1_0") && stderr.contains("i2_s"),
        "{stderr}"
    );
    assert!(bytes("a.gguf") == bytes("b.gguf"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}
