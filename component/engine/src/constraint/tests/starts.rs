//! Where in an answer a grammar begins, and how it ends.

use super::*;

fn take(guard: &mut Guard, tokenizer: &Tokenizer, text: &str) -> bool {
    let mut ended = false;
    for id in tokenizer.encode(text, false).unwrap() {
        assert!(!ended, "{text:?} goes on behind the end");
        let mask = guard.mask(&[], &[]).unwrap();
        assert!(mask.is_none_or(|mask| mask.allows(id)), "{text:?}");
        ended = guard.take(tokenizer, id).unwrap();
    }
    ended
}

fn started(start: Start, grammar: &Grammar) -> (Guard, Tokenizer) {
    let tokenizer = demo();
    let matcher = Constraints::default().matcher(&tokenizer, grammar).unwrap();
    (Guard::new(matcher, start, &tokenizer), tokenizer)
}

fn letters() -> Grammar {
    Grammar::Choice(vec!["abc".into()])
}

#[test]
fn behind_reasoning() {
    for (thought, answer) in [
        ("Let me think.</think>", "abc"),
        ("abc</think>", "abc"),
        ("</thin</think>", "abc"),
        ("x</think>\n", "abc"),
        ("x</think>\n\n", "abc"),
        ("x</think>", "\n\nabc"),
    ] {
        let (mut guard, tokenizer) = started(Start::Behind("</think>".into()), &letters());
        assert!(guard.mask(&[], &[]).unwrap().is_none());
        assert!(!take(&mut guard, &tokenizer, thought), "{thought:?}");
        assert!(guard.mask(&[], &[]).unwrap().is_some(), "{thought:?}");
        assert!(take(&mut guard, &tokenizer, answer), "{thought:?}");
    }
}

#[test]
fn reasoning_before_a_grammar_does_not_end_the_answer() {
    let behind = Start::Behind("</think>".into());
    let (mut guard, tokenizer) = started(behind, &letters());
    let end = end_of(&tokenizer);
    take(&mut guard, &tokenizer, "Let me");
    let mask = guard.mask(&[end], &[]).unwrap().unwrap();
    assert!(!mask.allows(end));
    let size = u32::try_from(tokenizer.vocab_size()).unwrap();
    assert!((0..size).filter(|&id| id != end).all(|id| mask.allows(id)));
    // Where nothing has to follow, it may end.
    let (mut guard, _) = started(Start::Trigger("<call>".into()), &letters());
    assert!(guard.mask(&[end], &[]).unwrap().is_none());
}

#[test]
fn only_one_gap_is_free() {
    let (mut guard, tokenizer) = started(Start::Behind("</think>".into()), &letters());
    take(&mut guard, &tokenizer, "x</think>");
    let newline = tokenizer.encode("\n", false).unwrap()[0];
    guard.take(&tokenizer, newline).unwrap();
    let mask = guard.mask(&[], &[]).unwrap().unwrap();
    assert!(!mask.allows(newline));
}

#[test]
fn an_answer_may_begin_with_reasoning() {
    let begin = demo().encode("<", false).unwrap()[0];
    let start = || Start::MayReason {
        begin,
        end: "</think>".into(),
    };
    let (mut guard, tokenizer) = started(start(), &letters());
    assert!(guard.mask(&[], &[]).unwrap().unwrap().allows(begin));
    guard.take(&tokenizer, begin).unwrap();
    assert!(!take(&mut guard, &tokenizer, "anything</think>"));
    assert!(take(&mut guard, &tokenizer, "abc"));

    let (mut guard, tokenizer) = started(start(), &letters());
    let first = tokenizer.encode("abc", false).unwrap()[0];
    guard.take(&tokenizer, first).unwrap();
    if let Some(mask) = guard.mask(&[], &[]).unwrap() {
        assert!(!mask.allows(begin));
    }
}

#[test]
fn behind_each_trigger() {
    let grammar = Grammar::Lark("start: \"abc</call>\"".into());
    let (mut guard, tokenizer) = started(Start::Trigger("<call>".into()), &grammar);
    for text in [
        "Free <cal",
        " and <call>abc</call>, free",
        "<call>abc</call>",
    ] {
        assert!(!take(&mut guard, &tokenizer, text), "{text:?}");
    }
    take(&mut guard, &tokenizer, "<call>");
    let b = tokenizer.encode("b", false).unwrap()[0];
    assert!(!guard.mask(&[], &[]).unwrap().unwrap().allows(b));
}

#[test]
fn an_end_is_chosen_where_the_grammar_may_end() {
    let tokenizer = demo();
    let end = end_of(&tokenizer);
    let (mut guard, _) = started(Start::AtOnce, &Grammar::Regex("ab(cd)?".into()));
    assert!(!guard.mask(&[end], &[]).unwrap().unwrap().allows(end));
    assert!(!take(&mut guard, &tokenizer, "ab"));
    assert!(guard.mask(&[end], &[]).unwrap().unwrap().allows(end));
    // An end that is banned is not, as long as there is another way.
    let mask = guard.mask(&[end], &[end]).unwrap().unwrap();
    assert!(!mask.allows(end));
    assert!(take(&mut guard, &tokenizer, "cd"), "it is complete");
}

#[test]
fn a_clone_goes_its_own_way() {
    let tokenizer = demo();
    let (mut first, _) = started(Start::AtOnce, &Grammar::Regex("a(b|c)d".into()));
    take(&mut first, &tokenizer, "a");
    let mut second = first.clone();
    assert!(take(&mut first, &tokenizer, "bd"));
    assert!(take(&mut second, &tokenizer, "cd"));
}

/// The token that is this text.
fn token(tokenizer: &Tokenizer, text: &str) -> Option<u32> {
    let size = u32::try_from(tokenizer.vocab_size()).unwrap();
    (0..size).find(|&id| tokenizer.token_bytes(id) == Some(text.as_bytes()))
}

#[test]
fn a_token_that_ends_reasoning_goes_on_as_the_grammar_does() {
    let tokenizer = demo();
    // A tag whose end is the beginning of longer tokens.
    let grown = |text: &&str| token(&tokenizer, text).is_some();
    assert!(["th", "to", "t"].iter().all(grown));
    let start = || Start::Behind("#t".into());
    let hash = tokenizer.encode("#", false).unwrap();
    for grammar in [
        Grammar::Choice(vec!["hey".into()]),
        Grammar::Choice(vec!["abc".into()]),
    ] {
        let (mut guard, tokenizer) = started(start(), &grammar);
        let th = token(&tokenizer, "th").unwrap();
        assert!(guard.mask(&[], &[]).unwrap().is_none(), "no tag is open");
        for &id in &hash {
            guard.take(&tokenizer, id).unwrap();
        }
        let mask = guard.mask(&[], &[]).unwrap();
        let fits = grammar == Grammar::Choice(vec!["hey".into()]);
        assert_eq!(mask.is_none_or(|mask| mask.allows(th)), fits);
        if fits {
            assert!(!guard.take(&tokenizer, th).unwrap());
            assert!(take(&mut guard, &tokenizer, "ey"));
        } else {
            assert!(guard.clone().take(&tokenizer, th).is_err());
            let t = token(&tokenizer, "t").unwrap();
            assert!(!guard.take(&tokenizer, t).unwrap());
            assert!(take(&mut guard, &tokenizer, "abc"));
        }
    }
}

#[test]
fn a_token_that_ends_a_trigger_goes_on_as_the_grammar_does() {
    let grammar = Grammar::Choice(vec!["hey".into()]);
    let (mut guard, tokenizer) = started(Start::Trigger("#t".into()), &grammar);
    let [th, to] = ["th", "to"].map(|text| token(&tokenizer, text).unwrap());
    for _ in 0..2 {
        for id in tokenizer.encode("#", false).unwrap() {
            guard.take(&tokenizer, id).unwrap();
        }
        let mask = guard.mask(&[], &[]).unwrap().unwrap();
        assert!(mask.allows(th) && !mask.allows(to));
        guard.take(&tokenizer, th).unwrap();
        assert!(!take(&mut guard, &tokenizer, "ey"), "another may follow");
    }
}
