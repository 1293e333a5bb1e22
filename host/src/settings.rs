//! The operator's settings from the command line or the environment, and the HTTP component's
//! `config` import that hands it on. The rules are those of the other providers
//! (`component/config`).

use std::sync::LazyLock;

use clap::{Arg, ArgMatches, Command, FromArgMatches};
use sterna_config::{SETTINGS, Setting, option, settings_as, variable};
use wasmtime::component::HasData;

use crate::bindings::config as wit;

/// The options, one for each of [`SETTINGS`], and the values given. As text: `sterna-config` has
/// the rules.
#[derive(Clone, Default)]
pub struct SettingsArgs {
    /// In the order of [`SETTINGS`].
    values: [Option<String>; SETTINGS.len()],
}

/// Each setting on the command line: its option, its variable and its help.
static SPELLINGS: LazyLock<[(String, String, String); SETTINGS.len()]> = LazyLock::new(|| {
    SETTINGS.map(|setting| {
        let help = format!("{} [default: {}]", setting.help, setting.default);
        (option(setting.name), variable(setting.name), help)
    })
});

impl clap::Args for SettingsArgs {
    fn augment_args(command: Command) -> Command {
        let command = command.next_help_heading("What clients may do");
        let settings = SETTINGS.iter().zip(&*SPELLINGS);
        command.args(settings.map(|(setting, (option, variable, help))| {
            Arg::new(setting.name)
                .long(option.as_str())
                .env(variable.as_str())
                .value_name(setting.value_name)
                .help(help.as_str())
                .hide_env_values(setting.is_secret)
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingsArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let value = |setting: Setting| matches.get_one::<String>(setting.name).cloned();
        Ok(SettingsArgs {
            values: SETTINGS.map(value),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl SettingsArgs {
    /// The settings, checked.
    ///
    /// # Errors
    /// One of them cannot be used; the error names its option.
    pub fn read(&self) -> anyhow::Result<sterna_config::Settings> {
        let value = |name| {
            let index = SETTINGS.iter().position(|setting| setting.name == name)?;
            self.values[index].clone()
        };
        let read = sterna_config::read(|name| Ok(value(name)));
        let mut settings = read.map_err(|invalid| {
            anyhow::anyhow!(
                "--{} ({}) cannot be used: {}",
                option(invalid.name),
                variable(invalid.name),
                invalid.message
            )
        })?;
        if value("resume_key").is_none() {
            settings.resume_keys = vec![drawn_key()?];
        }
        Ok(settings)
    }
}

/// A key of this process alone: who resumes a stream here began it here.
fn drawn_key() -> anyhow::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| anyhow::anyhow!("the system gives no random numbers: {error}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Keys do not belong in logs.
impl std::fmt::Debug for SettingsArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SettingsArgs")
    }
}

/// Answers the component's `config` import.
pub struct ConfigImport<'a>(pub &'a sterna_config::Settings);

/// Names [`ConfigImport`] to the linker.
pub struct HasConfig;

impl HasData for HasConfig {
    type Data<'a> = ConfigImport<'a>;
}

impl wit::Host for ConfigImport<'_> {
    async fn get(&mut self) -> wasmtime::Result<Result<wit::Settings, wit::InvalidSetting>> {
        Ok(Ok(wit::Settings {
            // The server has looked before the component is asked (`server/target.rs`).
            allowed_hosts: Vec::new(),
            ..settings_as!(self.0.clone(), wit::Settings)
        }))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        settings: SettingsArgs,
    }

    #[test]
    fn every_setting_has_an_option_and_a_variable() {
        let values = [
            "k",
            "7",
            "8",
            "9",
            "10",
            "2048",
            "name",
            "https://a.example",
            "b.example",
            "2.5",
            "0123456789abcdef0123456789abcdef",
        ];
        let mut command = Program::command();
        let options: Vec<String> = SETTINGS
            .iter()
            .zip(values)
            .map(|(setting, value)| format!("--{}={value}", setting.name.replace('_', "-")))
            .collect();
        let arguments = std::iter::once("program").chain(options.iter().map(String::as_str));
        let matches = command.try_get_matches_from_mut(arguments).unwrap();
        let settings = Program::from_arg_matches(&matches).unwrap().settings;
        let expected = sterna_config::Settings {
            api_keys: vec!["k".into()],
            default_max_tokens: Some(7),
            max_tokens: Some(8),
            max_prompt_tokens: Some(9),
            max_messages: 10,
            max_body_bytes: 2048,
            model_alias: Some("name".into()),
            cors_origin: Some("https://a.example".into()),
            allowed_hosts: vec!["b.example".into()],
            request_timeout_ms: Some(2500),
            resume_keys: vec!["0123456789abcdef0123456789abcdef".into()],
        };
        assert_eq!(settings.read().unwrap(), expected);
        for Setting { name, .. } in SETTINGS {
            let variable = format!("STERNA_{}", name.to_uppercase());
            let known = command
                .get_arguments()
                .any(|arg| arg.get_env().is_some_and(|env| *env == *variable));
            assert!(known, "{variable}");
        }
        assert!(!format!("{settings:?}").contains('k'));
    }

    #[test]
    fn a_key_is_drawn_where_none_is_set() {
        let keys = |arguments: &[&str]| {
            let arguments = std::iter::once(&"program").chain(arguments);
            let matches = Program::command().try_get_matches_from(arguments).unwrap();
            let settings = Program::from_arg_matches(&matches).unwrap().settings;
            settings.read().unwrap().resume_keys
        };
        let drawn = keys(&[]);
        assert_eq!((drawn.len(), drawn[0].len()), (1, 64));
        assert_ne!(drawn, keys(&[]));
        assert!(keys(&["--resume-key=none"]).is_empty());
    }
}
