//! The command line and environment with which `sterna` is started, from the container's own.

use std::ffi::CString;

use anyhow::Context;

/// Arguments and environment of the process.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) arguments: Vec<CString>,
    /// `NAME=VALUE`.
    pub(crate) environment: Vec<CString>,
}

/// `sterna up` for a container's arguments and environment (both from the OCI spec). Spin's
/// operator always sends the command `/`: what the image holds. Anything else in its place is the
/// path of a model in the container. What follows is handed on.
///
/// # Errors
/// An argument or a variable holds a zero byte.
pub(crate) fn of(args: &[String], envs: &[String]) -> anyhow::Result<Command> {
    let mut arguments = vec!["sterna", "up"];
    if let Some(model) = args
        .first()
        .filter(|path| !matches!(path.as_str(), "" | "/"))
    {
        arguments.extend(["--model", model]);
    }
    arguments.extend(args.iter().skip(1).map(String::as_str));
    Ok(Command {
        arguments: strings(arguments.into_iter()).context("the container's arguments")?,
        environment: strings(envs.iter().map(String::as_str))
            .context("the container's environment")?,
    })
}

fn strings<'a>(texts: impl Iterator<Item = &'a str>) -> anyhow::Result<Vec<CString>> {
    texts
        .map(|text| CString::new(text).with_context(|| format!("{text:?} cannot be handed on")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(args: &[&str]) -> Vec<String> {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        let command = of(&args, &["A=b=c".into(), "EMPTY=".into()]).unwrap();
        assert_eq!(
            command.environment,
            [c"A=b=c".to_owned(), c"EMPTY=".to_owned()]
        );
        let texts = command.arguments.into_iter();
        texts.map(|text| text.into_string().unwrap()).collect()
    }

    #[test]
    fn the_operators_command_is_what_the_image_holds() {
        assert_eq!(arguments(&["/"]), ["sterna", "up"]);
        assert_eq!(arguments(&[]), ["sterna", "up"]);
        assert_eq!(arguments(&[""]), ["sterna", "up"]);
    }

    #[test]
    fn a_path_is_a_model_and_the_rest_is_handed_on() {
        assert_eq!(
            arguments(&["/models/a.gguf", "--listen", "0.0.0.0:80"]),
            [
                "sterna",
                "up",
                "--model",
                "/models/a.gguf",
                "--listen",
                "0.0.0.0:80"
            ]
        );
        assert_eq!(arguments(&["/", "-f", "x"]), ["sterna", "up", "-f", "x"]);
    }

    #[test]
    fn a_zero_byte_is_refused() {
        let error = of(&["/".into()], &["A=\0".into()]).unwrap_err();
        assert!(format!("{error:#}").contains("environment"), "{error:#}");
    }
}
