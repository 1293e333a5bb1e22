//! Commands that write files and are told to stop, or cannot finish: nothing is left, and what was
//! there stays.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::server::{run, sterna};
use crate::support::wait_until;

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../component/engine/models/demo.gguf")
}

fn send(signal: &str, child: &Child) {
    let script = format!("kill -{signal} {}", child.id());
    let sent = Command::new("sh").args(["-c", &script]).status();
    assert!(sent.unwrap().success());
}

/// Wait until the command has its unfinished folder, send the signal, and see what is left.
fn stopped(command: &mut Command, folder: &Path, output: &str, signal: &str, code: i32) {
    fs::write(folder.join(output), "good").unwrap();
    let before = names(folder);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("an unfinished folder", || {
        names(folder).len() > before.len()
    });
    send(signal, &child);
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(code), "{signal}");
    assert_eq!(names(folder), before, "{signal}");
    assert_eq!(fs::read(folder.join(output)).unwrap(), b"good");
}

#[test]
fn a_bake_that_is_stopped_leaves_nothing_behind() {
    for (signal, code) in [("TERM", 143), ("INT", 130), ("HUP", 129)] {
        let folder = tempfile::tempdir().unwrap();
        // Who runs the tests in the background has them ignore interrupts, and a command heeds
        // that.
        let mut command = Command::new("env");
        command
            .args(["--default-signal=TERM,INT,HUP"])
            .arg(sterna().get_program())
            .args(["bake", "-o"])
            .arg(folder.path().join("app.wasm"));
        stopped(&mut command, folder.path(), "app.wasm", signal, code);
    }
}

/// A conversion of the demo model takes milliseconds: the signal comes before, in or after it.
#[test]
fn a_conversion_that_is_stopped_leaves_nothing_behind() {
    for signal in ["TERM", "INT"] {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("model.gguf");
        fs::write(&output, "good").unwrap();
        for attempt in 0..20 {
            let mut child = sterna()
                .arg("convert")
                .arg(demo())
                .args(["--head", "f32", "-o"])
                .arg(&output)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            while names(folder.path()).len() == 1 && child.try_wait().unwrap().is_none() {
                std::hint::spin_loop();
            }
            let script = format!("kill -{signal} {}", child.id());
            let _ = Command::new("sh")
                .args(["-c", &script])
                .stderr(Stdio::null())
                .status();
            child.wait().unwrap();
            assert_eq!(names(folder.path()), ["model.gguf"], "attempt {attempt}");
            let bytes = fs::read(&output).unwrap();
            assert!(
                bytes == b"good" || bytes.starts_with(b"GGUF"),
                "attempt {attempt}"
            );
            if bytes != b"good" {
                let (status, _, stderr) =
                    run(sterna().args(["run", "Once", "-n", "1", "-m"]).arg(&output));
                assert!(status.success(), "{stderr}");
                fs::write(&output, "good").unwrap();
            }
        }
    }
}

/// `ulimit -f`, in blocks of 512 bytes, stands for a disk that is full.
#[test]
fn a_full_disk_leaves_the_old_file_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("model.gguf");
    fs::write(&output, "good").unwrap();
    let program = sterna().get_program().to_owned();
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "ulimit -f 1000; exec \"$0\" convert \"$1\" --head f32 -o \"$2\"",
        ])
        .arg(program)
        .arg(demo())
        .arg(&output);
    let (status, _, stderr) = run(&mut command);
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("model.gguf") && stderr.contains("too large"),
        "{stderr}"
    );
    assert_eq!(names(folder.path()), ["model.gguf"]);
    assert_eq!(fs::read(&output).unwrap(), b"good");
}

#[test]
fn nobody_need_listen_to_a_command() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("model.gguf");
    for redirect in [">&- 2>&- <&-", ">/dev/full 2>/dev/full"] {
        let script = format!("exec \"$0\" convert \"$1\" -o \"$2\" {redirect}");
        let mut command = Command::new("sh");
        command
            .args(["-c", &script])
            .arg(sterna().get_program())
            .arg(demo())
            .arg(&output);
        let status = command.status().unwrap();
        assert!(status.success(), "{redirect}: {status}");
        fs::remove_file(&output).unwrap();
    }
}

#[test]
fn an_output_that_is_no_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (output, part) in [
        (Path::new("/dev/null"), "device"),
        (folder.path(), "directory"),
    ] {
        let (status, _, stderr) = run(sterna().arg("convert").arg(demo()).arg("-o").arg(output));
        assert_eq!(status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(part), "{stderr}");
    }
    assert!(!fs::metadata("/dev/null").unwrap().is_file());
}

/// A job of a script's background is started so: an interrupt at the terminal is not for it.
#[test]
fn a_signal_that_is_ignored_stays_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("app.wasm");
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' HUP; exec \"$0\" bake -o \"$1\""])
        .arg(sterna().get_program())
        .arg(&output)
        .stdout(Stdio::null())
        .process_group(0);
    let mut child = command.spawn().unwrap();
    wait_until("an unfinished folder", || !names(folder.path()).is_empty());
    send("HUP", &child);
    assert!(child.wait().unwrap().success());
    assert_eq!(names(folder.path()), ["app.wasm"]);
}
