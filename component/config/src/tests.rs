//! The values each setting accepts, and the agreement of manifest and documentation with the table.

use super::*;

/// Settings where only these are set.
fn with(set: &[(&str, &str)]) -> Result<Settings, InvalidSetting> {
    read(|name| {
        let is_known = SETTINGS.iter().any(|setting| setting.name == name);
        assert!(is_known, "{name} is not in SETTINGS");
        let value = set.iter().find(|(set, _)| *set == name);
        Ok(value.map(|(_, value)| (*value).to_owned()))
    })
}

#[test]
fn nothing_set_is_the_default() {
    assert_eq!(with(&[]), Ok(Settings::default()));
}

#[test]
fn nothing_is_no_value() {
    for Setting { name, .. } in SETTINGS {
        for blank in ["", " ", "\t \n", "\u{a0}"] {
            let error = with(&[(name, blank)]).unwrap_err();
            assert_eq!(
                (error.name, error.message.as_str()),
                (name, BLANK),
                "{blank:?}"
            );
        }
    }
}

#[test]
fn keys_that_sign_are_long() {
    let keys = |value: &str| with(&[("resume_key", value)]);
    assert_eq!(keys("none"), Ok(Settings::default()));
    for wrong in [
        "short",
        &"k".repeat(31),
        &"k".repeat(257),
        &format!("{},k", "k".repeat(32)),
    ] {
        let error = keys(wrong).unwrap_err();
        assert_eq!(error.name, "resume_key");
        assert!(error.message.contains("32 to 256"), "{}", error.message);
        assert!(!error.message.contains(wrong));
    }
    assert!(
        keys(&format!("{} {}", "k".repeat(32), "k".repeat(32))).is_err(),
        "a space"
    );
}

#[test]
fn other_origins_may_call_where_a_key_is_asked_for() {
    let origin = |set: &[(&str, &str)]| with(set).unwrap().cors_origin;
    assert_eq!(origin(&[]), None);
    assert_eq!(origin(&[("api_key", "k")]).as_deref(), Some("*"));
    assert_eq!(origin(&[("api_key", "k"), ("cors_origin", "none")]), None);
    assert_eq!(origin(&[("cors_origin", "*")]).as_deref(), Some("*"));
    let local = origin(&[("cors_origin", "localhost")]);
    assert_eq!(local.as_deref(), Some("localhost"));
}

#[test]
fn everything_can_be_set() {
    let settings = with(&[
        ("api_key", " secret-1, secret-2 "),
        ("default_max_tokens", "64"),
        ("max_tokens", "64"),
        ("max_prompt_tokens", "2048"),
        ("max_messages", "1"),
        ("max_body_bytes", "1024"),
        ("model_alias", "org/small"),
        ("cors_origin", "https://Chat.example.com:8443"),
        (
            "allowed_hosts",
            "LLM.example, .chat.example,*.b.example, 10.0.0.1,[::1]",
        ),
        ("request_timeout", "2.5"),
        (
            "resume_key",
            &format!("{}, {}", "k".repeat(32), "l".repeat(256)),
        ),
    ]);
    let expected = Settings {
        api_keys: vec!["secret-1".into(), "secret-2".into()],
        default_max_tokens: Some(64),
        max_tokens: Some(64),
        max_prompt_tokens: Some(2048),
        max_messages: 1,
        max_body_bytes: 1024,
        model_alias: Some("org/small".into()),
        cors_origin: Some("https://chat.example.com:8443".into()),
        allowed_hosts: vec![
            "llm.example".into(),
            ".chat.example".into(),
            ".b.example".into(),
            "10.0.0.1".into(),
            "[::1]".into(),
        ],
        request_timeout_ms: Some(2500),
        resume_keys: vec!["k".repeat(32), "l".repeat(256)],
    };
    assert_eq!(settings, Ok(expected));
    for origin in [
        "app://obsidian.md",
        "chrome-extension://abc",
        "http://[::1]:3000",
    ] {
        let set = with(&[("cors_origin", origin)]).unwrap().cors_origin;
        assert_eq!(set.as_deref(), Some(origin));
    }
    let any = with(&[("allowed_hosts", "*")]).unwrap().allowed_hosts;
    assert_eq!(any, ["*"]);
}

#[test]
fn what_cannot_be_used_is_named() {
    for (name, value, message) in [
        ("api_key", "a,,b", "nothing before, between or after"),
        ("api_key", ",", "nothing before, between or after"),
        ("api_key", "hidden word", "holds a space"),
        ("api_key", "hidden\u{e9}", "not ASCII"),
        ("default_max_tokens", "0", "from 1 to 4294967295"),
        ("default_max_tokens", "many", "'many'"),
        ("max_tokens", "-1", "'-1'"),
        ("max_tokens", "4294967296", "from 1 to 4294967295"),
        ("max_prompt_tokens", "1.5", "'1.5'"),
        ("max_messages", "0", "from 1"),
        ("max_body_bytes", "1023", "from 1024 to 8388608"),
        ("max_body_bytes", "8388609", "from 1024 to 8388608"),
        ("request_timeout", "0", "from 0.001"),
        ("request_timeout", "-1", "'-1'"),
        ("request_timeout", "5000000", "to 4294967"),
        ("request_timeout", "nan", "seconds"),
        ("request_timeout", "10s", "such as 30 or 2.5"),
        ("model_alias", "my model", "without spaces"),
        (
            "cors_origin",
            "example.com",
            "'*', 'none', 'localhost' or an origin",
        ),
        ("cors_origin", "https://example.com/", "without a path"),
        ("cors_origin", "https://a\r\nx: y", "without a path"),
        ("cors_origin", "https://", "without a path"),
        (
            "cors_origin",
            "null",
            "'*', 'none', 'localhost' or an origin",
        ),
        ("cors_origin", "https://a@b", "without a path"),
        ("cors_origin", "1://a", "without a path"),
        ("cors_origin", "https://a, https://b", "without a path"),
        ("allowed_hosts", ",", "between commas"),
        ("allowed_hosts", "a.example,", "between commas"),
        ("allowed_hosts", "https://a.example", "without scheme"),
        ("allowed_hosts", "a.example:8080", "without scheme, port"),
        ("allowed_hosts", "a.example/x", "without scheme"),
        ("allowed_hosts", ".", "between commas"),
        ("allowed_hosts", "*.", "between commas"),
        ("allowed_hosts", "a*.example", "between commas"),
        ("allowed_hosts", "a b", "between commas"),
    ] {
        let error = with(&[(name, value)]).unwrap_err();
        assert_eq!(error.name, name, "{value}");
        assert!(error.message.contains(message), "{error:?}");
        assert!(!error.message.contains("hidden"), "{error:?}");
    }
    let long = "9".repeat(1000);
    assert!(with(&[("max_tokens", &long)]).unwrap_err().message.len() < 200);
}

#[test]
fn a_default_above_the_limit_is_refused() {
    let error = with(&[("default_max_tokens", "65"), ("max_tokens", "64")]).unwrap_err();
    assert_eq!(error.name, "default_max_tokens");
    assert!(
        error.message.contains("65 is more than the 64"),
        "{error:?}"
    );
}

#[test]
fn a_failed_lookup_is_told() {
    let failing = |name| match name {
        "max_messages" => Err("the vault is sealed".to_owned()),
        _ => Ok(None),
    };
    let error = read(failing).unwrap_err();
    assert_eq!(
        (error.name, error.message.as_str()),
        ("max_messages", "the vault is sealed")
    );
}

#[test]
fn spins_manifest_passes_all_of_them_on() {
    let manifest = include_str!("../../../spin.toml");
    for Setting { name, .. } in SETTINGS {
        let declared = format!("\n{name} = {{ default = \"\"");
        assert!(
            manifest.contains(&declared),
            "spin.toml declares no variable {name}"
        );
        let passed_on = format!("\n{name} = \"{{{{ {name} }}}}\"\n");
        assert!(
            manifest.contains(&passed_on),
            "spin.toml does not give {name} to the component"
        );
    }
}

/// Read here and not by the compiler: a container's build has no docs.
fn documentation() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/portable.md");
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn the_documentation_lists_all_of_them() {
    let documented = documentation();
    for setting in SETTINGS {
        let names = [
            variable(setting.name),
            setting.name.to_owned(),
            format!("--{}", option(setting.name)),
        ];
        let row = format!("\n| `{}` |", names.join("` | `"));
        assert!(
            documented.contains(&row),
            "docs/portable.md has no row {row}"
        );
    }
}

#[test]
fn the_defaults_that_are_told_are_those_that_hold() {
    let told = |name| SETTINGS.iter().find(|setting| setting.name == name);
    let defaults = Settings::default();
    for (name, holds) in [
        ("max_messages", defaults.max_messages),
        ("max_body_bytes", defaults.max_body_bytes),
    ] {
        let told = told(name).unwrap().default;
        assert_eq!(told, holds.to_string(), "{name}");
        let in_manifest = format!(" Unset: {told}.\n{name} = ");
        let manifest = include_str!("../../../spin.toml");
        assert!(manifest.contains(&in_manifest), "spin.toml: {name}");
        let documented = documentation();
        let row = documented
            .lines()
            .find(|line| line.contains(&format!("| `{name}` |")));
        assert!(row.unwrap().ends_with(&format!("| {told} |")), "{name}");
    }
}
