//! Answers that follow a grammar: the same text by every engine, in the form that was asked for;
//! and grammars made to harm, after which all goes on.

use serde_json::{Value, json};

use crate::sandboxed::{ALLOW, compiled};
use crate::support::LILY;
use crate::support::server::Server;

const TEXT: &str = "/v1/completions";

/// Each kind of grammar.
fn grammars() -> [Value; 6] {
    let schema = json!({
        "type": "object", "additionalProperties": false, "required": ["kind", "count"],
        "properties": {"kind": {"enum": ["dog", "cat"]}, "count": {"type": "integer", "maximum": 99}},
    });
    [
        json!({"guided_json": schema}),
        json!({"response_format": {"type": "json_schema", "json_schema": {
            "name": "pet", "strict": true, "schema": schema}}}),
        json!({"regex": "[a-c]{3}-[0-9]{2}"}),
        json!({"guided_choice": ["yes, it is", "no"]}),
        json!({"grammar": "root ::= item (\", \" item)? \"!\"\nitem ::= \"one\" | \"two\"\n"}),
        json!({"grammar": "start: word \".\"\nword: /[a-z]{2,5}/\n"}),
    ]
}

fn with(grammar: &Value, rest: &Value) -> Value {
    let mut body = grammar.clone();
    let rest = rest.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(rest);
    body
}

fn told(server: &Server) -> Vec<String> {
    let mut told = Vec::new();
    for grammar in grammars() {
        for rest in [
            json!({"prompt": LILY, "temperature": 0, "max_tokens": 60}),
            json!({"prompt": LILY, "temperature": 1.5, "seed": 5, "max_tokens": 60}),
        ] {
            let answer = server.post(TEXT, &with(&grammar, &rest));
            assert_eq!(answer.status, 200, "{}", answer.text());
            let choice = answer.json()["choices"][0].clone();
            assert_eq!(choice["finish_reason"], "stop", "{grammar}: {choice}");
            told.push(choice["text"].as_str().unwrap().to_owned());
        }
    }
    told
}

#[test]
fn every_engine_says_the_same_in_the_form_that_was_asked_for() {
    let compiled = compiled();
    let expected = told(&Server::start(&[]));
    for text in &expected[..4] {
        let pet: Value = serde_json::from_str(text).unwrap();
        assert!(
            matches!(pet["kind"].as_str(), Some("dog" | "cat")),
            "{text}"
        );
        assert!(
            pet["count"].as_i64().is_some_and(|count| count <= 99),
            "{text}"
        );
        assert_eq!(pet.as_object().unwrap().len(), 2, "{text}");
    }
    for text in &expected[4..6] {
        let (letters, digits) = text.split_once('-').unwrap();
        assert!(letters.len() == 3 && letters.bytes().all(|c| (b'a'..=b'c').contains(&c)));
        assert!(
            digits.len() == 2 && digits.bytes().all(|c| c.is_ascii_digit()),
            "{text}"
        );
    }
    for text in &expected[6..8] {
        assert!(matches!(text.as_str(), "yes, it is" | "no"), "{text}");
    }
    for text in &expected[8..10] {
        let items = text.strip_suffix('!').unwrap().split(", ");
        assert!(
            items.clone().count() <= 2 && items.clone().all(|one| one == "one" || one == "two")
        );
    }
    for text in &expected[10..] {
        let word = text.strip_suffix('.').unwrap();
        assert!((2..=5).contains(&word.len()) && word.bytes().all(|c| c.is_ascii_lowercase()));
    }
    for options in [
        &["--isa", "scalar", "--max-sequences", "1"][..],
        &[compiled.as_str(), ALLOW],
        &[compiled.as_str(), ALLOW, "--isa", "simd128"],
    ] {
        assert_eq!(told(&Server::start(options)), expected, "{options:?}");
    }
}

/// Grammars that take a compiler's stack, memory or time, or that it does not expect.
fn hostile() -> Vec<(&'static str, Value)> {
    let many = |n: usize, one: &dyn Fn(usize) -> String| (0..n).map(one).collect::<String>();
    let refs = many(900, &|n| {
        format!(
            "\"d{n}\":{{\"allOf\":[{{\"$ref\":\"#/$defs/d{}\"}}]}},",
            n + 1
        )
    });
    let refs =
        format!("start: %json {{\"$ref\":\"#/$defs/d0\",\"$defs\":{{{refs}\"d900\":{{}}}}}}");
    let brackets = many(140, &|n| {
        format!(
            "T{n}: {}T{} \"a\"{}\n",
            "(".repeat(28),
            n + 1,
            ")".repeat(28)
        )
    });
    let names: Vec<String> = (0..8000).map(|n| format!("a{n}")).collect();
    let empty: serde_json::Map<String, Value> =
        names.iter().map(|name| (name.clone(), json!({}))).collect();
    vec![
        (
            "grammar",
            json!(format!("root ::= \"a\"{}", "*".repeat(200_000))),
        ),
        ("grammar", json!(refs)),
        (
            "grammar",
            json!(format!("start: T0\n{brackets}T140: \"x\"\n")),
        ),
        ("grammar", json!("start: start")),
        ("grammar", json!("start: <|x|>")),
        (
            "guided_json",
            json!({"additionalProperties": false, "properties": empty}),
        ),
        (
            "guided_json",
            json!({"type": "object", "anyOf": vec![json!({"type": "object"}); 8000],
            "properties": {"p": {"enum": names}}}),
        ),
        (
            "guided_json",
            json!({"type": "string", "minLength": "\u{e9}".repeat(60)}),
        ),
        ("regex", json!("(?=a)b")),
        ("regex", json!("()")),
    ]
}

#[test]
fn grammars_that_do_harm_are_refused_by_name_and_all_goes_on() {
    let compiled = compiled();
    let fine = json!({"prompt": LILY, "temperature": 0, "max_tokens": 4});
    for options in [&[][..], &[compiled.as_str(), ALLOW]] {
        let server = Server::start(options);
        let expected = server.post(TEXT, &fine).completion();
        for (field, value) in hostile() {
            // A prompt of ids goes to the engine by a shorter way.
            for prompt in [json!(LILY), json!([1, 2, 3])] {
                let body = with(
                    &json!({ field: value }),
                    &json!({"prompt": prompt, "max_tokens": 4}),
                );
                let answer = server.post(TEXT, &body);
                let shown: String = value.to_string().chars().take(60).collect();
                assert_eq!(answer.status, 400, "{shown}: {}", answer.text());
                let error = answer.json()["error"].clone();
                assert_eq!(error["param"], field, "{shown}: {error}");
                assert!(
                    !error["message"].as_str().unwrap().contains("panic"),
                    "{error}"
                );
            }
            assert_eq!(server.post(TEXT, &fine).completion(), expected);
        }
        assert_eq!(server.metric("sterna_engine_restarts_total"), 0.0);
    }
}
