//! Settings that are there and say nothing, such as `STERNA_API_KEY=' '` of a secret that was not
//! filled in, or `--without ,`. Each is refused by name: taken for one that is not set, it would
//! open a server that was meant to be locked.

use std::ffi::{OsStr, OsString};

use anyhow::bail;
use clap::{ArgMatches, Command};

/// Refuse environment variables of ours that say nothing, whichever command reads them.
///
/// # Errors
/// The first one, by name.
pub(crate) fn refuse_variables(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> anyhow::Result<()> {
    for (name, value) in variables {
        let name = name.to_string_lossy();
        if name.starts_with("STERNA_") && is_blank(&value) {
            bail!("{name} {SAYS_NOTHING}");
        }
    }
    Ok(())
}

/// Refuse options of the command that say nothing. Those are looked at that are settings, and so
/// have a variable too; a prompt may well be empty.
///
/// # Errors
/// The first one, by name.
pub(crate) fn refuse_options(command: &Command, matches: &ArgMatches) -> anyhow::Result<()> {
    let Some((name, given)) = matches.subcommand() else {
        return Ok(());
    };
    let Some(command) = command.find_subcommand(name) else {
        return Ok(());
    };
    for option in command.get_arguments() {
        let (Some(long), Some(variable)) = (option.get_long(), option.get_env()) else {
            continue;
        };
        let values = given.try_get_raw(option.get_id().as_str());
        if values
            .ok()
            .flatten()
            .is_some_and(|mut values| values.any(is_blank))
        {
            bail!("--{long} ({}) {SAYS_NOTHING}", variable.to_string_lossy());
        }
    }
    Ok(())
}

const SAYS_NOTHING: &str = "is set, but to nothing: give it a value, or do not set it";

/// Nothing but blanks, and the commas of a list.
pub(crate) fn is_blank(value: &OsStr) -> bool {
    let nothing = |c: char| c.is_whitespace() || c == ',';
    value
        .to_str()
        .is_some_and(|value| value.chars().all(nothing))
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Command};

    use super::*;

    #[test]
    fn variables_of_ours_say_something() {
        let refuse = |name: &str, value: &str| {
            let variables = [(name.into(), value.into())].into_iter();
            refuse_variables(variables)
                .err()
                .map(|error| error.to_string())
        };
        for blank in ["", " ", "\t\n", ",", " , ,", "\u{a0}"] {
            let error = refuse("STERNA_API_KEY", blank).unwrap();
            assert!(
                error.starts_with("STERNA_API_KEY is set, but to nothing"),
                "{error}"
            );
            assert_eq!(refuse("PATH", blank), None);
        }
        assert_eq!(refuse("STERNA_API_KEY", "k"), None);
    }

    #[test]
    fn options_that_are_settings_say_something() {
        let refuse = |arguments: &[&str]| {
            let option = |name: &'static str| Arg::new(name).long(name);
            let serve = Command::new("serve")
                .arg(option("api-key").env("TEST_API_KEY"))
                .arg(option("system"));
            let mut program = Command::new("program").subcommand(serve);
            let all = ["program", "serve"].iter().chain(arguments);
            let matches = program.try_get_matches_from_mut(all).unwrap();
            refuse_options(&program, &matches)
                .err()
                .map(|error| error.to_string())
        };
        for blank in ["--api-key=", "--api-key= ", "--api-key=,"] {
            let error = refuse(&[blank]).unwrap();
            assert!(
                error.starts_with("--api-key (TEST_API_KEY) is set"),
                "{error}"
            );
        }
        assert_eq!(refuse(&[]), None);
        assert_eq!(refuse(&["--api-key=k", "--system="]), None);
    }
}
