//! Models whose loads are made up.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sterna_engine::error::EngineError;

use super::state::{FIRST_PAUSE, HOLD, Next, State, Taken};
use super::{Asking, Claim, Held, Loaded, Loader, Names, Refused, Registry, Stage};
use crate::testing::model_info;

const SOON: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(60);

fn claims(least: &[u64]) -> Vec<Claim> {
    let claim = |&least: &u64| Claim {
        fixed: 1,
        least,
        most: least,
    };
    least.iter().map(claim).collect()
}

/// Remembers what it did. Where there is a gate, a load waits for it.
struct Fake {
    did: Arc<Mutex<Vec<String>>>,
    fails: Arc<AtomicBool>,
    gate: Option<Mutex<Receiver<()>>>,
}

impl Loader<usize> for Fake {
    fn load(&self, index: usize, bytes: u64) -> anyhow::Result<Loaded<usize>> {
        self.did.lock().unwrap().push(format!("load {index}"));
        if let Some(gate) = &self.gate {
            gate.lock().unwrap().recv()?;
        }
        anyhow::ensure!(!self.fails.load(SeqCst), "the file is damaged");
        Ok(Loaded {
            engine: index,
            info: model_info("its own name"),
            bytes,
        })
    }

    fn unload(&self, index: usize, engine: usize) {
        assert_eq!(index, engine);
        self.did.lock().unwrap().push(format!("unload {index}"));
    }
}

struct Server {
    models: Arc<Registry<usize>>,
    did: Arc<Mutex<Vec<String>>>,
    fails: Arc<AtomicBool>,
}

impl Server {
    /// Models `a`, `b`, ... that need so much of `pool`.
    fn start(least: &[u64], pool: u64, gate: Option<Receiver<()>>) -> Server {
        let (did, fails) = (Arc::default(), Arc::default());
        let fake = Fake {
            did: Arc::clone(&did),
            fails: Arc::clone(&fails),
            gate: gate.map(Mutex::new),
        };
        let names = ["a", "b", "c"].into_iter().take(least.len());
        let names = Names::new(names.map(Into::into).collect());
        let models = Registry::start(names, &claims(least), pool, 16, fake).unwrap();
        Server {
            models: Arc::new(models),
            did,
            fails,
        }
    }

    fn gated(least: &[u64], pool: u64) -> (Server, Sender<()>) {
        let (open, gate) = channel();
        (Server::start(least, pool, Some(gate)), open)
    }

    fn ask(&self, name: &str) -> Asking<usize> {
        self.models.ask(Some(name)).unwrap()
    }

    async fn get(&self, name: &str) -> super::Lease<usize> {
        self.ask(name).wait(LONG).await.unwrap().unwrap()
    }

    fn did(&self) -> Vec<String> {
        std::mem::take(&mut self.did.lock().unwrap())
    }

    fn stages(&self) -> Vec<Stage> {
        let listed = self.models.listed();
        listed.into_iter().map(|it| it.stage).collect()
    }
}

#[tokio::test]
async fn the_one_used_longest_ago_makes_room() {
    let server = Server::start(&[40, 40, 40], 100, None);
    drop(server.get("a").await);
    drop(server.get("b").await);
    drop(server.get("a").await);
    assert_eq!(server.did(), ["load 0", "load 1"]);
    let lease = server.get("c").await;
    assert_eq!(server.did(), ["unload 1", "load 2"]);
    assert_eq!(
        server.stages(),
        [Stage::Loaded, Stage::Unloaded, Stage::Loaded]
    );
    // As it is called here, and with what is known of it.
    assert_eq!((lease.info().id.as_str(), *lease.engine()), ("c", 2));
    let listed = server.models.listed();
    assert!(
        listed.iter().all(|it| it.info.is_some()),
        "also of the one that is gone"
    );
}

#[tokio::test]
async fn one_in_use_stays_and_who_waits_gets_its_turn() {
    let server = Server::start(&[60, 60], 100, None);
    let a = server.get("a").await;
    let b = server.ask("b");
    assert!(b.wait(SOON).await.unwrap().is_none());
    assert_eq!(server.stages(), [Stage::Loaded, Stage::Loading]);
    drop(server.get("a").await);
    assert_eq!(server.did(), ["load 0"], "others are served meanwhile");
    drop(a);
    assert!(b.wait(LONG).await.unwrap().is_some());
    assert_eq!(server.did(), ["unload 0", "load 1"]);
}

#[tokio::test]
async fn who_leaves_has_nothing_loaded() {
    let server = Server::start(&[60, 60], 100, None);
    let a = server.get("a").await;
    let b = server.ask("b");
    assert!(b.wait(SOON).await.unwrap().is_none());
    drop(b);
    drop(a);
    drop(server.get("a").await);
    while server.stages() != [Stage::Loaded, Stage::Unloaded] {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.did(), ["load 0"]);
}

#[tokio::test]
async fn many_who_ask_at_once_have_it_loaded_once() {
    let (server, open) = Server::gated(&[10, 10], 100);
    open.send(()).unwrap();
    let other = server.get("b").await;
    let asking: Vec<_> = (0..16).map(|_| server.ask("a")).collect();
    let too_many = server.models.ask(Some("a")).err();
    let overloaded = |it| matches!(it, Some(Refused::Engine(EngineError::Overloaded { .. })));
    assert!(overloaded(too_many));
    for one in &asking {
        assert!(one.wait(Duration::ZERO).await.unwrap().is_none());
    }
    // While it is being loaded others are served.
    assert_eq!(*other.engine(), 1);
    drop(server.get("b").await);
    open.send(()).unwrap();
    for one in &asking {
        assert!(one.wait(LONG).await.unwrap().is_some());
    }
    assert_eq!(server.did(), ["load 1", "load 0"]);
}

#[tokio::test]
async fn a_load_that_fails_is_told_and_not_tried_again_at_once() {
    let server = Server::start(&[10], 100, None);
    server.fails.store(true, SeqCst);
    for _ in 0..3 {
        let failed = server.ask("a").wait(LONG).await.err().unwrap();
        let EngineError::Unavailable(why) = failed else {
            panic!("{failed}");
        };
        assert!(
            why.contains("cannot be loaded: the file is damaged"),
            "{why}"
        );
    }
    assert_eq!(server.did(), ["load 0"]);
    assert_eq!(server.stages(), [Stage::Failed]);
}

#[tokio::test]
async fn a_server_that_stops_lets_nobody_wait() {
    let server = Server::start(&[60, 60], 100, None);
    let _a = server.get("a").await;
    let models = Arc::clone(&server.models);
    let waits = tokio::spawn(async move { models.ask(Some("b")).unwrap().wait(LONG).await.err() });
    while server.stages() != [Stage::Loaded, Stage::Loading] {
        tokio::task::yield_now().await;
    }
    server.models.end();
    assert!(matches!(
        waits.await.unwrap(),
        Some(EngineError::Unavailable(_))
    ));
}

#[tokio::test]
async fn a_request_keeps_what_it_was_given_and_its_place() {
    let server = Server::start(&[60, 60], 100, None);
    let mut held = Held::new(Arc::clone(&server.models));
    assert!(held.get(None, LONG).await.unwrap().is_some());
    assert!(held.get(Some("a"), Duration::ZERO).await.unwrap().is_some());
    let mut other = Held::new(Arc::clone(&server.models));
    assert!(other.get(Some("b"), SOON).await.unwrap().is_none());
    assert_eq!(
        server.stages(),
        [Stage::Loaded, Stage::Loading],
        "it still waits"
    );
    let unknown = other.get(Some("x"), SOON).await.err();
    assert_eq!(unknown, Some(Refused::Unknown("x".into())));
    drop(held);
    assert!(other.get(Some("b"), LONG).await.unwrap().is_some());
    drop(other);
    assert_eq!(server.did(), ["load 0", "unload 0", "load 1"]);
}

#[test]
fn one_model_stays() {
    let models = Registry::of_one(5_usize, model_info("its own name"));
    let listed = models.listed();
    assert_eq!((listed.len(), listed[0].stage), (1, Stage::Loaded));
    assert_eq!(models.loaded(), [5]);
    assert!(models.ask(Some("other")).is_err() && models.ask(None).is_ok());
}

fn taken(state: &mut State<usize>, index: usize, now: Instant) -> bool {
    match state.take(index, now) {
        Taken::Engine(_) => true,
        Taken::NotYet | Taken::Failed(_) => false,
    }
}

fn load(state: &mut State<usize>, index: usize, now: Instant) {
    state.slots[index].waiting += 1;
    assert!(!taken(state, index, now));
    let Next::Load(next, bytes) = state.next(now).0 else {
        panic!("{:?}", state.next(now));
    };
    assert_eq!(next, index);
    state.load_begins(index, bytes);
    state.load_ends(index, (index, model_info("its own name"), bytes), now);
    state.slots[index].waiting -= 1;
}

#[test]
fn a_model_that_is_always_in_use_makes_room_after_a_while() {
    let begin = Instant::now();
    let mut state = State::new(&claims(&[60, 60]), 100);
    load(&mut state, 0, begin);
    assert!(taken(&mut state, 0, begin));
    state.slots[1].waiting = 1;
    assert!(!taken(&mut state, 1, begin));
    // It is asked for again and again, and not cut meanwhile.
    assert_eq!(state.next(begin), (Next::Wait(Some(begin + HOLD)), false));
    assert!(taken(&mut state, 0, begin + HOLD / 2));
    let later = begin + HOLD;
    assert_eq!(state.next(later), (Next::Wait(None), true));
    state.slots[0].waiting = 1;
    assert!(
        !taken(&mut state, 0, later),
        "further requests wait for their turn"
    );
    state.slots[0].leases -= 1;
    assert_eq!(
        state.next(later),
        (Next::Wait(None), false),
        "one is still running"
    );
    state.slots[0].leases -= 1;
    assert_eq!(state.next(later).0, Next::Unload(0));
    assert_eq!(state.unload_begins(0), Some(0));
    state.unload_ends(0);
    assert!(!taken(&mut state, 0, later), "it is wanted again");
    assert_eq!(state.next(later).0, Next::Load(1, 60));
    state.load_begins(1, 60);
    let loaded = later + 10 * HOLD;
    state.load_ends(1, (1, model_info("its own name"), 60), loaded);
    // Those for whom it was loaded come first, however long the others wait.
    assert_eq!(state.next(loaded), (Next::Wait(Some(loaded + HOLD)), false));
    assert!(taken(&mut state, 1, loaded));
}

#[test]
fn a_failed_load_is_tried_again_after_a_pause_that_grows() {
    let mut now = Instant::now();
    let mut state = State::new(&claims(&[60]), 100);
    state.slots[0].waiting = 1;
    for pause in [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE] {
        assert!(!taken(&mut state, 0, now));
        assert_eq!(state.next(now).0, Next::Load(0, 60));
        state.load_begins(0, 60);
        state.load_fails(0, "it rains", now);
        let just_before = now + pause - Duration::from_millis(1);
        assert!(matches!(state.take(0, just_before), Taken::Failed(why) if &*why == "it rains"));
        assert_eq!(state.next(just_before).0, Next::Wait(None));
        now += pause;
    }
    load(&mut state, 0, now);
    assert!(taken(&mut state, 0, now));
}

#[test]
fn the_last_that_fits_gets_all_it_can_use() {
    let now = Instant::now();
    let claim = |least, most| Claim {
        fixed: 1,
        least,
        most,
    };
    let mut state = State::new(&[claim(60, 90), claim(60, 200)], 100);
    load(&mut state, 0, now);
    assert_eq!(
        state.slots[0].bytes, 90,
        "the other one does not fit beside it anyway"
    );
    let mut state = State::new(&[claim(30, 90), claim(40, 200)], 100);
    load(&mut state, 0, now);
    assert!((30..60).contains(&state.slots[0].bytes), "both fit");
    load(&mut state, 1, now);
    assert!(state.slots[0].bytes + state.slots[1].bytes <= 100);
}
