//! `sterna-pull` against servers on this machine that drop connections, lie about lengths and
//! change files midway.

#![allow(clippy::unwrap_used, clippy::missing_docs_in_private_items)]

mod artifact;
mod server;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::json;
use server::{Request, Response, Server};
use sha2::{Digest, Sha256};

/// A folder for the cache, and the program with it.
struct Pull {
    folder: tempfile::TempDir,
}

impl Pull {
    fn new() -> Pull {
        Pull {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn command(&self, endpoint: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sterna-pull"));
        command
            .args(arguments)
            .env("STERNA_CACHE", self.folder.path())
            .env("HF_ENDPOINT", endpoint)
            .env("NO_PROXY", "*")
            .env_remove("HF_TOKEN")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, endpoint: &str, arguments: &[&str]) -> Output {
        self.command(endpoint, arguments).output().unwrap()
    }

    /// The file that is had.
    fn got(&self, endpoint: &str, arguments: &[&str]) -> PathBuf {
        let output = self.run(endpoint, arguments);
        assert!(output.status.success(), "{}", said(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        PathBuf::from(text.trim())
    }

    fn refused(&self, endpoint: &str, arguments: &[&str]) -> String {
        let output = self.run(endpoint, arguments);
        assert!(!output.status.success(), "{output:?}");
        said(&output)
    }

    /// Files with their whole names: nothing that is unfinished.
    fn finished(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        files_below(self.folder.path(), &mut found);
        found
    }
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let hidden = path.file_name().unwrap().to_string_lossy().starts_with('.');
        if path.is_dir() {
            files_below(&path, found);
        } else if !hidden {
            found.push(path);
        }
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn hex(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes that do not repeat.
fn model(n: usize) -> Vec<u8> {
    let mut state = 1u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..n).map(next).collect()
}

const COMMIT: &str = "0123456789abcdef";

/// What the hub says of a repository with one file of this content.
fn description(name: &str, bytes: &[u8]) -> String {
    let file = json!({"rfilename": name, "size": bytes.len(),
        "lfs": {"sha256": hex(bytes), "size": bytes.len(), "pointerSize": 130}});
    json!({"sha": COMMIT, "siblings": [file]}).to_string()
}

fn is_api(request: &Request) -> bool {
    request.path.starts_with("/api/")
}

#[test]
fn a_connection_that_drops_again_and_again_is_resumed() {
    let content = model(300_000);
    let served = content.clone();
    let server = Server::start(move |request, _| {
        if is_api(request) {
            return Response::ok(description("m-Q2_0.gguf", &served));
        }
        let response = Response::file(request, &served, "\"one\"");
        let some = response.body.len().min(70_001);
        response.cut(some)
    });
    let pull = Pull::new();
    let path = pull.got(&server.address, &["org/m"]);
    assert_eq!(std::fs::read(&path).unwrap(), content);
    assert_eq!(path.file_name().unwrap(), "m-Q2_0.gguf");
    let requests = server.requests();
    assert_eq!(
        requests[0].path,
        "/api/models/org/m/revision/main?blobs=true"
    );
    assert_eq!(
        requests[1].path,
        format!("/org/m/resolve/{COMMIT}/m-Q2_0.gguf")
    );
    let starts: Vec<_> = requests[1..].iter().map(Request::range_start).collect();
    let expected = [
        None,
        Some(70_001),
        Some(140_002),
        Some(210_003),
        Some(280_004),
    ];
    assert_eq!(starts, expected);
    assert!(
        requests[2..]
            .iter()
            .all(|r| r.header("if-range") == Some("\"one\""))
    );

    // It is here now: nobody is asked, and nobody need be there.
    let again = pull.got("http://127.0.0.1:1", &["org/m"]);
    assert_eq!(again, path);
    assert_eq!(server.requests().len(), requests.len());
    // Asked anew, what is the same is not fetched again.
    assert_eq!(pull.got(&server.address, &["--refresh", "org/m"]), path);
    assert_eq!(server.requests().len(), requests.len() + 1);

    let list = pull.run("http://127.0.0.1:1", &["--list"]);
    let list = String::from_utf8(list.stdout).unwrap();
    assert!(list.starts_with("org/m  0.3 MB"), "{list}");
    pull.got("http://127.0.0.1:1", &["--rm", "org/m"]);
    assert!(pull.finished().is_empty());
    assert!(
        pull.refused("http://127.0.0.1:1", &["--rm", "org/m"])
            .contains("is not in")
    );
}

#[test]
fn a_process_that_was_killed_leaves_what_the_next_one_goes_on_from() {
    let content = model(200_000);
    let served = content.clone();
    let server = Server::start(move |request, before| {
        if is_api(request) {
            return Response::ok(description("m.gguf", &served));
        }
        let response = Response::file(request, &served, "\"one\"");
        if before == 1 {
            let mut held = response.cut(90_000);
            held.hold = Duration::from_secs(60);
            return held;
        }
        response
    });
    let pull = Pull::new();
    let mut child = pull
        .command(&server.address, &["org/m"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // Until the bytes that were sent are in the file.
    let part = || {
        let folder = std::fs::read_dir(pull.folder.path())
            .unwrap()
            .next()?
            .unwrap();
        Some(folder.path().join(".m.gguf.part").metadata().ok()?.len())
    };
    while part() != Some(90_000) {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::yield_now();
    }
    // Meanwhile another one does not write into the same file.
    let error = pull.refused(&server.address, &["org/m"]);
    assert!(error.contains("another process"), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(pull.finished().is_empty());
    let path = pull.got(&server.address, &["org/m"]);
    assert_eq!(std::fs::read(path).unwrap(), content);
    assert_eq!(
        server.requests().last().unwrap().range_start(),
        Some(90_000)
    );
}

#[test]
fn a_file_that_changes_midway_comes_whole_from_its_beginning() {
    let (old, new) = (model(100_000), model(150_000)[50_000..].to_vec());
    let (served_old, served_new) = (old, new.clone());
    let server = Server::start(move |request, before| match before {
        0 => Response::file(request, &served_old, "\"old\"").cut(40_000),
        // Against the rules: a part of another file than the one with the tag.
        1 => {
            let range = format!("bytes 40000-{}/{}", served_new.len() - 1, served_new.len());
            let mut part = Response::ok(&served_new[40_000..]).with("content-range", range);
            part.status = "206 Partial Content";
            part.with("etag", "\"new\"")
        }
        2 => Response::file(request, &served_new, "\"new\"").cut(30_000),
        _ => Response::file(request, &served_new, "\"new\""),
    });
    let pull = Pull::new();
    let path = pull.got(
        "http://127.0.0.1:1",
        &[&format!("{}/m.gguf", server.address)],
    );
    assert_eq!(std::fs::read(path).unwrap(), new);
    let starts: Vec<_> = server.requests().iter().map(Request::range_start).collect();
    assert_eq!(starts, [None, Some(40_000), None, Some(30_000)]);

    // As servers should: the whole file, since the tag is another.
    let (old, new) = (model(100_000), model(90_000));
    let (served_old, served_new) = (old, new.clone());
    let server = Server::start(move |request, before| match before {
        0 => Response::file(request, &served_old, "\"old\"").cut(95_000),
        _ => Response::file(request, &served_new, "\"new\""),
    });
    let path = pull.got(
        "http://127.0.0.1:1",
        &[&format!("{}/m.gguf", server.address)],
    );
    assert_eq!(std::fs::read(path).unwrap(), new);
}

#[test]
fn without_a_tag_nothing_is_glued_together() {
    let (old, new) = (model(100_000), model(200_000)[100_000..].to_vec());
    let (served_old, served_new) = (old, new.clone());
    let server = Server::start(move |request, before| {
        let served = if before == 0 {
            &served_old
        } else {
            &served_new
        };
        let mut response = Response::file(request, served, "");
        response.headers.retain(|(name, _)| *name != "etag");
        if before == 0 {
            response.cut(60_000)
        } else {
            response
        }
    });
    let pull = Pull::new();
    let path = pull.got(
        "http://127.0.0.1:1",
        &[&format!("{}/m.gguf", server.address)],
    );
    assert_eq!(std::fs::read(path).unwrap(), new);
    assert_eq!(server.requests()[1].range_start(), None);
}

#[test]
fn another_file_than_was_promised_is_no_model() {
    let content = model(50_000);
    let mut damaged = content.clone();
    damaged[7] ^= 1;
    let described = content.clone();
    let server = Server::start(move |request, _| {
        if is_api(request) {
            return Response::ok(description("m.gguf", &described));
        }
        Response::file(request, &damaged, "\"one\"")
    });
    let pull = Pull::new();
    let error = pull.refused(&server.address, &["org/m"]);
    assert!(
        error.contains("SHA-256") && error.contains(&hex(&content)),
        "{error}"
    );
    assert!(pull.finished().is_empty());
    let list = String::from_utf8(pull.run("", &["--list"]).stdout).unwrap();
    assert!(list.starts_with("(unfinished)"), "{list}");
}

#[test]
fn lies_about_lengths_are_found_out() {
    let content = model(50_000);
    // Longer than the hub says.
    let described = content[..40_000].to_vec();
    let served = content.clone();
    let server = Server::start(move |request, _| {
        if is_api(request) {
            return Response::ok(description("m.gguf", &described));
        }
        Response::file(request, &served, "\"one\"")
    });
    let pull = Pull::new();
    let error = pull.refused(&server.address, &["org/m"]);
    assert!(
        error.contains("has 50000 bytes, and not the 40000"),
        "{error}"
    );

    // The same without a length, and so without an end.
    let described = content[..40_000].to_vec();
    let served = content.clone();
    let server = Server::start(move |request, _| {
        if is_api(request) {
            return Response::ok(description("m.gguf", &described));
        }
        let mut response = Response::ok(&*served);
        response.headers.clear();
        response
    });
    let error = Pull::new().refused(&server.address, &["org/m"]);
    assert!(error.contains("more than the 40000 bytes"), "{error}");

    // A length that never comes: given up, after tries that had no progress.
    let served = content.clone();
    let server = Server::start(move |request, _| {
        let response = Response::file(request, &served, "\"one\"");
        let promised = response.body.len() + 10;
        match request.range_start() {
            None => response.with("content-length", promised.to_string()),
            Some(_) => response,
        }
    });
    let pull = Pull::new();
    let error = pull.refused(
        "http://127.0.0.1:1",
        &[&format!("{}/m.gguf", server.address)],
    );
    assert!(error.contains("given up after"), "{error}");
    assert!(pull.finished().is_empty());
    assert!(server.requests().len() < 20);
}

#[test]
fn offline_it_says_so_at_once() {
    for reference in ["org/m", "http://127.0.0.1:1/m.gguf"] {
        let error = Pull::new().refused("http://127.0.0.1:1", &[reference]);
        assert!(
            error.contains("127.0.0.1") && error.contains("offline"),
            "{error}"
        );
    }
    let error = Pull::new().refused("", &["--plain-http", "oci://127.0.0.1:1/team/m:1"]);
    assert!(error.contains("offline"), "{error}");
}

#[test]
fn refusals_name_the_remedy() {
    for (status, words) in [
        ("401 Unauthorized", "HF_TOKEN"),
        ("403 Forbidden", "HF_TOKEN"),
        ("404 Not Found", "no such model"),
    ] {
        let server = Server::start(move |_, _| Response::status(status));
        let error = Pull::new().refused(&server.address, &["org/m"]);
        assert!(error.contains(words), "{error}");
    }
    for answer in [
        "",
        "[]",
        "{\"sha\": \"../x\"}",
        "{\"sha\": \"a\", \"siblings\": []}",
    ] {
        let server = Server::start(move |_, _| Response::ok(answer));
        Pull::new().refused(&server.address, &["org/m"]);
    }
    let error = Pull::new().refused("", &["no-name"]);
    assert!(error.contains("oci://REGISTRY/NAME:TAG"), "{error}");
}

#[test]
fn a_busy_server_is_asked_again() {
    let content = model(1000);
    let served = content.clone();
    let server = Server::start(move |request, before| match before {
        0 => Response::status("503 Service Unavailable").with("retry-after", "0"),
        1 => Response::status("429 Too Many Requests"),
        _ => Response::file(request, &served, "\"one\""),
    });
    let path = Pull::new().run("", &[&format!("{}/m.gguf", server.address)]);
    assert!(path.status.success(), "{}", said(&path));
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn the_token_goes_to_the_hub_and_nowhere_else() {
    let content = model(1000);
    let served = content.clone();
    let store = Server::start(move |request, _| Response::file(request, &served, "\"one\""));
    let (address, described) = (store.address.clone(), content.clone());
    let hub = Server::start(move |request, _| {
        if is_api(request) {
            return Response::ok(description("m.gguf", &described));
        }
        Response::status("302 Found").with("location", format!("{address}/blob"))
    });
    let pull = Pull::new();
    let mut command = pull.command(&hub.address, &["org/m@v1"]);
    let output = command.env("HF_TOKEN", "sesame").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(
        hub.requests()[0].path,
        "/api/models/org/m/revision/v1?blobs=true"
    );
    for request in hub.requests() {
        assert_eq!(request.header("authorization"), Some("Bearer sesame"));
    }
    assert_eq!(store.requests().len(), 1);
    assert_eq!(store.requests()[0].header("authorization"), None);
}

#[test]
fn names_that_leave_the_folder_are_left_out() {
    let content = model(1000);
    let described = content.clone();
    let server = Server::start(move |request, _| {
        if is_api(request) {
            let file = |name| json!({"rfilename": name, "size": described.len()});
            let names = [
                "../../evil.gguf",
                "/evil.gguf",
                ".hidden.gguf",
                "sub/m.gguf",
            ];
            let files: Vec<_> = names.into_iter().map(file).collect();
            return Response::ok(json!({"sha": COMMIT, "siblings": files}).to_string());
        }
        Response::file(request, &described, "\"one\"")
    });
    let pull = Pull::new();
    let path = pull.got(&server.address, &["org/m"]);
    assert_eq!(pull.finished(), std::slice::from_ref(&path));
    assert_eq!(path.file_name().unwrap(), "m.gguf");
    let error = pull.refused(&server.address, &["org/m:evil"]);
    assert!(error.contains("no file is called evil"), "{error}");
}

#[test]
fn a_directory_is_pulled_whole_under_its_repositorys_name() {
    let files = [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "pytorch_model.bin",
    ];
    let server = Server::start(move |request, _| {
        if is_api(request) {
            let file = |name: &&str| json!({"rfilename": name, "size": name.len()});
            let siblings: Vec<_> = files.iter().map(file).collect();
            return Response::ok(json!({"sha": COMMIT, "siblings": siblings}).to_string());
        }
        let name = request.path.rsplit('/').next().unwrap().to_owned();
        Response::file(request, name.as_bytes(), "\"one\"")
    });
    let pull = Pull::new();
    let path = pull.got(&server.address, &["org/tiny-model"]);
    assert_eq!(path.file_name().unwrap(), "tiny-model");
    for name in &files[..3] {
        assert_eq!(std::fs::read_to_string(path.join(name)).unwrap(), *name);
    }
    assert_eq!(pull.finished().len(), 3);
}
