//! Calls without tags, the form of Llama 3.

use super::*;

const CALL: &str = r#"{"name": "f", "parameters": {"z": 1.0, "a": "é"}}"#;

fn llama() -> Marks {
    Marks {
        reasoning: tags("<think>", "</think>"),
        calls: Some(CallForm::Bare),
        names: vec!["f".into(), "g".into(), "brave_search".into()],
        inline: false,
    }
}

fn f() -> Joined {
    call("f", r#"{"z": 1.0, "a": "é"}"#)
}

/// Answers and their parts.
fn answers() -> Vec<(String, Vec<Joined>)> {
    let same = |text: &str| (text.to_owned(), vec![said(text)]);
    let tag = "<|python_tag|>";
    vec![
        (String::new(), vec![]),
        (CALL.to_owned(), vec![f()]),
        (format!("\n\n{CALL}\n"), vec![f()]),
        (format!("{CALL}; {CALL};\n{CALL};"), vec![f(), f(), f()]),
        (format!("{CALL}\n{CALL}"), vec![f(), f()]),
        (format!("{CALL}\nDone."), vec![f(), said("\nDone.")]),
        (format!("{tag}{CALL}"), vec![f()]),
        (
            format!("Let me look. {tag} {CALL};{tag}{CALL}"),
            vec![said("Let me look."), f(), f()],
        ),
        (
            format!("<think>{CALL}</think>\n{CALL}"),
            vec![thought(CALL), f()],
        ),
        (
            r#"{"type": "function", "name": "f", "parameters": {"a": 1}}"#.to_owned(),
            vec![call("f", r#"{"a": 1}"#)],
        ),
        (
            r#"{"type":"function","function":{"name":"g","arguments":{"a":1}}}"#.to_owned(),
            vec![call("g", r#"{"a":1}"#)],
        ),
        (
            r#"{"parameters": {"a": "}"}, "name": "g"}"#.to_owned(),
            vec![call("g", r#"{"a": "}"}"#)],
        ),
        (r#"{"name": "g"}"#.to_owned(), vec![call("g", "{}")]),
        (CALL[..30].to_owned(), vec![cut("f", "{\"")]),
        (CALL[..CALL.len() - 1].to_owned(), vec![f()]),
        (
            r#"{"name": "f", "parameters": {'a': 1}}"#.to_owned(),
            vec![cut("f", "{'a': 1}}")],
        ),
        (
            format!("{tag}brave_search.call(query=\"a b\")"),
            vec![call("brave_search", r#"{"query":"a b"}"#)],
        ),
        (format!("{tag}f.call(a=1)"), vec![call("f", r#"{"a":1}"#)]),
        // Text, tag and all.
        same(&CALL[..20]),
        same(&format!("Hi {CALL}")),
        same(r#"{"name": "h", "parameters": {"a": 1}}"#),
        same(r#"{"name": "h"}"#),
        same(r#"{"answer": {"name": "f", "parameters": {}}}"#),
        same(r#"{"a": 1}; more"#),
        same("{f}"),
        same("[1, 2]"),
        same(" \n Hi\n"),
        same("<|python"),
        same(tag),
        same(&format!("{tag}print(1)")),
        same(&format!("{tag}other.call(a=1)")),
        same(&format!("{tag}{{\"name\": \"h\", \"parameters\": {{}}}}")),
        same("; Hi"),
    ]
}

#[test]
fn answers_are_taken_apart_however_they_come() {
    for (text, parts) in answers() {
        assert_eq!(split(&llama(), false, [&*text]), parts, "{text}");
        for (cut, _) in text.char_indices() {
            let (one, two) = text.split_at(cut);
            assert_eq!(split(&llama(), false, [one, two]), parts, "{one}|{two}");
        }
        let chars = text
            .char_indices()
            .map(|(at, c)| &text[at..at + c.len_utf8()]);
        assert_eq!(split(&llama(), false, chars), parts, "{text}");
    }
}

#[test]
fn code_is_what_an_interpreter_is_called_with() {
    for name in ["code_interpreter", "ipython", "python"] {
        let marks = Marks {
            names: vec!["f".into(), name.into()],
            ..llama()
        };
        let parts = split(&marks, false, ["<|python_tag|>print(\"a\")\nx = 1\n"]);
        assert_eq!(parts, [call(name, r#"{"code":"print(\"a\")\nx = 1"}"#)]);
    }
}

#[test]
fn other_json_is_text_as_soon_as_that_is_certain() {
    let mut splitter = Splitter::new(&llama(), false);
    assert_eq!(splitter.push("{\"answer\"", false), []);
    assert!(splitter.holds());
    let said = [Part::Text("{\"answer\":".into())];
    assert_eq!(splitter.push(":", false), said);
    assert!(!splitter.holds());
    let mut splitter = Splitter::new(&llama(), false);
    assert_eq!(splitter.push(&CALL[..27], false), []);
    let begun = [Part::Call("f".into()), Part::Arguments("{\"z".into())];
    assert_eq!(splitter.push(&CALL[27..31], false), begun);
    assert!(splitter.holds());
}
