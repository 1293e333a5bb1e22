//! The same model, prompt and seed give the same tokens: every ISA of this machine, 1 and 2 threads,
//! alone and in a batch.

use crate::support::server::Server;
use crate::support::{LILY, sampled};

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
