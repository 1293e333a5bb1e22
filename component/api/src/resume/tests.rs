//! Tokens as text: what is signed is read again, and nothing else is.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Position, Progress, Run, Token, token::Fault};
use crate::engine::Usage;

fn key(letter: char) -> String {
    letter.to_string().repeat(32)
}

fn token() -> Token {
    let mut position = Position::default();
    position.events = 300;
    for (index, events, ended) in [(0, 7, true), (2, 5, true), (3, 130, false)] {
        position.set(index, Progress { events, ended });
    }
    position.usage = Usage {
        prompt_tokens: 5,
        completion_tokens: 1 << 20,
        cached_tokens: 3,
    };
    let run = |index, start, ids: &[u32]| Run {
        index,
        start,
        ids: ids.to_vec(),
    };
    Token {
        model: *b"model...",
        request: *b"request.",
        id: u128::MAX / 3,
        created: 1_700_000_000,
        position,
        runs: vec![run(3, 0, &[1, 127, 128, u32::MAX]), run(1, 9, &[])],
    }
}

fn same(one: &Token, other: &Token) {
    assert_eq!((one.model, one.request), (other.model, other.request));
    assert_eq!((one.id, one.created), (other.id, other.created));
    assert_eq!(one.position, other.position);
    assert_eq!(one.runs, other.runs);
}

#[test]
fn what_is_signed_is_read_again() {
    let text = token().sign(&key('a'));
    same(&Token::read(&text, &[key('a')]).unwrap(), &token());
    same(
        &Token::read(&text, &[key('b'), key('a')]).unwrap(),
        &token(),
    );
    assert_eq!(
        Token::read(&text, &[key('b')]).unwrap_err(),
        Fault::Unsigned
    );
    assert_eq!(Token::read(&text, &[]).unwrap_err(), Fault::Unsigned);
    // A token of one event fits a line and a header.
    assert!(text.len() < 160, "{}", text.len());
    assert!(
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    );
}

#[test]
fn a_token_that_was_changed_anywhere_is_none() {
    let (text, keys) = (token().sign(&key('a')), [key('a')]);
    for at in 0..text.len() {
        for other in [b'A', b'B', b'_', b'!', b' '] {
            let mut changed = text.clone().into_bytes();
            if changed[at] == other {
                continue;
            }
            changed[at] = other;
            let changed = String::from_utf8(changed).unwrap();
            assert!(Token::read(&changed, &keys).is_err(), "{at} {other}");
        }
        assert!(Token::read(&text[..at], &keys).is_err(), "{at}");
        assert!(Token::read(&text[at + 1..], &keys).is_err(), "{at}");
    }
    assert!(Token::read(&format!("{text}AAAA"), &keys).is_err());
    assert!(Token::read(&format!("{text}{text}"), &keys).is_err());
}

#[test]
fn choices_that_ended_in_a_row_take_no_room() {
    let mut position = Position::default();
    for index in [1, 0, 2, 4] {
        let ended = true;
        position.set(index, Progress { events: 9, ended });
    }
    position.set(3, Progress::default());
    let open: Vec<u32> = position.open().map(|(index, _)| index).collect();
    assert_eq!(open, [3]);
    assert!(position.of(0).ended && position.of(4).ended && !position.of(5).ended);
    position.set(
        3,
        Progress {
            events: 1,
            ended: true,
        },
    );
    assert_eq!(position.open().count(), 0);
    let mut bytes = Vec::new();
    position.write(&mut bytes);
    assert_eq!(bytes, [0, 5, 0, 0, 0, 0]);
}

#[test]
fn runs_are_joined_as_far_as_there_is_no_gap() {
    let run = |index, start: u32, ids: &[u32]| Run {
        index,
        start,
        ids: ids.to_vec(),
    };
    let runs = vec![
        run(0, 2, &[12, 13]),
        run(0, 0, &[10, 11]),
        run(1, 1, &[5]),
        run(0, 1, &[11, 12, 13, 14]),
        run(0, 6, &[16]),
        run(0, u32::MAX, &[17]),
    ];
    let joined = super::request::first_tokens(runs.into_iter());
    let expected = BTreeMap::from([(0, vec![10, 11, 12, 13, 14]), (1, vec![])]);
    assert_eq!(joined, expected);
}

proptest! {
    /// Whatever is signed is read or refused, and costs what its bytes do.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let keys = [key('a')];
        let text = super::token::sign_bytes(bytes.clone(), &keys[0]);
        let _ = Token::read(&text, &keys);
        let mut versioned = vec![1];
        versioned.extend(bytes);
        let text = super::token::sign_bytes(versioned, &keys[0]);
        if let Ok(token) = Token::read(&text, &keys) {
            // Numbers may be written in more than one way, and mean one.
            let again = Token::read(&token.sign(&keys[0]), &keys).unwrap();
            same(&again, &token);
        }
    }

    #[test]
    fn any_text_is_no_token(text in ".{0,100}") {
        prop_assert!(Token::read(&text, &[key('a')]).is_err());
    }
}
