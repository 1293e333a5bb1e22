//! A model's file that is cut short, overwritten or replaced while it is served.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::sandboxed::{ALLOW, compiled};
use crate::support::server::Server;
use crate::support::{LILY, LILY_GREEDY, greedy, wait_until};

/// The demo model as a file of its own.
fn model(folder: &Path) -> PathBuf {
    let path = folder.join("demo.gguf");
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../component/engine/models/demo.gguf");
    fs::copy(demo, &path).unwrap();
    path
}

/// Served from its mapping: nothing is copied.
fn serve(path: &Path, more: &[&str]) -> Server {
    let path = path.to_str().unwrap();
    let mut options = vec!["--model", path, "--without", "huge-pages,trits5,down-copy"];
    options.extend(more);
    Server::start(&options)
}

/// The exit status of the process after it reads a page that is gone.
const LOST: i32 = 74;

#[test]
fn a_file_that_is_cut_short_ends_the_process_with_a_word() {
    for (format, begin) in [
        ("text", "ERROR the model "),
        (
            "json",
            "{\"level\":\"ERROR\",\"fields\":{\"message\":\"the model ",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = model(folder.path());
        let mut server = serve(&path, &["--log-format", format]);
        let body = greedy(LILY, 400, true);
        let mut events = server.connect().post_stream("/v1/completions", &body);
        events.next().expect("a first token");
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(4096)
            .unwrap();
        let status = server.wait();
        let log = server.log();
        assert_eq!(status.code(), Some(LOST), "{log}");
        let line = log.lines().find(|line| line.starts_with(begin));
        let line = line.unwrap_or_else(|| panic!("{log}"));
        assert!(
            line.contains("demo.gguf") && line.contains("renaming"),
            "{line}"
        );
    }
}

#[test]
fn a_file_that_is_written_to_makes_the_server_unready() {
    let folder = tempfile::tempdir().unwrap();
    let path = model(folder.path());
    is_noticed(&serve(&path, &[]), &path);
}

#[test]
fn a_precompiled_file_that_is_written_to_makes_the_server_unready() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("demo.cwasm");
    fs::copy(compiled(), &path).unwrap();
    let server = Server::start(&["--model", path.to_str().unwrap(), ALLOW]);
    is_noticed(&server, &path);
}

fn is_noticed(server: &Server, path: &Path) {
    assert_eq!(server.get("/readyz").status, 200);
    let file = File::options().write(true).open(path).unwrap();
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(7);
    file.set_modified(later).unwrap();
    wait_until("the change to be noticed", || {
        server.get("/readyz").status == 503
    });
    let reason = server.get("/readyz").text();
    assert!(reason.contains("model_changed"), "{reason}");
    assert_eq!(server.get("/livez").status, 200);
    assert_eq!(server.metric("sterna_ready"), 0.0);
    wait_until("a line in the log", || {
        server.log().contains("was written to since it was loaded")
    });
    let log = server.log();
    assert_eq!(log.matches("was written to since").count(), 1, "{log}");
}

#[test]
fn a_file_that_is_replaced_by_renaming_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = model(folder.path());
    let server = serve(&path, &[]);
    let next = folder.path().join("next");
    fs::write(&next, b"GGUF another").unwrap();
    fs::rename(&next, &path).unwrap();
    let answer = server.post("/v1/completions", &greedy(LILY, 48, false));
    assert_eq!(answer.completion(), LILY_GREEDY);
    assert_eq!(server.get("/readyz").status, 200);
}

/// Copied to memory of the process, a small model needs its file no more.
#[test]
fn a_copied_model_does_not_depend_on_its_file() {
    let choice = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    if !choice.is_ok_and(|choice| choice.contains("[always]") || choice.contains("[madvise]")) {
        println!("left out: 2 MiB pages are switched off on this machine");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = model(folder.path());
    let server = Server::start(&["--model", path.to_str().unwrap(), "--threads", "2"]);
    wait_until("the weights to settle", || {
        server.log().contains("weights settled")
    });
    if server.log().contains("copied_bytes=0 ") {
        println!("left out: this machine's kernel put the file's own pages together, or gave none");
        return;
    }
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(4096)
        .unwrap();
    let answer = server.post("/v1/completions", &greedy(LILY, 48, false));
    assert_eq!(answer.completion(), LILY_GREEDY);
    assert_eq!(server.get("/readyz").status, 200);
}
