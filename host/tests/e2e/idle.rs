//! A server that nobody asks anything costs its node no time: hundreds of idle pods may lie on one.

use std::time::Duration;

use crate::support::server::Server;
use crate::support::{LILY, greedy, holds_in_time};

impl Server {
    /// The number of times its threads have gone to sleep so far: each time, something had woken
    /// them.
    fn sleeps(&self) -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.id())).unwrap();
        let count = |status: String| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
            line.trim().parse::<u64>().ok()
        };
        // A thread may end between being listed and being read.
        tasks
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("status")).ok())
            .filter_map(count)
            .sum()
    }
}

#[test]
fn a_server_that_is_not_asked_sleeps() {
    let server = Server::start(&["--threads", "2"]);
    let quiet = || {
        let before = server.sleeps();
        std::thread::sleep(Duration::from_secs(1));
        server.sleeps().saturating_sub(before) <= 2
    };
    assert!(holds_in_time(quiet), "it wakes before the first request");
    server
        .post("/v1/completions", &greedy(LILY, 4, false))
        .completion();
    assert!(holds_in_time(quiet), "it wakes after the first request");
}
