//! The program a container of the image runs, and its user.

use serde_json::{Value, json};

/// The user "nonroot" of the distroless images; any number but 0 would do.
const USER: &str = "65532:65532";

/// The parts of an image's configuration that differ.
#[derive(Clone, Debug)]
pub struct ImageConfig {
    /// As Go spells it: `amd64`, `arm64`.
    pub architecture: &'static str,
    /// True if `/sterna` is in the image; else only the containerd shim can run it.
    pub has_host: bool,
}

/// The tag behind an image name's last colon.
pub(super) fn tag(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((_, tag)) if !tag.contains('/') => tag,
        _ => "latest",
    }
}

impl ImageConfig {
    /// The configuration object. Without a program the entry point is what Spin's operator sends as
    /// well: `/`.
    pub(super) fn json(&self, diff_ids: &[String]) -> Value {
        let history: Vec<Value> = diff_ids
            .iter()
            .map(|_| json!({"created": EPOCH, "created_by": "sterna image"}))
            .collect();
        let mut config = json!({
            "User": USER,
            "WorkingDir": "/",
            "Env": ["PATH=/", "STERNA_LISTEN=0.0.0.0:8080"],
            "ExposedPorts": {"8080/tcp": {}},
            "StopSignal": "SIGTERM",
        });
        if self.has_host {
            config["Entrypoint"] = json!(["/sterna"]);
            config["Cmd"] = json!(["up"]);
        } else {
            config["Entrypoint"] = json!(["/"]);
        }
        json!({
            "created": EPOCH,
            "architecture": self.architecture,
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": history,
        })
    }
}

/// The same input gives the same image, at any time.
const EPOCH: &str = "1970-01-01T00:00:00Z";

#[cfg(test)]
mod tests {
    use super::*;

    fn of(has_host: bool) -> ImageConfig {
        ImageConfig {
            architecture: "amd64",
            has_host,
        }
    }

    #[test]
    fn the_tag_is_not_the_registrys_port() {
        for (name, expected) in [
            ("llm:1", "1"),
            ("127.0.0.1:5000/llm", "latest"),
            ("127.0.0.1:5000/llm:2", "2"),
            ("llm", "latest"),
        ] {
            assert_eq!(tag(name), expected);
        }
    }

    #[test]
    fn without_a_program_only_the_shim_runs_it() {
        let config = of(false).json(&[]);
        assert_eq!(config["config"]["Entrypoint"], json!(["/"]));
        assert_eq!(config["config"]["Cmd"], Value::Null);
        let config = of(true).json(&["sha256:0".into()]);
        assert_eq!(config["config"]["Entrypoint"], json!(["/sterna"]));
        assert_eq!(config["rootfs"]["diff_ids"], json!(["sha256:0"]));
        assert_ne!(config["config"]["User"], "0:0");
    }
}
