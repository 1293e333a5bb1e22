//! The same model, prompt and seed give the same tokens: every ISA of this machine, 1 and 2
//! threads, alone and in a batch, and in any layout of the weights.

use std::path::Path;

use crate::baked::bake;
use crate::support::plain_host::PlainHost;
use crate::support::server::{Server, run, sterna};
use crate::support::{LILY, LILY_GREEDY, greedy, sampled};

#[test]
fn on_every_isa_and_thread_count() {
    let texts = |options: &[&str]| -> Vec<String> {
        let server = Server::start(options);
        (1..4)
            .map(|seed| {
                server
                    .post("/v1/completions", &sampled(LILY, seed, 60, false))
                    .completion()
            })
            .collect()
    };
    let expected = texts(&["--isa", "scalar", "--threads", "1"]);
    assert_eq!(texts(&["--threads", "1"]), expected);
    assert_eq!(texts(&["--threads", "2"]), expected);
    assert_eq!(
        texts(&["--isa", "scalar", "--threads", "2", "--max-sequences", "1"]),
        expected
    );
}

/// The demo model in layout trits5, as a file in `folder`.
fn trits5(folder: &Path) -> String {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../component/engine/models/demo.gguf");
    let file = folder.join("demo.gguf").to_str().unwrap().to_owned();
    let (status, _, stderr) = run(sterna()
        .args(["convert", "--layout", "trits5", "-o", &file])
        .arg(&demo));
    assert!(status.success(), "{stderr}");
    let bytes = |path: &Path| path.metadata().unwrap().len();
    assert!(bytes(Path::new(&file)) < bytes(&demo));
    file
}

#[test]
fn with_weights_in_layout_trits5() {
    let folder = tempfile::tempdir().unwrap();
    let file = trits5(folder.path());
    let request = sampled(LILY, 1, 60, false);
    let expected = Server::start(&[])
        .post("/v1/completions", &request)
        .completion();
    for isa in ["scalar", ""] {
        let server =
            Server::start(&["--model", &file, "--isa", isa][..if isa.is_empty() { 2 } else { 4 }]);
        let text = server.post("/v1/completions", &request).completion();
        assert_eq!(text, expected, "isa `{isa}`");
    }

    // Inside a component: with its own instructions, and with those that the host lends it.
    let baked = tempfile::tempdir().unwrap();
    let app = bake(baked.path(), &["--layout", "trits5"]);
    let text = PlainHost::new(&app).text(&greedy(LILY, 48, false));
    assert_eq!(text, LILY_GREEDY);
    let server = Server::start(&["--model", app.to_str().unwrap()]);
    let text = server.post("/v1/completions", &request).completion();
    assert_eq!(text, expected);
}

/// Natively, by kernels lent to a component, and by its own.
#[test]
fn with_each_type_of_keys_and_values() {
    let folder = tempfile::tempdir().unwrap();
    let app = bake(folder.path(), &[]);
    let app = app.to_str().unwrap();
    // More than two blocks.
    let request = sampled(LILY, 1, 150, false);
    for ty in ["f32", "f16", "int8"] {
        let text = |options: &[&str]| {
            let server = Server::start(&[options, &["--kv-type", ty]].concat());
            server.post("/v1/completions", &request).completion()
        };
        let expected = text(&["--isa", "scalar", "--threads", "1"]);
        assert_eq!(text(&["--threads", "2"]), expected, "{ty}");
        assert_eq!(text(&["--model", app]), expected, "{ty}, lent");
        let own = text(&["--model", app, "--isa", "simd128"]);
        assert_eq!(own, expected, "{ty} in WebAssembly");
    }
}
