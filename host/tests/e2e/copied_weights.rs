//! A baked model large enough that the host copies its weights while it computes: not one token
//! changes by it.

use sterna_engine::convert::{ConvertOptions, save};
use sterna_engine::optimisations::Optimisations;
use sterna_engine::placement::huge_pages;
use sterna_engine::synthetic;
use sterna_kernels::{DenseType, Isa};

use crate::baked::bake;
use crate::sandboxed::ALLOW;
use crate::support::server::Server;
use crate::support::{sampled, wait_until};

const THREADS: usize = 2;
/// The last line of the log.
const COPIED: &str = "weights of the baked model copied";

#[test]
fn copies_of_a_baked_models_weights_change_no_token() {
    if !huge_pages::wanted() && !Optimisations::ALL.wants_trits5(Isa::detect(), THREADS) {
        println!(
            "left out: this machine has neither 2 MiB pages nor loops for trits5, so that nothing is copied"
        );
        return;
    }
    let mut config = synthetic::shape("tiny").unwrap();
    (config.hidden_size, config.ffn_size, config.n_layers) = (1024, 4096, 20);
    (config.n_heads, config.head_dim) = (8, 128);
    let model = synthetic::from_config("demo", config, true, DenseType::F16, 3).unwrap();
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let file = folders[0].path().join("demo.gguf");
    save(&model, &file, &ConvertOptions::default(), &mut |_, _| ()).unwrap();
    let file = file.to_str().unwrap();
    let app = bake(folders[1].path(), &["--aot", "--model", file]).with_extension("cwasm");
    let serve = |model: &str, without: &str| {
        let threads = THREADS.to_string();
        let options = ["--threads", &threads, "--without", without, ALLOW];
        Server::start(&[&["-m", model][..], &options].concat())
    };
    let app = app.to_str().unwrap();
    let (native, in_place, copied) = (
        serve(file, "huge-pages,trits5"),
        serve(app, "huge-pages,trits5"),
        // Under a memory limit too.
        serve(app, "nothing"),
    );
    let text = |server: &Server, seed| {
        let request = sampled("Once upon a time", seed, 40, false);
        server.post("/v1/completions", &request).completion()
    };
    let mut seed = 0;
    // From the first pass to those that read nothing but copies.
    wait_until("the copies", || {
        seed += 1;
        let expected = text(&native, seed);
        assert_eq!(text(&copied, seed), expected, "seed {seed}");
        copied.log().contains(COPIED)
    });
    for seed in seed + 1..seed + 4 {
        let expected = text(&native, seed);
        assert!(!expected.is_empty());
        assert_eq!(text(&copied, seed), expected, "seed {seed}");
        assert_eq!(text(&in_place, seed), expected, "seed {seed}");
    }
    assert!(!in_place.log().contains(COPIED));
}
