use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// Work that is shared in any case.
const SHARED: usize = usize::MAX;

fn teams() -> impl Iterator<Item = Team> {
    [1, 2, 3, 9].into_iter().map(|n| Team::new(n).unwrap())
}

#[test]
fn every_task_runs_once_shared_or_not() {
    for team in teams() {
        for round in 0..600 {
            let mut done = vec![0; round % 23];
            let tasks = done.iter_mut().enumerate().collect();
            let work = if round % 2 == 0 { SHARED } else { 0 };
            let task = |(index, done): (usize, &mut usize)| *done += index + round;
            let share = || team.for_each(tasks, work, task);
            // Outside a pass the others are asleep.
            if round % 3 == 0 {
                share();
            } else {
                team.run(share);
            }
            assert!(done.iter().enumerate().all(|(i, done)| *done == i + round));
        }
    }
}

#[cfg(feature = "native")]
#[test]
fn all_threads_come_when_they_are_needed() {
    for team in teams() {
        // Tasks that wait for each other are done only where every thread takes one.
        let met = std::sync::Barrier::new(team.threads());
        let meet = || {
            let tasks = vec![(); team.threads()];
            team.for_each(tasks, SHARED, |()| {
                met.wait();
            });
        };
        for _ in 0..40 {
            meet();
            team.run(|| (0..5).for_each(|_| meet()));
        }
    }
}

#[cfg(feature = "native")]
#[test]
fn each_thread_begins_with_a_part_of_its_own_and_goes_up() {
    let team = Team::new(2).unwrap();
    if team.threads() < 2 {
        return;
    }
    let caller = std::thread::current().id();
    let met = std::sync::Barrier::new(2);
    let order = std::sync::Mutex::new([Vec::new(), Vec::new()]);
    team.for_each((0..20).collect(), SHARED, |task: usize| {
        let own = usize::from(std::thread::current().id() != caller);
        let first = {
            let mut order = order.lock().unwrap();
            order[own].push(task);
            order[own].len() == 1
        };
        if first {
            met.wait();
        }
    });
    let [of_caller, of_worker] = order.into_inner().unwrap();
    assert_eq!((of_caller[0], of_worker[0]), (0, 10));
    // What is left of the other's part comes last, so there is one step down at most, and only to
    // that part.
    for (tasks, own) in [(&of_caller, 0..10), (&of_worker, 10..20)] {
        let stolen = tasks.iter().position(|task| !own.contains(task));
        let (mine, stolen) = tasks.split_at(stolen.unwrap_or(tasks.len()));
        assert!(mine.is_sorted() && stolen.is_sorted());
        assert!(stolen.iter().all(|task| !own.contains(task)));
    }
    let mut all = [of_caller, of_worker].concat();
    all.sort_unstable();
    assert_eq!(all, (0..20).collect::<Vec<_>>());
}

#[test]
fn a_panic_comes_after_all_tasks_and_the_team_lives_on() {
    for team in teams().skip(1) {
        for bad in 0..6 {
            let done = AtomicUsize::new(0);
            let caught = catch_unwind(AssertUnwindSafe(|| {
                team.run(|| {
                    team.for_each((0..6).collect(), SHARED, |task: usize| {
                        assert!(task != bad, "task {task} fails");
                        done.fetch_add(1, Ordering::Relaxed);
                    });
                });
            }));
            if cfg!(feature = "native") {
                assert_eq!(done.into_inner(), 5);
            }
            let message = *caught.unwrap_err().downcast::<String>().unwrap();
            assert_eq!(message, format!("task {bad} fails"));
        }
    }
}

#[test]
fn tasks_may_share_tasks_of_their_own() {
    for team in teams() {
        let done = AtomicUsize::new(0);
        team.for_each(vec![7; 20], SHARED, |n: usize| {
            team.run(|| {
                team.for_each(vec![1; n], SHARED, |one| {
                    done.fetch_add(one, Ordering::Relaxed);
                });
            });
        });
        assert_eq!(done.into_inner(), 20 * 7);
    }
}

#[cfg(feature = "native")]
#[test]
fn callers_do_not_wait_for_each_other() {
    let team = Team::new(3).unwrap();
    let (enter, entered) = std::sync::mpsc::channel();
    let (leave, left) = std::sync::mpsc::channel();
    let left = std::sync::Mutex::new(left);
    std::thread::scope(|scope| {
        let first = team.clone();
        scope.spawn(move || {
            first.for_each(vec![0, 1], SHARED, |task| {
                if task == 0 {
                    enter.send(()).unwrap();
                    left.lock().unwrap().recv().unwrap();
                }
            });
        });
        entered.recv().unwrap();
        // The first caller has the workers until this one is done.
        for _ in 0..50 {
            let done = AtomicUsize::new(0);
            team.run(|| {
                team.for_each(vec![1; 9], SHARED, |one| {
                    done.fetch_add(one, Ordering::Relaxed);
                });
            });
            assert_eq!(done.into_inner(), 9);
        }
        leave.send(()).unwrap();
    });
}

#[test]
fn many_callers_at_once() {
    let team = Team::new(3).unwrap();
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let team = team.clone();
            scope.spawn(|| {
                for _ in 0..500 {
                    let team = team.clone();
                    team.run(|| {
                        team.for_each(vec![1; 5], SHARED, |one| {
                            done.fetch_add(one, Ordering::Relaxed);
                        });
                    });
                }
                drop(team);
            });
        }
    });
    assert_eq!(done.into_inner(), 4 * 500 * 5);
}

#[test]
fn small_matrices_are_one_task() {
    let team = Team::new(2).unwrap();
    assert_eq!(team.rows_per_task(768, 768 * 256), 768);
    if team.threads() == 2 {
        assert_eq!(team.rows_per_task(6912, 6912 * 2560), 432);
    }
}
