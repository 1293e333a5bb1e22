//! Registry credentials: from the environment, or as `docker login` and `podman login` left them.

use std::path::PathBuf;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oci_client::secrets::RegistryAuth;
use serde_json::Value;

/// The credentials for a registry; anonymous where there are none.
///
/// # Errors
/// A configuration file is there and cannot be used.
pub fn find(registry: &str) -> anyhow::Result<RegistryAuth> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(user) = variable("STERNA_REGISTRY_USER") {
        let password = variable("STERNA_REGISTRY_PASSWORD")
            .context("STERNA_REGISTRY_USER is set, and STERNA_REGISTRY_PASSWORD is not")?;
        return Ok(RegistryAuth::Basic(user, password));
    }
    for file in files(&variable) {
        let Ok(text) = std::fs::read_to_string(&file) else {
            continue;
        };
        if let Some(auth) =
            in_config(&text, registry).with_context(|| format!("cannot use {}", file.display()))?
        {
            return Ok(auth);
        }
    }
    Ok(RegistryAuth::Anonymous)
}

fn files(variable: &dyn Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let docker = variable("DOCKER_CONFIG")
        .map(PathBuf::from)
        .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".docker")));
    let podman =
        variable("XDG_RUNTIME_DIR").map(|dir| PathBuf::from(dir).join("containers/auth.json"));
    docker
        .map(|folder| folder.join("config.json"))
        .into_iter()
        .chain(podman)
        .collect()
}

/// The entry of a registry in a `config.json`, whose `auth` is base64 of `user:password`.
fn in_config(text: &str, registry: &str) -> anyhow::Result<Option<RegistryAuth>> {
    let config: Value = serde_json::from_str(text).context("it is no JSON")?;
    let Some(auth) = config["auths"][registry]["auth"].as_str() else {
        return Ok(None);
    };
    let wrong = || format!("the entry of {registry} is not base64 of USER:PASSWORD");
    let decoded = STANDARD.decode(auth).with_context(wrong)?;
    let pair = String::from_utf8(decoded).with_context(wrong)?;
    let (user, password) = pair.split_once(':').with_context(wrong)?;
    Ok(Some(RegistryAuth::Basic(user.into(), password.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registrys_entry_is_found() {
        let text = format!(
            r#"{{"auths": {{"a.example": {{"auth": "{}"}}, "b.example": {{"auth": "?"}}}}}}"#,
            STANDARD.encode("me:pass:word")
        );
        match in_config(&text, "a.example").unwrap() {
            Some(RegistryAuth::Basic(user, password)) => {
                assert_eq!((user.as_str(), password.as_str()), ("me", "pass:word"));
            }
            other => panic!("{other:?}"),
        }
        assert!(in_config(&text, "c.example").unwrap().is_none());
        let error = in_config(&text, "b.example").unwrap_err().to_string();
        assert!(
            error.contains("b.example") && !error.contains('?'),
            "{error}"
        );
        assert!(in_config("", "a").is_err());
    }
}
