//! Hostile grammars: each is refused or followed, in bounded time and depth.

use std::time::{Duration, Instant};

use super::*;

fn nested(open: &str, inner: &str, close: &str, times: usize) -> String {
    open.repeat(times) + inner + &close.repeat(times)
}

#[test]
fn size_and_depth_are_bounded() {
    let deep = |times| Grammar::JsonSchema {
        schema: nested(r#"{"items":"#, "{}", "}", times),
        strict: true,
    };
    for (grammar, why) in [
        (Grammar::Regex("a".repeat((256 << 10) + 1)), "262145 bytes"),
        (Grammar::Regex(nested("(", "a", ")", 65)), "65 levels"),
        (
            Grammar::Lark(format!("start: {}", nested("(", "\"a\"", ")", 1000))),
            "1000 levels",
        ),
        (
            Grammar::Gbnf(format!("root ::= {}", nested("(", "\"a\"", ")", 1000))),
            "1000 levels",
        ),
        (deep(65), "64 levels"),
        (deep(5000), "no JSON"),
        (Grammar::Choice(vec!["a".into(); 4097]), "4097 choices"),
        (
            Grammar::JsonSchema {
                schema: "3".into(),
                strict: false,
            },
            "must be an object",
        ),
    ] {
        let message = error(&grammar);
        assert!(message.contains(why), "{message}");
    }
    assert!(Constraints::default().matcher(&demo(), &deep(64)).is_ok());
}

fn hostile() -> Vec<(&'static str, Grammar)> {
    let chain = |n: usize, rule: fn(usize) -> String| (0..n).map(rule).collect::<String>();
    let strict = |schema: String| Grammar::JsonSchema {
        schema,
        strict: true,
    };
    let wide = (0..400).map(|n| format!("{{\"required\":[\"a{n}\"],\"properties\":{{\"a{n}\":{{\"type\":\"integer\",\"minimum\":{n}}}}}}}"));
    let wide = wide.collect::<Vec<_>>().join(",");
    vec![
        ("repeats of repeats", Grammar::Regex("((a{1,900}){1,900}){1,900}".into())),
        ("a long count", Grammar::Regex("(.|a){1000}b{100000}".into())),
        ("exponential", Grammar::Regex("(a|b)*a(a|b){60}".into())),
        ("ambiguous", Grammar::Lark("start: start start | \"a\" | \"\"".into())),
        (
            "a chain of terminals",
            Grammar::Lark(format!("start: T0\n{}T900: \"x\"\n", chain(900, |n| format!("T{n}: T{} \"a\"\n", n + 1)))),
        ),
        (
            "a chain of rules",
            Grammar::Lark(format!("start: r0\n{}r900: \"x\"\n", chain(900, |n| format!("r{n}: r{} \"a\"\n", n + 1)))),
        ),
        (
            "doubling terminals",
            Grammar::Lark(format!("start: T0\n{}T40: \"x\"\n", chain(40, |n| format!("T{n}: T{0} T{0}\n", n + 1)))),
        ),
        (
            "doubling GBNF",
            Grammar::Gbnf(format!("root ::= t0\n{}t40 ::= \"x\"\n", chain(40, |n| format!("t{n} ::= t{0} t{0}\n", n + 1)))),
        ),
        (
            "a chain of references",
            strict(format!("{{\"$ref\":\"#/$defs/d0\",\"$defs\":{{{}\"d300\":{{}}}}}}", chain(300, |n| format!("\"d{n}\":{{\"$ref\":\"#/$defs/d{}\"}},", n + 1)))),
        ),
        (
            "a chain of merged references",
            strict(format!("{{\"$ref\":\"#/$defs/d0\",\"$defs\":{{{}\"d300\":{{}}}}}}", chain(300, |n| format!("\"d{n}\":{{\"allOf\":[{{\"$ref\":\"#/$defs/d{}\"}},{{\"type\":\"object\"}}]}},", n + 1)))),
        ),
        (
            "terminals of each other",
            Grammar::Lark("start: A\nA: B \"x\"\nB: A \"y\"\n".into()),
        ),
        (
            "a chain of merged references within Lark",
            Grammar::Lark(format!("start: %json {{\"$ref\":\"#/$defs/d0\",\"$defs\":{{{}\"d300\":{{}}}}}}", chain(300, |n| format!("\"d{n}\":{{\"allOf\":[{{\"$ref\":\"#/$defs/d{}\"}},{{\"type\":\"object\"}}]}},", n + 1)))),
        ),
        ("stars", Grammar::Gbnf(format!("root ::= \"a\"{}\n", "*".repeat(200_000)))),
        ("a wide constant", strict(format!("{{\"const\":[{}null]}}", "null,".repeat(40_000)))),
        (
            "too many properties",
            strict(format!("{{\"additionalProperties\":false,\"properties\":{{{}\"z\":{{}}}}}}", chain(8000, |n| format!("\"a{n}\":{{}},")))),
        ),
        (
            "many properties",
            strict(format!("{{\"additionalProperties\":false,\"properties\":{{{}\"z\":{{}}}}}}", chain(999, |n| format!("\"a{n}\":{{}},")))),
        ),
        (
            "brackets in a chain",
            Grammar::Lark(format!("start: T0\n{}T140: \"x\"\n", chain(140, |n| format!("T{n}: {}T{} \"a\"{}\n", "(".repeat(28), n + 1, ")".repeat(28))))),
        ),
        (
            "alternatives beside many values",
            strict(format!("{{\"type\":\"object\",\"anyOf\":[{}{{}}],\"properties\":{{\"p\":{{\"enum\":[{}0]}}}}}}", "{\"type\":\"object\"},".repeat(8000), chain(8000, |n| format!("\"a{n}\",")))),
        ),
        ("wide anyOf", strict(format!("{{\"anyOf\":[{wide}]}}"))),
        ("wide oneOf", strict(format!("{{\"oneOf\":[{wide}]}}"))),
        ("wide allOf", strict(format!("{{\"allOf\":[{wide}]}}"))),
        (
            "products of anyOf",
            strict(format!("{{\"allOf\":[{}]}}", vec![format!("{{\"anyOf\":[{}]}}", wide.split("}},{").take(1).collect::<String>() + "}}"); 40].join(","))),
        ),
        ("itself", strict(r##"{"$ref":"#"}"##.into())),
        ("itself in allOf", strict(r##"{"allOf":[{"$ref":"#"}]}"##.into())),
        ("long arrays", strict(r#"{"type":"array","minItems":100000,"items":{"type":"array","minItems":100000}}"#.into())),
        ("long strings", strict(r#"{"type":"string","minLength":1000000,"maxLength":2000000}"#.into())),
        (
            "many choices",
            Grammar::Choice((0..4096).map(|n| format!("{n}{}", "ab".repeat(n % 30))).collect()),
        ),
        (
            "a large enum",
            strict(serde_json::json!({"enum": (0..8000).map(|n| format!("value {n}")).collect::<Vec<_>>()}).to_string()),
        ),
    ]
}

/// On a thread whose stack is as small as those of a server's workers. The bound is far above what
/// any of them takes, so that a slow machine passes; what is unbounded takes minutes.
#[test]
fn hostile_grammars_are_bounded() {
    let run = || {
        let tokenizer = demo();
        for (name, grammar) in hostile() {
            let start = Instant::now();
            let matcher = Constraints::default().matcher(&tokenizer, &grammar);
            let compiled = start.elapsed();
            let result = matcher.map(|matcher| {
                let mut guard = Guard::new(matcher, Start::AtOnce, &tokenizer);
                let mut slowest = Duration::ZERO;
                for _ in 0..50 {
                    let start = Instant::now();
                    let Ok(mask) = guard.mask(&[], &[]) else {
                        break;
                    };
                    slowest = slowest.max(start.elapsed());
                    let size = u32::try_from(tokenizer.vocab_size()).unwrap();
                    let allowed = |id: &u32| mask.as_ref().is_none_or(|mask| mask.allows(*id));
                    let Some(token) = (0..size).rfind(allowed) else {
                        break;
                    };
                    if guard.take(&tokenizer, token).unwrap_or(true) {
                        break;
                    }
                }
                slowest
            });
            println!("{name}: compiled in {compiled:?}, {result:?}");
            assert!(compiled < Duration::from_secs(30), "{name}: {compiled:?}");
            assert!(
                result.unwrap_or_default() < Duration::from_secs(5),
                "{name}"
            );
        }
    };
    let thread = std::thread::Builder::new().stack_size(2 << 20);
    thread.spawn(run).unwrap().join().unwrap();
}
