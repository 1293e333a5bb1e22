use sterna_kernels::DenseType;

use super::*;
use crate::synthetic;

fn tiny() -> Arc<Model> {
    Arc::new(synthetic::model("tiny", DenseType::Q8_0).unwrap())
}

fn options() -> BenchOptions {
    BenchOptions {
        prompt: 9,
        generate: 3,
        batch: 2,
        prefill_chunk: 4,
        reps: 2,
        ..BenchOptions::new(Isa::detect())
    }
}

#[test]
fn the_json_has_figures_and_shares() {
    let report = run(&tiny(), &options()).unwrap();
    let json = serde_json::to_value(&report).unwrap();
    let figure = |path: &str| {
        let value = json.pointer(path).and_then(serde_json::Value::as_f64);
        value.unwrap_or_else(|| panic!("no number at {path}: {json:#}"))
    };
    for path in [
        "/prefill/tokens_per_s",
        "/prefill/tokens_per_s_min",
        "/prefill/gmac_per_s",
        "/decode/tokens_per_s",
        "/decode/tokens_per_s_max",
        "/decode/bytes_per_token",
        "/decode/gb_per_s",
        "/decode/times_one_sequence",
    ] {
        assert!(figure(path) > 0.0, "{path}");
    }
    // 4 layers of 256 x (256 + 2 * 64 + 256 + 3 * 640) weights.
    assert_eq!(figure("/prefill/multiply_adds_per_token"), 2_621_440.0);
    // Those in 2 bits, and 512 rows of 8 blocks of 34 bytes.
    assert_eq!(
        figure("/decode/bytes_per_token") + figure("/decode/skipped_bytes_per_token"),
        (2_621_440 / 4 + 512 * 8 * 34) as f64
    );
    if cfg!(feature = "native") {
        for path in [
            "/decode/share_of_read_bandwidth",
            "/prefill/share_of_int8_peak",
            "/machine/read_gb_per_s_4k/median",
            "/machine/int8_gmac_per_s/min",
        ] {
            assert!(figure(path) > 0.0, "{path}");
        }
        let share = figure("/decode/gb_per_s") / report.machine.as_ref().unwrap().read_gb_per_s();
        assert!((figure("/decode/share_of_read_bandwidth") - share).abs() < 1e-9);
    } else {
        assert!(json["machine"].is_null() && json["decode"]["share_of_read_bandwidth"].is_null());
    }
    assert_eq!(serde_json::from_value::<BenchReport>(json).unwrap(), report);
}

#[test]
fn nothing_to_generate_leaves_decode_out() {
    let options = BenchOptions {
        generate: 0,
        optimisations: Optimisations::without("huge-pages").unwrap(),
        ..options()
    };
    let report = run(&tiny(), &options).unwrap();
    assert_eq!(report.decode, None);
    assert_eq!(report.without, ["huge-pages"]);
}

#[test]
fn drafting_is_measured_where_asked_for() {
    let options = BenchOptions {
        speculation: true,
        generate: 8,
        reps: 1,
        ..options()
    };
    let report = run(&tiny(), &options).unwrap();
    let texts: Vec<_> = report.speculation.iter().map(|run| &*run.text).collect();
    assert_eq!(texts, ["repeating", "varied"]);
    for run in &report.speculation {
        // One repetition to warm up.
        assert_eq!(run.generated, 16);
        assert!(run.times > 0.0 && run.accepted <= run.drafted, "{run:?}");
    }
}

#[test]
fn a_context_can_be_there_before_the_prompt() {
    let options = BenchOptions {
        depth: 100,
        ..options()
    };
    let report = run(&tiny(), &options).unwrap();
    assert_eq!(report.depth, 100);
    assert!(report.decode.unwrap().tokens_per_s > 0.0);
}

#[test]
fn what_does_not_fit_the_context_is_refused() {
    for (depth, prompt) in [(0, 256), (200, 56)] {
        let options = BenchOptions {
            depth,
            prompt,
            generate: 1,
            ..options()
        };
        let error = run(&tiny(), &options).unwrap_err().to_string();
        assert!(error.contains("257") && error.contains("256"), "{error}");
    }
}
