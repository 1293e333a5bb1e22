//! The queue before a machine that is made up: so many places, so much memory, and requests that
//! run for a while.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
struct Job {
    client: u64,
    number: u64,
    priority: i32,
    arrival: u32,
    tokens: u64,
    steps: u32,
    memory: u32,
}

impl Job {
    fn of(client: u64, number: u64) -> Job {
        Job {
            client,
            number,
            priority: 0,
            arrival: 0,
            tokens: 10,
            steps: 3,
            memory: 1,
        }
    }

    fn rank(&self) -> Rank {
        Rank {
            priority: self.priority,
            number: self.number,
        }
    }
}

/// Which request began, and which ones waited then, itself included.
struct Turn {
    begun: Job,
    waiting: Vec<Job>,
}

/// Run all jobs to their end on a machine with so many places and so much memory.
fn run(mut jobs: Vec<Job>, places: usize, memory: u32) -> Vec<Turn> {
    jobs.sort_by_key(|job| job.arrival);
    for (number, job) in (0..).zip(&mut jobs) {
        job.number = number;
    }
    let (mut queue, mut running, mut turns) = (Queue::new(), Vec::<Job>::new(), Vec::new());
    let mut waiting: Vec<Job> = Vec::new();
    let mut to_come = VecDeque::from(jobs);
    for step in 0_u32.. {
        while to_come.front().is_some_and(|job| job.arrival <= step) {
            let job = to_come.pop_front().unwrap();
            queue.push(job.client, job.rank(), job.clone());
            waiting.push(job);
        }
        while running.len() < places {
            let used: u32 = running.iter().map(|job| job.memory).sum();
            let alone = running.is_empty();
            let next = queue.begin_next(|job: &mut Job| {
                (alone || used + job.memory <= memory).then_some(job.tokens)
            });
            let Some(begun) = next else { break };
            turns.push(Turn {
                begun: begun.clone(),
                waiting: waiting.clone(),
            });
            waiting.retain(|job| job.number != begun.number);
            running.push(begun);
        }
        running.iter_mut().for_each(|job| job.steps -= 1);
        running.retain(|job| job.steps > 0);
        assert_eq!(queue.len(), waiting.len());
        if to_come.is_empty() && queue.is_empty() {
            break;
        }
        assert!(step < 1_000_000, "somebody starves");
    }
    assert!(queue.lines.is_empty(), "nothing is remembered of nobody");
    turns
}

fn jobs(clients: u64) -> impl Strategy<Value = Vec<Job>> {
    let job = (0..clients, 0u32..60, 1u64..300, 1u32..9, 1u32..9).prop_map(
        |(client, arrival, tokens, steps, memory)| Job {
            arrival,
            tokens,
            steps,
            memory,
            ..Job::of(client, 0)
        },
    );
    prop::collection::vec(job, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 500,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn everybody_begins_and_within_a_client_in_the_order_they_came(
        jobs in jobs(5), places in 1usize..5, memory in 1u32..12,
    ) {
        let n = jobs.len();
        let turns = run(jobs, places, memory);
        prop_assert_eq!(turns.len(), n);
        for turn in &turns {
            let own = turn.waiting.iter().filter(|job| job.client == turn.begun.client);
            prop_assert_eq!(own.map(|job| job.number).min(), Some(turn.begun.number));
        }
    }

    /// While two clients wait all the time, neither gets more than the other by more than one of
    /// each one's requests, as long as nobody has to pass for want of memory.
    #[test]
    fn shares_are_equal_to_a_request_of_each(jobs in jobs(4), places in 1usize..5) {
        let largest = |client| {
            let own = jobs.iter().filter(|job| job.client == client);
            own.map(|job| job.tokens).max().unwrap_or(0)
        };
        let turns = run(jobs.clone(), places, u32::MAX);
        for (one, other) in [(0, 1), (0, 2), (1, 3)] {
            let waits = |turn: &Turn, client| turn.waiting.iter().any(|job| job.client == client);
            let both = |turn: &&Turn| waits(turn, one) && waits(turn, other);
            for stretch in turns.chunk_by(|a, b| both(&a) && both(&b)) {
                let mut had = BTreeMap::from([(one, 0_u64), (other, 0)]);
                for turn in stretch.iter().filter(both) {
                    *had.entry(turn.begun.client).or_default() += turn.begun.tokens;
                }
                let apart = had[&one].abs_diff(had[&other]);
                prop_assert!(apart <= largest(one) + largest(other), "{had:?}");
            }
        }
    }
}

#[test]
fn another_clients_first_request_is_the_next() {
    let mut jobs: Vec<Job> = (0..100).map(|_| Job::of(1, 0)).collect();
    jobs.push(Job {
        arrival: 1,
        tokens: 500,
        ..Job::of(2, 0)
    });
    let turns = run(jobs, 2, u32::MAX);
    // Two begin before it comes, and the next place is its own.
    assert_eq!(turns[2].begun.client, 2);
    assert_eq!(turns.len(), 101);
}

#[test]
fn turns_go_by_tokens() {
    let small = (0..40).map(|_| Job::of(1, 0));
    let large = (0..4).map(|_| Job {
        tokens: 100,
        ..Job::of(2, 0)
    });
    let turns = run(small.chain(large).collect(), 1, u32::MAX);
    let clients: Vec<u64> = turns.iter().map(|turn| turn.begun.client).collect();
    // Ten of the small ones for each large one.
    let large: Vec<usize> = (0..44).filter(|&at| clients[at] == 2).collect();
    assert_eq!(large, [1, 12, 23, 34]);
}

#[test]
fn what_does_not_fit_is_passed_by_others_for_a_while() {
    let mut queue = Queue::new();
    let big = Job {
        memory: 9,
        ..Job::of(1, 0)
    };
    queue.push(1, big.rank(), big);
    let mut begun = 0;
    for number in 1..100 {
        let job = Job::of(2, number);
        queue.push(2, job.rank(), job);
        let next = queue.begin_next(|job| (job.memory < 9).then_some(0));
        match next {
            Some(job) => assert_eq!((job.client, job.number), (2, number)),
            None => break,
        }
        begun += 1;
    }
    assert_eq!(begun, MAX_PASSED);
    // Nobody now, until there is room for it.
    assert!(
        queue
            .begin_next(|job| (job.memory < 9).then_some(0))
            .is_none()
    );
    assert_eq!(queue.begin_next(|_| Some(1)).map(|job| job.client), Some(1));
}

#[test]
fn within_a_client_nobody_passes() {
    let mut queue = Queue::new();
    for number in 0..2 {
        let job = Job {
            memory: 9 - 8 * number as u32,
            ..Job::of(1, number)
        };
        queue.push(1, job.rank(), job);
    }
    assert!(
        queue
            .begin_next(|job| (job.memory < 9).then_some(0))
            .is_none()
    );
}

#[test]
fn priorities_come_before_turns_and_what_had_begun_before_what_had_not() {
    let mut queue = Queue::new();
    for (client, number, priority) in [(1, 0, 0), (1, 1, 1), (2, 2, 0), (3, 3, -1)] {
        let job = Job {
            priority,
            ..Job::of(client, number)
        };
        queue.push(client, job.rank(), job);
    }
    for number in [8, 7] {
        let job = Job::of(9, number);
        queue.put_back(job.rank(), job);
    }
    let next = |queue: &mut Queue<Job>| queue.begin_next(|_| Some(1)).map(|job| job.number);
    let order: Vec<u64> = std::iter::from_fn(|| next(&mut queue)).collect();
    assert_eq!(order, [3, 7, 8, 0, 2, 1]);
    let job = Job::of(9, 7);
    queue.put_back(job.rank(), job);
    let job = Job::of(1, 9);
    queue.push(1, job.rank(), job);
    // What had begun is not passed.
    assert!(
        queue
            .begin_next(|job| (job.number == 9).then_some(0))
            .is_none()
    );
}

#[test]
fn what_runs_counts_and_what_is_taken_out_does_not() {
    let mut queue = Queue::new();
    for number in 0..6 {
        let job = Job::of(number % 2, number);
        queue.push(number % 2, job.rank(), job);
    }
    queue.charge(0, 100);
    assert_eq!(
        queue.remove(|job| job.number == 1).map(|job| job.client),
        Some(1)
    );
    assert!(queue.remove(|job| job.number == 1).is_none());
    let order: Vec<u64> = std::iter::from_fn(|| {
        queue
            .begin_next(|job| Some(job.tokens))
            .map(|job| job.number)
    })
    .collect();
    assert_eq!(order, [3, 5, 0, 2, 4]);
    for number in 0..6 {
        let job = Job::of(number % 2, number);
        queue.push(number % 2, job.rank(), job);
    }
    assert_eq!(queue.remove_all(|job| job.client == 0).len(), 3);
    assert_eq!(queue.len(), 3);
}
