//! The operator's settings from the command line or the environment, and the HTTP component's
//! `config` import that hands it on. The rules are those of the other providers
//! (`component/config`).

use wasmtime::component::HasData;

use crate::bindings::config as wit;

/// As text: `sterna-config` has the rules.
#[derive(clap::Args)]
#[command(next_help_heading = "What clients may do")]
pub struct SettingsArgs {
    /// Keys between commas, one of which requests to /v1 must bear (`Authorization: Bearer KEY`)
    /// [default: no key is asked for]. Prefer the environment: everyone on this machine can read
    /// command lines
    #[arg(
        long,
        env = "STERNA_API_KEY",
        value_name = "KEYS",
        hide_env_values = true
    )]
    api_key: Option<String>,

    /// Tokens to generate at most where a request does not say [default: as many as fit]
    #[arg(long, env = "STERNA_DEFAULT_MAX_TOKENS", value_name = "N")]
    default_max_tokens: Option<String>,

    /// The most tokens a request may ask for [default: the model's context]
    #[arg(long, env = "STERNA_MAX_TOKENS", value_name = "N")]
    max_tokens: Option<String>,

    /// The longest prompt in tokens [default: the model's context]
    #[arg(long, env = "STERNA_MAX_PROMPT_TOKENS", value_name = "N")]
    max_prompt_tokens: Option<String>,

    /// Turns a conversation may have [default: 4096]
    #[arg(long, env = "STERNA_MAX_MESSAGES", value_name = "N")]
    max_messages: Option<String>,

    /// Bytes a request's body may have, 1024 to 8388608 [default: 4194304]
    #[arg(long, env = "STERNA_MAX_BODY_BYTES", value_name = "N")]
    max_body_bytes: Option<String>,

    /// A second name for the model, as clients know it
    #[arg(long, env = "STERNA_MODEL_ALIAS", value_name = "NAME")]
    model_alias: Option<String>,

    /// The web origin whose pages may call the API beside the server's own, such as
    /// https://example.com; `*` for all, `none` for none [default: none; all where a key is asked
    /// for]
    #[arg(long, env = "STERNA_CORS_ORIGIN", value_name = "ORIGIN")]
    cors_origin: Option<String>,

    /// Names between commas that clients may ask the server by, such as llm.example, or
    /// .example.com for all below it too; `*` for any. Local names and addresses are always
    /// answered [default: no others on a loopback address, any elsewhere]
    #[arg(long, env = "STERNA_ALLOWED_HOSTS", value_name = "NAMES")]
    allowed_hosts: Option<String>,
}

impl SettingsArgs {
    /// The settings, checked.
    ///
    /// # Errors
    /// One of them cannot be used; the error names its option.
    pub fn read(&self) -> anyhow::Result<sterna_config::Settings> {
        sterna_config::read(|name| Ok(self.value(name).clone())).map_err(|invalid| {
            anyhow::anyhow!(
                "--{} (STERNA_{}) cannot be used: {}",
                invalid.name.replace('_', "-"),
                invalid.name.to_uppercase(),
                invalid.message
            )
        })
    }

    fn value(&self, name: &str) -> &Option<String> {
        match name {
            "api_key" => &self.api_key,
            "default_max_tokens" => &self.default_max_tokens,
            "max_tokens" => &self.max_tokens,
            "max_prompt_tokens" => &self.max_prompt_tokens,
            "max_messages" => &self.max_messages,
            "max_body_bytes" => &self.max_body_bytes,
            "model_alias" => &self.model_alias,
            "cors_origin" => &self.cors_origin,
            "allowed_hosts" => &self.allowed_hosts,
            _ => &None,
        }
    }
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
        let set = self.0.clone();
        Ok(Ok(wit::Settings {
            api_keys: set.api_keys,
            default_max_tokens: set.default_max_tokens,
            max_tokens: set.max_tokens,
            max_prompt_tokens: set.max_prompt_tokens,
            max_messages: set.max_messages,
            max_body_bytes: set.max_body_bytes,
            model_alias: set.model_alias,
            cors_origin: set.cors_origin,
            // The server has looked before the component is asked (`server/target.rs`).
            allowed_hosts: Vec::new(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches};

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
        ];
        let mut command = Program::command();
        let options: Vec<String> = sterna_config::NAMES
            .iter()
            .zip(values)
            .map(|(name, value)| format!("--{}={value}", name.replace('_', "-")))
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
        };
        assert_eq!(settings.read().unwrap(), expected);
        for name in sterna_config::NAMES {
            let variable = format!("STERNA_{}", name.to_uppercase());
            let known = command
                .get_arguments()
                .any(|arg| arg.get_env().is_some_and(|env| *env == *variable));
            assert!(known, "{variable}");
        }
        assert!(!format!("{settings:?}").contains('k'));
    }
}
