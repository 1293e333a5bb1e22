//! Machines that give less than usual: address space, descriptors, threads, procfs, a place for
//! temporary files.

use std::ffi::OsStr;
use std::process::Command;

use crate::support::server::{Server, run, sterna};
use crate::support::{LILY, LILY_GREEDY, greedy};

/// `sterna serve` under a shell's limits.
fn limited(limits: &str, options: &[&str]) -> Command {
    let mut command = Command::new("sh");
    let script = format!("{limits}; exec \"$@\"");
    command.args([OsStr::new("-c"), OsStr::new(&script), OsStr::new("sh")]);
    command
        .arg(sterna().get_program())
        .args(["serve", "--listen", "127.0.0.1:0"])
        .args(options);
    command
}

/// Either it serves, or it says at the start what to do: never "ready" and then failures.
fn serves_or_says(limits: &str, remedy: &str) -> bool {
    let mut command = limited(limits, &["--threads", "1"]);
    let (mut server, announced) = Server::try_announced(&mut command);
    if announced {
        for _ in 0..8 {
            let answer = server.post("/v1/completions", &greedy(LILY, 48, false));
            assert_eq!(answer.completion(), LILY_GREEDY, "{}", server.log());
        }
        assert_eq!(server.get("/readyz").status, 200);
        return true;
    }
    let status = server.wait();
    let log = server.log();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("error: ") && log.contains(remedy), "{log}");
    assert!(!log.contains("panicked"), "{log}");
    false
}

#[test]
fn address_space_is_enough_or_is_asked_for() {
    let mut served = 0;
    // The program alone takes some 60 MiB: with less the system cannot start it.
    for mib in [96, 128, 256, 512, 1024, 4096] {
        served += u32::from(serves_or_says(
            &format!("ulimit -v {}", mib << 10),
            "ulimit -v",
        ));
    }
    assert!(served >= 2, "4 GiB and 1 GiB are enough");
}

#[test]
fn few_descriptors_are_enough_for_one_client() {
    for n in [24, 64] {
        serves_or_says(&format!("ulimit -n {n}"), "ulimit -n");
    }
}

#[test]
fn neither_home_nor_a_temporary_folder_is_needed() {
    let mut command = limited("cd /", &["--threads", "1"]);
    command.env_clear().env("TMPDIR", "/nonexistent");
    let server = Server::announced(&mut command);
    let answer = server.post("/v1/completions", &greedy(LILY, 48, false));
    assert_eq!(answer.completion(), LILY_GREEDY);
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec \"$0\" run Once -n 1 <&-"])
        .arg(sterna().get_program());
    assert!(run(&mut command).0.success());
}

/// With an empty folder over procfs.
#[test]
fn procfs_is_not_needed() {
    let hide = "mount -t tmpfs none /proc && exec \"$@\"";
    let possible = Command::new("unshare")
        .args(["--mount", "sh", "-c", hide, "sh", "true"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !possible {
        println!("left out: mounting is not allowed here");
        return;
    }
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", hide, "sh"])
        .arg(sterna().get_program())
        .args(["serve", "--listen", "127.0.0.1:0", "--threads", "1"]);
    let server = Server::announced(&mut command);
    let answer = server.post("/v1/completions", &greedy(LILY, 48, false));
    assert_eq!(answer.completion(), LILY_GREEDY);
    assert!(!server.log().contains("limit_bytes=0"), "{}", server.log());
    assert!(server.metric("sterna_memory_limit_bytes") > 0.0);
}
