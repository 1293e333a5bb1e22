//! The clock by which guests yield, or end. It ticks only while there are guests, so that an idle
//! server does not wake: at 200 ticks a second, hundreds of idle pods would keep a node busy.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wasmtime::Engine;

/// Advances an engine's epoch in even periods while a [`Guest`] is alive; dropping the clock ends
/// its thread.
#[derive(Debug)]
pub(crate) struct EpochClock(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    guests: usize,
    dropped: bool,
}

impl EpochClock {
    /// A clock for the guests of `wasmtime`, which ticks after each `period`.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(wasmtime: &Engine, period: Duration) -> std::io::Result<Self> {
        let (shared, wasmtime) = (Arc::new(Shared::default()), wasmtime.weak());
        let clock = EpochClock(Arc::clone(&shared));
        std::thread::Builder::new()
            .name("epochs".into())
            .spawn(move || {
                while shared.wait_for_guests() {
                    let Some(wasmtime) = wasmtime.upgrade() else {
                        return;
                    };
                    wasmtime.increment_epoch();
                    drop(wasmtime);
                    std::thread::sleep(period);
                }
            })?;
        Ok(clock)
    }

    /// To be kept for as long as a guest may run.
    #[must_use]
    pub(crate) fn guest(&self) -> Guest {
        let mut state = self.0.lock();
        state.guests += 1;
        if state.guests == 1 {
            self.0.changed.notify_one();
        }
        Guest(Arc::clone(&self.0))
    }
}

impl Drop for EpochClock {
    fn drop(&mut self) {
        self.0.lock().dropped = true;
        self.0.changed.notify_one();
    }
}

/// While it lives, the clock ticks.
#[derive(Debug)]
pub(crate) struct Guest(Arc<Shared>);

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.lock().guests -= 1;
    }
}

impl Shared {
    /// Nothing panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for guests and returns true; false when the clock was dropped and the last one is
    /// gone.
    fn wait_for_guests(&self) -> bool {
        let nothing = |state: &mut State| state.guests == 0 && !state.dropped;
        let state = self.changed.wait_while(self.lock(), nothing);
        state.unwrap_or_else(PoisonError::into_inner).guests > 0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use wasmtime::{Config, Instance, Module, Store, Trap};

    use super::*;
    use crate::wasm_config::EPOCH;

    /// `(module (func (export "f") (loop (br 0))))`
    const ENDLESS: &[u8] = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x07\x05\x01\x01f\0\0\x0a\x09\x01\x07\0\x03\x40\x0c\0\x0b\x0b";

    /// Runs for ever but for the clock.
    fn interrupted(wasmtime: &Engine) -> Trap {
        let mut store = Store::new(wasmtime, ());
        store.set_epoch_deadline(1);
        let module = Module::new(wasmtime, ENDLESS).unwrap();
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let endless = instance.get_typed_func::<(), ()>(&mut store, "f").unwrap();
        *endless
            .call(&mut store, ())
            .unwrap_err()
            .downcast_ref()
            .unwrap()
    }

    /// `(module (func (export "f")))`
    const EMPTY: &[u8] = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x07\x05\x01\x01f\0\0\x0a\x04\x01\x02\0\x0b";

    /// True if the clock ticks within some epochs: a function looks when it is entered.
    fn ticks(wasmtime: &Engine) -> bool {
        let mut store = Store::new(wasmtime, ());
        store.set_epoch_deadline(1);
        let module = Module::new(wasmtime, EMPTY).unwrap();
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let empty = instance.get_typed_func::<(), ()>(&mut store, "f").unwrap();
        std::thread::sleep(EPOCH * 20);
        empty.call(&mut store, ()).is_err()
    }

    #[test]
    fn it_ticks_for_each_guest_that_comes_and_rests_between_them() {
        let wasmtime = Engine::new(Config::new().epoch_interruption(true)).unwrap();
        let clock = EpochClock::start(&wasmtime, EPOCH).unwrap();
        for _ in 0..2 {
            let guest = clock.guest();
            let (done, trap) = mpsc::channel();
            let engine = wasmtime.clone();
            std::thread::spawn(move || done.send(interrupted(&engine)));
            assert_eq!(
                trap.recv_timeout(Duration::from_secs(60)),
                Ok(Trap::Interrupt)
            );
            assert!(ticks(&wasmtime));
            drop(guest);
            // A last tick may be on its way.
            assert!((0..20).any(|_| !ticks(&wasmtime)), "it goes on");
            assert!(!ticks(&wasmtime), "it begins again without a guest");
        }
    }

    #[test]
    fn its_thread_ends_when_the_clock_and_the_last_guest_are_gone() {
        let wasmtime = Engine::new(Config::new().epoch_interruption(true)).unwrap();
        for with_guest in [false, true] {
            let clock = EpochClock::start(&wasmtime, EPOCH).unwrap();
            let guest = with_guest.then(|| clock.guest());
            let shared = Arc::downgrade(&clock.0);
            drop(clock);
            drop(guest);
            let began = std::time::Instant::now();
            while shared.strong_count() > 0 {
                assert!(
                    began.elapsed() < Duration::from_secs(60),
                    "its thread goes on"
                );
                std::thread::yield_now();
            }
        }
    }
}
