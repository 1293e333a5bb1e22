//! A model that cannot be served ends `sterna serve` with a message that says what to do.

use std::fs;
use std::path::Path;

use crate::support::server::{run, sterna};

fn demo_gguf() -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../component/engine/models/demo.gguf"))
        .unwrap()
}

/// The message of `sterna serve` about this file.
fn refusal(file: &Path) -> String {
    let (status, _, stderr) = run(sterna()
        .args(["serve", "--listen", "127.0.0.1:0", "--model"])
        .arg(file));
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("error: cannot load the model"), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    stderr
}

#[test]
fn absent_empty_and_foreign_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent.gguf");
    assert!(refusal(&absent).contains("absent.gguf"));
    for (name, bytes) in [
        ("empty.gguf", &b""[..]),
        ("text.gguf", b"Once upon a time"),
        ("png.gguf", b"\x89PNG\r\n"),
    ] {
        let file = folder.path().join(name);
        fs::write(&file, bytes).unwrap();
        assert!(refusal(&file).contains(name));
    }
    let message = refusal(folder.path());
    assert!(message.contains("config.json"), "{message}");
}

#[test]
fn truncated_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let whole = demo_gguf();
    for part in [10, 100, 5_000, whole.len() / 2, whole.len() - 1] {
        let file = folder.path().join("short.gguf");
        fs::write(&file, &whole[..part]).unwrap();
        refusal(&file);
    }
}

/// A flipped bit may be a wrong weight, which nobody can see, or a broken structure, which must be
/// refused.
#[test]
fn flipped_bits_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("flipped.gguf");
    let whole = demo_gguf();
    let mut refused = 0;
    // The header is what has structure; prime steps visit every kind of field.
    for flip in 0..40 {
        let mut bytes = whole.clone();
        let position = if flip < 8 { flip * 3 } else { flip * 1_009 };
        bytes[position] ^= 1 << (flip % 8);
        fs::write(&file, &bytes).unwrap();
        let (status, _, stderr) = run(sterna().args(["run", "Once", "-n", "1", "-m"]).arg(&file));
        assert!(!stderr.contains("panicked"), "byte {position}: {stderr}");
        match status.code() {
            Some(0) => {}
            Some(1) => {
                assert!(stderr.contains("error: "), "byte {position}: {stderr}");
                refused += 1;
            }
            other => panic!("byte {position}: exit {other:?}: {stderr}"),
        }
    }
    assert!(refused >= 5, "only {refused} of 40 were refused");
}

#[test]
fn a_taken_port_is_named_with_the_remedy() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (status, _, stderr) = run(sterna().args(["serve", "--listen", &address]));
    assert_eq!(status.code(), Some(1));
    assert!(
        stderr.contains(&address) && stderr.contains("--listen"),
        "{stderr}"
    );
}

#[test]
fn an_unknown_isa_is_named_with_those_of_this_machine() {
    let (status, _, stderr) = run(sterna().args(["serve", "--isa", "mmx"]));
    assert_eq!(status.code(), Some(1));
    assert!(
        stderr.contains("mmx") && stderr.contains("scalar"),
        "{stderr}"
    );
}
