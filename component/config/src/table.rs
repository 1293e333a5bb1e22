//! The table of settings: each is named, explained and given its default here, once.
//!
//! `sterna serve` makes its options and their help of it, the providers the names that they look
//! up. `spin.toml` and docs/portable.md repeat it, since they cannot read it; tests compare them.

/// A setting as operators know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// As Spin spells it. The other spellings follow from this one.
    pub name: &'static str,
    /// Its value in one word, for the help.
    pub value_name: &'static str,
    /// Its meaning.
    pub help: &'static str,
    /// The value that holds where it is not set.
    pub default: &'static str,
    /// Its value must not be shown.
    pub is_secret: bool,
}

/// A setting's environment variable: `STERNA_API_KEY`.
#[must_use]
pub fn variable(name: &str) -> String {
    format!("STERNA_{}", name.to_ascii_uppercase())
}

/// A setting's option of `sterna serve`, without its dashes: `api-key`.
#[must_use]
pub fn option(name: &str) -> String {
    name.replace('_', "-")
}

/// The environment variable that Spin reads a setting from: `SPIN_VARIABLE_API_KEY`.
#[must_use]
pub fn spin_variable(name: &str) -> String {
    format!("SPIN_VARIABLE_{}", name.to_ascii_uppercase())
}

/// The parts that nearly all settings share.
const PUBLIC: Setting = Setting {
    name: "",
    value_name: "N",
    help: "",
    default: "",
    is_secret: false,
};

/// Every setting; [`read`](crate::read) has their rules.
pub const SETTINGS: [Setting; 11] = [
    Setting {
        name: "api_key",
        value_name: "KEYS",
        help: "Keys between commas, one of which requests to /v1 must bear (`Authorization: Bearer \
               KEY`). Prefer the environment: everyone on this machine can read command lines",
        default: "no key is asked for",
        is_secret: true,
    },
    Setting {
        name: "default_max_tokens",
        help: "Tokens to generate at most where a request does not say",
        default: "as many as fit",
        ..PUBLIC
    },
    Setting {
        name: "max_tokens",
        help: "The most tokens a request may ask for",
        default: "the model's context",
        ..PUBLIC
    },
    Setting {
        name: "max_prompt_tokens",
        help: "The longest prompt in tokens",
        default: "the model's context",
        ..PUBLIC
    },
    Setting {
        name: "max_messages",
        help: "Turns a conversation may have",
        default: "4096",
        ..PUBLIC
    },
    Setting {
        name: "max_body_bytes",
        help: "Bytes a request's body may have, 1024 to 8388608",
        default: "4194304",
        ..PUBLIC
    },
    Setting {
        name: "model_alias",
        value_name: "NAME",
        help: "A second name for the model, as clients know it; `*`: any name that no model has",
        default: "none",
        ..PUBLIC
    },
    Setting {
        name: "cors_origin",
        value_name: "ORIGIN",
        help: "The web origin whose pages may call the API beside the server's own, such as \
               https://example.com; `localhost` for all of this machine, `*` for all, `none` for none",
        default: "none; all where a key is asked for",
        ..PUBLIC
    },
    Setting {
        name: "allowed_hosts",
        value_name: "NAMES",
        help: "Names between commas that clients may ask the server by, such as llm.example, or \
               .example.com for all below it too; `*` for any. Local names and addresses are always \
               answered",
        default: "no others on a loopback address, any elsewhere",
        ..PUBLIC
    },
    Setting {
        name: "request_timeout",
        value_name: "SECONDS",
        help: "Seconds after which a request ends, complete or not, 0.001 to 4294967; one may ask for \
               less by the header X-Request-Timeout",
        default: "no limit",
        ..PUBLIC
    },
    Setting {
        name: "resume_key",
        value_name: "KEYS",
        help: "Keys between commas, of 32 characters or more, that all servers of a model share: a \
               stream that one of them began goes on at another. The first signs, all are accepted; \
               `none`: no stream is resumed. Prefer the environment, as for api_key",
        default: "drawn by each process of sterna serve, none elsewhere",
        is_secret: true,
    },
];

/// The settings in a struct of the same fields, such as the one generated from `wit/config.wit`.
#[macro_export]
macro_rules! settings_as {
    ($settings:expr, $($same:ident)::+) => {{
        let settings: $crate::Settings = $settings;
        $($same)::+ {
            api_keys: settings.api_keys,
            default_max_tokens: settings.default_max_tokens,
            max_tokens: settings.max_tokens,
            max_prompt_tokens: settings.max_prompt_tokens,
            max_messages: settings.max_messages,
            max_body_bytes: settings.max_body_bytes,
            model_alias: settings.model_alias,
            cors_origin: settings.cors_origin,
            allowed_hosts: settings.allowed_hosts,
            request_timeout_ms: settings.request_timeout_ms,
            resume_keys: settings.resume_keys,
        }
    }};
}
