//! Answers in whole and in every other way they can come in pieces.

mod bare;

use super::*;

fn tags(begin: &str, end: &str) -> Option<Tags> {
    Some(Tags {
        begin: begin.into(),
        end: end.into(),
    })
}

fn marks() -> Marks {
    Marks {
        reasoning: tags("<think>", "</think>"),
        calls: tags("<tool_call>", "</tool_call>").map(CallForm::Tagged),
        names: Vec::new(),
        inline: false,
    }
}

/// The parts of what comes in these pieces, joined. Those of a call follow one another.
fn split<'a>(
    marks: &Marks,
    inside: bool,
    pieces: impl IntoIterator<Item = &'a str>,
) -> Vec<Joined> {
    let mut splitter = Splitter::new(marks, inside);
    let mut parts: Vec<Part> = Vec::new();
    for piece in pieces {
        let more = splitter.push(piece, false);
        assert!(more.iter().all(|part| *part != Part::Text(String::new())));
        parts.extend(more);
    }
    parts.extend(splitter.push("", true));
    let mut is_open = false;
    for part in &parts {
        match part {
            Part::Call(_) => assert!(!std::mem::replace(&mut is_open, true)),
            Part::Arguments(text) => assert!(is_open && !text.is_empty()),
            Part::CallEnd { .. } => assert!(std::mem::take(&mut is_open)),
            Part::Text(_) | Part::Reasoning(_) => assert!(!is_open),
        }
    }
    assert!(!is_open);
    Joined::all(parts)
}

fn thought(text: &str) -> Joined {
    Joined::Reasoning(text.into())
}

fn said(text: &str) -> Joined {
    Joined::Text(text.into())
}

fn call(name: &str, arguments: &str) -> Joined {
    Joined::Call(Call {
        name: name.into(),
        arguments: arguments.into(),
        whole: true,
    })
}

/// A call of which the end is missing, or no JSON.
fn cut(name: &str, arguments: &str) -> Joined {
    Joined::Call(Call {
        name: name.into(),
        arguments: arguments.into(),
        whole: false,
    })
}

const F: &str = r#"<tool_call>
{"name": "f", "arguments": {"z": 1.0, "a": [{}]}}
</tool_call>"#;

fn f() -> Joined {
    call("f", r#"{"z": 1.0, "a": [{}]}"#)
}

/// Answers, whether they begin within the reasoning, and their parts.
fn answers() -> Vec<(String, bool, Vec<Joined>)> {
    let plain = [
        ("", vec![]),
        ("Hi", vec![said("Hi")]),
        (" \n Hi\n\n ", vec![said(" \n Hi\n\n ")]),
        (" \n", vec![said(" \n")]),
        ("a < b <thin", vec![said("a < b <thin")]),
        ("Say <think>x</think>", vec![said("Say <think>x</think>")]),
        (
            "<think>\nhm\n\nso\n</think>\n\nHi",
            vec![thought("hm\n\nso"), said("Hi")],
        ),
        ("\n<think>hm</think>Hi", vec![thought("hm"), said("Hi")]),
        ("<think>\n\n</think>\n\nHi", vec![said("Hi")]),
        (
            "<think>a</thin</think> b",
            vec![thought("a</thin"), said(" b")],
        ),
        ("<think>cut\n</thi", vec![thought("cut\n</thi")]),
        ("<think>cut\n", vec![thought("cut")]),
        ("<think>", vec![]),
        ("<think>\nä\n</think>\n\n", vec![thought("ä")]),
        ("<thinking>", vec![said("<thinking>")]),
    ];
    let mut answers: Vec<_> = plain
        .into_iter()
        .map(|(text, parts)| (text.to_owned(), false, parts))
        .collect();
    for (text, parts) in [
        ("hm\n</think>\n\nHi", vec![thought("hm"), said("Hi")]),
        ("\n\nhm", vec![thought("hm")]),
        ("</think>Hi", vec![said("Hi")]),
        (
            "<think>hm</think>Hi",
            vec![thought("<think>hm"), said("Hi")],
        ),
    ] {
        answers.push((text.to_owned(), true, parts));
    }
    let bad = r#"<tool_call>{"name": "f", "arguments": [1]}</tool_call>"#;
    let within =
        r#"<tool_call>{"name":"f","arguments":{"a":"</tool_call>","b":"<tool_call>"}}</tool_call>"#;
    for (text, parts) in [
        (F.to_owned(), vec![f()]),
        (format!("{F}\n{F}\n"), vec![f(), f()]),
        (format!("{F}{F}"), vec![f(), f()]),
        (
            format!("Let me look.\n\n{F}"),
            vec![said("Let me look."), f()],
        ),
        (format!("{F}\nDone. "), vec![f(), said("\nDone. ")]),
        (
            format!("<think>\nhm\n</think>\n\n{F}"),
            vec![thought("hm"), f()],
        ),
        (format!("<think>{F}</think>"), vec![thought(F)]),
        (
            within.to_owned(),
            vec![call("f", r#"{"a":"</tool_call>","b":"<tool_call>"}"#)],
        ),
        // The last tag is missing, or cut.
        (F.replace("\n</tool_call>", ""), vec![f()]),
        (
            F.replace("_call>\n{", "_call>{")
                .replace("ol_call>\n", "ol_call>"),
            vec![f()],
        ),
        (F[..F.len() - 3].to_owned(), vec![f()]),
        // What is no call is text.
        (
            F[..F.len() - 20].to_owned(),
            vec![cut("f", r#"{"z": 1.0, "a":"#)],
        ),
        (F[..43].to_owned(), vec![cut("f", "{\"z\"")]),
        (F[..40].to_owned(), vec![cut("f", "{")]),
        (F[..33].to_owned(), vec![said(&F[..33])]),
        (
            r#"<tool_call>{"name":"f","arguments":{"a":1,}}</tool_call>x"#.to_owned(),
            vec![cut("f", r#"{"a":1,}}"#), said("x")],
        ),
        (
            r#"<tool_call>{"name":"f","arguments":{"a":x</tool"#.to_owned(),
            vec![cut("f", r#"{"a":x"#)],
        ),
        // Several calls between two tags.
        (
            "<tool_call>\n[\n  {\"name\": \"f\", \"arguments\": {\"a\": 1}},\n  {\"name\": \"g\"}\n]\n</tool_call>".to_owned(),
            vec![call("f", "{\"a\": 1}"), call("g", "{}")],
        ),
        (
            r#"<tool_call>[{"name":"g"}]</tool_call>"#.to_owned(),
            vec![call("g", "{}")],
        ),
        (
            r#"<tool_call>{"name":"g"}{"name":"h"}</tool_call>"#.to_owned(),
            vec![call("g", "{}"), call("h", "{}")],
        ),
        // What stands between a call and its tag is left out.
        (
            format!("{}}}</tool_call> x", F.replace("\n</tool_call>", "")),
            vec![f(), said(" x")],
        ),
        (
            format!("{} x {F}", F.replace("\n</tool_call>", "")),
            vec![f(), said("x"), f()],
        ),
        (
            format!("{}{F}", F.replace("\n</tool_call>", "")),
            vec![f(), f()],
        ),
        (bad.to_owned(), vec![said(bad)]),
        (
            format!("a {bad} b{F}"),
            vec![said(&format!("a {bad} b")), f()],
        ),
        (format!("{F}\n{bad}"), vec![f(), said(&format!("\n{bad}"))]),
        ("a <tool_call> tag".into(), vec![said("a <tool_call> tag")]),
        (
            "<tool_call></tool_call>".into(),
            vec![said("<tool_call></tool_call>")],
        ),
        ("x\n<tool_cal".into(), vec![said("x\n<tool_cal")]),
    ] {
        answers.push((text, false, parts));
    }
    for (object, arguments) in [
        (r#"{"name":"g"}"#, "{}"),
        (r#"{"name":"g","arguments":null}"#, "{}"),
        (r#"{"name":"g","arguments":" "}"#, "{}"),
        (
            r#"{"arguments":{ "é":"\u00e9" },"name":"g","id":7}"#,
            r#"{ "é":"\u00e9" }"#,
        ),
        (r#"{"name":"g","parameters":{"a":1}}"#, r#"{"a":1}"#),
        (r#"{"name":"g","arguments":"{\"a\": 1}"}"#, r#"{"a": 1}"#),
    ] {
        let text = format!("<tool_call>{object}</tool_call>");
        answers.push((text, false, vec![call("g", arguments)]));
    }
    let deep = format!(
        "{{\"name\":\"g\",\"arguments\":{}1{}}}",
        "[".repeat(200),
        "]".repeat(200)
    );
    for object in [
        r#"{"name":"","arguments":{}}"#,
        r#"{"name":5}"#,
        r#"{"arguments":{}}"#,
        r#"{"name":"g","arguments":"x"}"#,
        r#"{"name":"g","arguments":5}"#,
        r#"[]"#,
        r#"[1, {"name":"g"}]"#,
        r#"{"query":{"name":"g","arguments":{}}}"#,
        "{'name': 'g'}",
        "g()",
        &deep,
    ] {
        let text = format!("<tool_call>{object}</tool_call>");
        let parts = vec![said(&text)];
        answers.push((text, false, parts));
    }
    answers
}

#[test]
fn answers_are_taken_apart_however_they_come() {
    for (text, inside, parts) in answers() {
        assert_eq!(split(&marks(), inside, [&*text]), parts, "{text}");
        let chars = text
            .char_indices()
            .map(|(at, c)| &text[at..at + c.len_utf8()]);
        assert_eq!(split(&marks(), inside, chars), parts, "{text}");
        for (cut, _) in text.char_indices() {
            let (one, two) = text.split_at(cut);
            assert_eq!(split(&marks(), inside, [one, two]), parts, "{one}|{two}");
        }
    }
}

#[test]
fn what_is_not_looked_for_is_text() {
    let text = format!("<think>hm</think>\n\n{F}\n");
    assert_eq!(split(&Marks::default(), true, [&*text]), [said(&text)]);
    let calls = Marks {
        reasoning: None,
        ..marks()
    };
    let parts = split(&calls, true, [&*text]);
    assert_eq!(parts, [said("<think>hm</think>"), f()]);
    let reasoning = Marks {
        calls: None,
        ..marks()
    };
    let parts = split(&reasoning, false, [&*text]);
    assert_eq!(parts, [thought("hm"), said(&format!("{F}\n"))]);
}

#[test]
fn tags_of_any_text_end() {
    let texts = ["", "a", "aa", "ab", "\n", "<é>", "é"];
    let pairs = || {
        texts
            .iter()
            .flat_map(|begin| texts.map(|end| tags(begin, end)))
    };
    for reasoning in pairs() {
        for calls in pairs() {
            let marks = Marks {
                reasoning: reasoning.clone(),
                calls: calls.map(CallForm::Tagged),
                ..Marks::default()
            };
            let text = "aab{\"name\": \"f\"}\n<é>aabb<é>";
            for inside in [false, true] {
                split(&marks, inside, text.split_inclusive(char::is_alphabetic));
            }
        }
    }
    let without = Marks {
        reasoning: tags("", "x"),
        calls: tags("x", "").map(CallForm::Tagged),
        ..Marks::default()
    };
    assert_eq!(split(&without, true, ["axb"]), [said("axb")]);
}

#[test]
fn parts_come_as_soon_as_they_are_certain() {
    let mut splitter = Splitter::new(&marks(), false);
    let mut push = |text: &str, last| splitter.push(text, last);
    let thought = |text: &str| Part::Reasoning(text.into());
    let said = |text: &str| Part::Text(text.into());
    let more = |text: &str| Part::Arguments(text.into());
    assert_eq!(push("<think>a\n", false), [thought("a")]);
    assert_eq!(push("b", false), [thought("\nb")]);
    assert_eq!(push("</think>\n\nHi", false), [said("Hi")]);
    assert_eq!(push(" <", false), []);
    assert_eq!(push("b> ", false), [said(" <b>")]);
    assert_eq!(push("<tool_call>{\"name\": \"f\", \"argume", false), []);
    assert_eq!(push("nts\": ", false), []);
    assert_eq!(push(" {\"a", false), [Part::Call("f".into()), more("{\"a")]);
    assert_eq!(push("\": \"</tool_", false), [more("\": \"</tool_")]);
    assert_eq!(push("call>\"", false), [more("call>\"")]);
    assert_eq!(
        push("}}", false),
        [more("}"), Part::CallEnd { whole: true }]
    );
    assert_eq!(push("\n</tool_call>", false), []);
    assert_eq!(push("\n", true), []);
}

#[test]
fn a_long_call_is_read_once() {
    let head = "<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":\"";
    let behind = "<tool_call>{\"arguments\":{\"a\":\"";
    let long = "x ".repeat(200_000);
    for (head, told) in [(head, true), (behind, false)] {
        let mut splitter = Splitter::new(&marks(), false);
        splitter.push(head, false);
        let mut arguments = 0;
        for piece in long.as_bytes().chunks(4) {
            let parts = splitter.push(std::str::from_utf8(piece).unwrap(), false);
            assert_eq!(parts.len(), usize::from(told));
            arguments += parts.len();
        }
        assert_eq!(arguments, if told { 100_000 } else { 0 });
        let parts = splitter.push("\"},\"name\":\"f\"}</tool_call>", false);
        assert_eq!(parts.last(), Some(&Part::CallEnd { whole: true }));
    }
}

#[test]
fn reasoning_within_the_text_calls_nothing() {
    let inline = Marks {
        inline: true,
        ..marks()
    };
    let thinks = format!("\n<think>\n{F}\n</think>\n\n");
    let cut = format!("<think>{F}</thi");
    for (text, inside, parts) in [
        (
            format!("{thinks}{F}"),
            false,
            vec![said(thinks.trim_end()), f()],
        ),
        (
            format!("{thinks}Hi"),
            false,
            vec![said(&format!("{thinks}Hi"))],
        ),
        (
            format!("{F}</think>{F}"),
            true,
            vec![said(&format!("{F}</think>")), f()],
        ),
        (cut.clone(), false, vec![said(&cut)]),
        (F.to_owned(), false, vec![f()]),
    ] {
        for (cut, _) in text.char_indices() {
            let (one, two) = text.split_at(cut);
            assert_eq!(split(&inline, inside, [one, two]), parts, "{one}|{two}");
        }
    }
}

#[test]
fn it_holds_what_is_not_told() {
    let mut splitter = Splitter::new(&marks(), false);
    for (text, holds) in [
        ("<th", true),
        ("ink>a", false),
        ("\n", true),
        ("</think>", false),
        ("Hi", false),
        (" ", true),
        ("you", false),
        (" <tool_call>{\"name\":", true),
        ("\"f\",\"arguments\":{", true),
        ("}}</tool_call>", false),
    ] {
        splitter.push(text, false);
        assert_eq!(splitter.holds(), holds, "{text}");
    }
}
