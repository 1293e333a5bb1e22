//! The commands on a terminal: `run` and `--help`. (`compose` and `bake` are tested in files of their own.)

use crate::support::server::{run, sterna};
use crate::support::{LILY, LILY_GREEDY};

#[test]
fn run_prints_the_completion_and_its_figures() {
    let (status, stdout, stderr) =
        run(sterna().args(["run", LILY, "-n", "48", "--temperature", "0"]));
    assert!(status.success(), "{stderr}");
    assert_eq!(stdout, LILY_GREEDY);
    assert!(
        stderr.contains("completion 48 tokens") && stderr.contains("tokens/s"),
        "{stderr}"
    );
}

#[test]
fn run_names_a_wrong_option() {
    let (status, _, stderr) = run(sterna().args(["run", LILY, "--temperature", "-3"]));
    assert!(!status.success());
    assert!(stderr.contains("temperature"), "{stderr}");
}

#[test]
fn help_lists_every_command() {
    let (status, stdout, _) = run(sterna().arg("--help"));
    assert!(status.success());
    for command in ["serve", "run", "bench", "convert", "compose"] {
        assert!(stdout.contains(command), "{stdout}");
    }
}
