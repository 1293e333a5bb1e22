//! Events leave while the CPU is busy with the next ones.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::apps::App;
use crate::support::http::Events;
use crate::support::server::Server;
use crate::support::{LILY, greedy};

/// One event of the step engine.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) number: u32,
    /// Nanoseconds of Unix time.
    pub(crate) end: u128,
    /// When it came here.
    pub(crate) arrived: u128,
}

/// The events of one stream, in order.
pub(crate) struct Steps(Events);

impl Steps {
    pub(crate) fn open(server: &Server, tokens: u32) -> Steps {
        let mut body = greedy("x", tokens, true);
        body["model"] = "steps".into();
        Steps(server.connect().post_stream("/v1/completions", &body))
    }
}

impl Iterator for Steps {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        self.0.by_ref().find_map(|event| {
            let arrived = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            let text = event["choices"][0]["text"].as_str()?;
            let mut numbers = text.strip_suffix(';')?.split(' ');
            Some(Step {
                number: numbers.next()?.parse().unwrap(),
                end: numbers.nth(1)?.parse().unwrap(),
                arrived: arrived.as_nanos(),
            })
        })
    }
}

#[test]
fn an_event_arrives_before_the_next_is_computed() {
    for app in [App::STEPS, App::STEPS_P3] {
        let server = app.serve::<&str>(&[]);
        let steps: Vec<Step> = Steps::open(&server, 6).collect();
        assert_eq!(steps.len(), 6);
        for pair in steps.windows(2) {
            assert!(
                pair[0].arrived < pair[1].end,
                "{app:?}: an event was held back while the next one was computed: {steps:?}"
            );
        }
    }
}

#[test]
fn the_first_event_comes_long_before_the_end() {
    for app in [App::DEMO, App::DEMO_P3] {
        // The scalar kernels take a while for 400 tokens.
        let server = app.serve(&["--env", "STERNA_ISA=scalar"]);
        let mut body = greedy(LILY, 400, true);
        body["temperature"] = 2.into();
        body["seed"] = 1.into();
        let mut events = server.connect().post_stream("/v1/completions", &body);
        events.next().unwrap();
        // From here on the server computes nothing: what it had to say until now is all that can
        // come.
        server.signal("STOP");
        let arrived = events.arrived();
        server.signal("CONT");
        let n_events = arrived.matches("data: ").count();
        assert!(!arrived.contains("[DONE]"), "{arrived}");
        assert!(n_events < 100, "{n_events} events came with the first");
        events.kill();
    }
}
