//! The tokens are those of the native server, whether the runtime compiles the component or loads
//! it compiled.

use std::process::Command;

use crate::apps::{App, wasmtime};
use crate::support::server::Server;
use crate::support::{LILY, LILY_GREEDY, greedy, sampled};

#[test]
fn as_the_native_server_gives_them() {
    for app in [App::DEMO, App::DEMO_P3] {
        let native = Server::start(&[]);
        let portable = app.serve::<&str>(&[]);
        for seed in 1..4 {
            let request = sampled(LILY, seed, 60, false);
            assert_eq!(
                portable.post("/v1/completions", &request).completion(),
                native.post("/v1/completions", &request).completion(),
                "seed {seed}"
            );
        }
    }
}

#[test]
fn from_a_component_compiled_at_start() {
    let mut command = Command::new(wasmtime());
    command
        .args(["serve", "-Scli", "--addr", "127.0.0.1:0"])
        .arg(App::DEMO.wasm());
    let server = Server::other(&mut command);
    let answer = server.post("/v1/completions", &greedy(LILY, 48, false));
    assert_eq!(answer.completion(), LILY_GREEDY);
}
