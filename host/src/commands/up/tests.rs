//! The command lines of `serve` that Spin's command lines and variables become.

use super::*;

fn read(arguments: &[&str]) -> anyhow::Result<Started> {
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    Started::read(&arguments)
}

fn command(arguments: &[&str], variables: &[(&str, &str)], root: &Path) -> anyhow::Result<String> {
    let variable = |name: &str| {
        let found = variables.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let words = read(arguments)?.serve_command(&variable, root)?;
    let words: Vec<_> = words.iter().map(|word| word.to_str().unwrap()).collect();
    Ok(words.join(" "))
}

#[test]
fn the_operators_arguments_are_understood() {
    let operators = [
        "--listen",
        "0.0.0.0:80",
        "-f",
        "registry.example/llm:1",
        "--runtime-config-file",
        "/runtime-config.toml",
        "--component-id",
        "a",
        "--component-id",
        "b",
    ];
    let started = read(&operators).unwrap();
    assert_eq!(started.listen.as_deref(), Some("0.0.0.0:80"));
    assert_eq!(started.reference.as_deref(), Some("registry.example/llm:1"));
    assert_eq!(
        started.runtime_config.as_deref(),
        Some(Path::new("/runtime-config.toml"))
    );
    assert!(started.ignored.is_empty());
    // The file is not there, which is nothing to speak of.
    assert_eq!(
        started.notes(),
        ["registry.example/llm:1 is not pulled: this image's own model is served"]
    );
}

#[test]
fn unknown_options_are_named_and_skipped() {
    let started = read(&[
        "--quiet",
        "--tls-cert",
        "a.pem",
        "--max-instance-reuse-count=3",
        "word",
        "--listen=:1",
    ])
    .unwrap();
    assert_eq!(started.listen.as_deref(), Some(":1"));
    assert_eq!(
        started.ignored,
        [
            "--quiet",
            "--tls-cert",
            "--max-instance-reuse-count",
            "word"
        ]
    );
    assert!(started.notes()[0].contains("--tls-cert"));
    for (arguments, name) in [
        (["--listen", "-f"], "--listen"),
        (["--quiet", "--from="], "--from"),
    ] {
        let error = read(&arguments).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn the_address_is_the_options_then_spins_then_our_own() {
    let folder = tempfile::tempdir().unwrap();
    let spin = ("SPIN_HTTP_LISTEN_ADDR", "127.0.0.1:2");
    let own = ("STERNA_LISTEN", "127.0.0.1:3");
    for (arguments, variables, expected) in [
        (
            vec!["--listen", "127.0.0.1:1"],
            vec![spin, own],
            "127.0.0.1:1",
        ),
        (vec![], vec![spin, own], "127.0.0.1:2"),
        (vec![], vec![own], "127.0.0.1:3"),
        (vec![], vec![], "0.0.0.0:80"),
    ] {
        let command = command(&arguments, &variables, folder.path()).unwrap();
        assert_eq!(command, format!("serve --listen {expected}"));
    }
}

#[test]
fn the_model_is_the_options_the_variables_then_the_images() {
    let folder = tempfile::tempdir().unwrap();
    let of = |arguments: &[&str], variables: &[(&str, &str)]| {
        let command = command(arguments, variables, folder.path()).unwrap();
        let model = command.split_once("--model ").map(|(_, model)| model);
        model.map(|model| model.replace(folder.path().to_str().unwrap(), ""))
    };
    assert_eq!(of(&[], &[]), None);
    let mut expected = [
        (
            "model.gguf",
            "GGUF",
            "/model.gguf --without=huge-pages,trits5,down-copy",
        ),
        ("app.wasm", "\0asm", "/app.wasm"),
        ("app.cwasm", "\x7fELF", "/app.cwasm --allow-precompiled"),
    ]
    .into_iter();
    for file in IMAGE_FILES.iter().rev() {
        let (name, magic, command) = expected.next().unwrap();
        assert_eq!(*file, name);
        std::fs::write(folder.path().join(file), format!("{magic}0000")).unwrap();
        assert_eq!(of(&[], &[]).as_deref(), Some(command));
    }
    let gguf = folder.path().join("model.gguf");
    let gguf = gguf.to_str().unwrap();
    let huge = [("STERNA_WITHOUT", "speculation")];
    assert_eq!(
        of(&["--model", gguf], &huge).as_deref(),
        Some("/model.gguf")
    );
    // `sterna serve` reads the variable itself.
    assert_eq!(of(&[], &[("STERNA_MODEL", "/models/a.gguf")]), None);
    assert_eq!(
        of(&["--model", "/b.gguf"], &[("STERNA_MODEL", "/a.gguf")]),
        Some("/b.gguf".into())
    );
}

#[test]
fn spins_variables_are_settings_where_ours_are_not_set() {
    let folder = tempfile::tempdir().unwrap();
    let variables = [
        ("SPIN_VARIABLE_API_KEY", "sesame"),
        ("SPIN_VARIABLE_MAX_TOKENS", "256"),
        ("STERNA_MAX_TOKENS", "128"),
        ("SPIN_VARIABLE_MODEL_ALIAS", ""),
        ("SPIN_VARIABLE_OTHER", "an application's own"),
    ];
    let words = command(&[], &variables, folder.path()).unwrap();
    assert_eq!(words, "serve --listen 0.0.0.0:80 --api-key=sesame");
    let wrong = [("SPIN_VARIABLE_MAX_TOKENS", "many")];
    let error = command(&[], &wrong, folder.path()).unwrap_err();
    let text = format!("{error:#}");
    assert!(
        text.contains("SPIN_VARIABLE_MAX_TOKENS cannot be used: expected"),
        "{text}"
    );
    for (name, why) in [
        (
            "SPIN_VARIABLE_API_KEY",
            "cannot be used: it is set, but to nothing",
        ),
        ("SPIN_VARIABLE_ALLOWED_HOSTS", "cannot be used"),
        ("SPIN_HTTP_LISTEN_ADDR", "is set, but to blanks"),
    ] {
        let error = command(&[], &[(name, " ")], folder.path()).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains(&format!("{name} {why}")), "{text}");
    }
}

#[test]
fn another_chat_template_is_passed_on() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &["--chat-template", "chatml"][..],
        &["--chat-template=chatml"],
    ] {
        let command = command(arguments, &[], folder.path()).unwrap();
        assert!(command.contains(" --chat-template chatml"), "{command}");
    }
    assert!(command(&["--chat-template"], &[], folder.path()).is_err());
}

#[test]
fn what_is_made_is_a_command_line_of_serve() {
    let folder = tempfile::tempdir().unwrap();
    let mut words = vec![OsString::from("serve")];
    for Setting { name, .. } in SETTINGS {
        words.push(format!("--{}=1", name.replace('_', "-")).into());
    }
    words.extend([
        "--model".into(),
        folder.path().into(),
        "--listen".into(),
        "x".into(),
    ]);
    assert!(Serve::try_parse_from(words).is_ok());
}
