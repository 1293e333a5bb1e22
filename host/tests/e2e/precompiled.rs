//! Precompiled engines: run by name and by the operator's word, and only as they were written.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use sterna_engine::convert::{ConvertOptions, save};
use sterna_engine::synthetic;
use sterna_kernels::DenseType;

use crate::baked::bake;
use crate::sandboxed::{ALLOW, compiled};
use crate::support::server::{Server, run, sterna};
use crate::support::{LILY, LILY_GREEDY, greedy};

/// The commands that take a model, as words before and after its path.
const COMMANDS: [(&[&str], &[&str]); 3] = [
    (&["serve", "--listen", "127.0.0.1:0"], &[]),
    (&["serve", "--listen", "127.0.0.1:0", "--model"], &[]),
    (&["run", "-m"], &["Once"]),
];

/// The status and the error of each command; none may run it.
fn refused(path: &Path, options: &[&str], environment: &[(&str, &str)], words: &str) {
    for (before, after) in COMMANDS {
        let (status, stdout, stderr) = run(sterna()
            .args(before)
            .arg(path)
            .args(options)
            .args(after)
            .envs(environment.iter().copied()));
        assert_eq!(status.code(), Some(1), "{before:?}: {stdout} {stderr}");
        assert!(stderr.contains(words), "{before:?}: {words}: {stderr}");
        assert!(stderr.contains(path.to_str().unwrap()), "{stderr}");
        assert_eq!(stdout, "", "{before:?}");
    }
}

#[test]
fn machine_code_runs_by_its_name_and_the_operators_word() {
    let compiled = compiled();
    let path = Path::new(&compiled);
    refused(path, &[], &[], ALLOW);
    refused(path, &[], &[("STERNA_ALLOW_PRECOMPILED", "false")], ALLOW);
    for model in [vec![compiled.as_str()], vec!["-m", &compiled]] {
        let server = Server::start_with(&model, &[("STERNA_ALLOW_PRECOMPILED", "true")]);
        let answer = server.post("/v1/completions", &greedy(LILY, 48, false));
        assert_eq!(answer.completion(), LILY_GREEDY);
    }
    let variable = [("STERNA_ALLOW_PRECOMPILED", "")];
    for (before, after) in COMMANDS {
        let mut command = sterna();
        let command = command.args(before).arg(path).args(after);
        let (status, _, stderr) = run(command.envs(variable));
        assert!(!status.success());
        assert!(stderr.contains("STERNA_ALLOW_PRECOMPILED"), "{stderr}");
    }
}

#[test]
fn code_under_another_name_is_refused_with_and_without_the_word() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["model.gguf", "model", "model.wasm", "model.GGUF"] {
        fs::copy(compiled(), at(name)).unwrap();
        refused(&at(name), &[], &[], "machine code");
        refused(&at(name), &[ALLOW], &[], "machine code");
    }
    symlink(compiled(), at("link.gguf")).unwrap();
    refused(&at("link.gguf"), &[ALLOW], &[], "machine code");
    fs::write(at("component.gguf"), b"\0asm\x0d\0\x01\0").unwrap();
    refused(&at("component.gguf"), &[ALLOW], &[], "WebAssembly");
    let gguf = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../component/engine/models/demo.gguf"
    );
    for name in ["gguf.cwasm", "gguf.wasm"] {
        fs::copy(gguf, at(name)).unwrap();
        refused(&at(name), &[ALLOW], &[], "is a GGUF file");
    }
    // A directory that holds one is a model's, and it has no model.
    fs::create_dir(at("app.cwasm")).unwrap();
    fs::copy(compiled(), at("app.cwasm").join("app.cwasm")).unwrap();
    refused(&at("app.cwasm"), &[ALLOW], &[], "config.json");
}

#[test]
fn the_variable_names_it_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.gguf");
    fs::copy(compiled(), &file).unwrap();
    for (path, words) in [
        (file.to_str().unwrap(), "machine code"),
        (&compiled(), ALLOW),
    ] {
        for command in [
            &["serve", "--listen", "127.0.0.1:0"][..],
            &["up", "--listen", "127.0.0.1:0"],
            &["run", "Once"],
        ] {
            let (status, _, stderr) = run(sterna().args(command).env("STERNA_MODEL", path));
            assert_eq!(status.code(), Some(1), "{stderr}");
            assert!(stderr.contains(words), "{stderr}");
        }
    }
    // The shim gives a container's own path so.
    let up = ["up", "--listen", "127.0.0.1:0", "--model", &compiled()];
    let (status, _, stderr) = run(sterna().args(up));
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(stderr.contains(ALLOW), "{stderr}");
    let mut command = sterna();
    let server = Server::announced(command.args(up).arg(ALLOW));
    let answer = server.post("/v1/completions", &greedy(LILY, 8, false));
    assert!(LILY_GREEDY.starts_with(&answer.completion()));
}

/// Bits all over the file, code and data and seal, and every kind of wrong length.
#[test]
fn damage_is_found_wherever_it_is() {
    let whole = fs::read(compiled()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.cwasm");
    let refuse = |bytes: &[u8], what: &str| {
        fs::write(&path, bytes).unwrap();
        let (status, stdout, stderr) = run(sterna()
            .args(["run", ALLOW, "-n", "2", "-m"])
            .arg(&path)
            .arg("Once"));
        assert_eq!(status.code(), Some(1), "{what}: {stdout} {stderr}");
        assert!(stderr.contains("bake it again"), "{what}: {stderr}");
    };
    let len = whole.len();
    // At most 200 bytes of the end are the seal.
    let places = (0..24).map(|i| i * (len - 200) / 24 + i);
    let places = places
        .chain((0..16).map(|i| len - 1 - i * 9))
        .chain([0, 5, 18, 50, 4096]);
    for (i, at) in places.enumerate() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (i % 8);
        refuse(&bytes, &format!("bit {} of byte {at}", i % 8));
    }
    for shorter in [0, 4, 5, 63, 200, len / 3, len / 2, len - 4096, len - 1] {
        refuse(&whole[..shorter], &format!("{shorter} bytes"));
    }
    let longer = |tail: &[u8]| [&whole[..], tail].concat();
    refuse(&longer(b"\0"), "a byte more");
    refuse(&longer(&whole[len - 200..]), "its end twice");
    refuse(&longer(&whole), "the file twice");
}

/// A model too large to be read before it serves: its data are checked beside the requests.
#[test]
fn damage_in_a_large_models_data_ends_the_server() {
    let mut config = synthetic::shape("tiny").unwrap();
    (config.hidden_size, config.ffn_size, config.n_layers) = (1024, 4096, 6);
    (config.n_heads, config.head_dim) = (8, 128);
    let model = synthetic::from_config("demo", config, true, DenseType::F16, 3).unwrap();
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let gguf = folders[0].path().join("demo.gguf");
    save(&model, &gguf, &ConvertOptions::default(), &mut |_, _| ()).unwrap();
    let options = ["--aot", "--model", gguf.to_str().unwrap()];
    let app = bake(folders[1].path(), &options).with_extension("cwasm");
    let whole = fs::read(&app).unwrap();
    let mut server = Server::start(&[app.to_str().unwrap(), ALLOW]);
    let good = server.post("/v1/completions", &greedy("Once", 4, false));
    assert_eq!(good.status, 200, "{}", good.text());
    server.signal("TERM");
    assert!(server.wait().success());
    // In the layers' weights, which are most of the file.
    let mut bytes = whole.clone();
    bytes[whole.len() / 2] ^= 4;
    fs::write(&app, &bytes).unwrap();
    // It may end before it says that it is ready.
    let mut command = sterna();
    let command = command.args(["serve", "--listen", "127.0.0.1:0", ALLOW]);
    let mut server = Server::loading(command.arg(&app));
    assert_eq!(server.wait().code(), Some(1), "{}", server.log());
    assert!(
        server.log().contains("not what was baked"),
        "{}",
        server.log()
    );
}
