//! `sterna up`: serve what a container image holds, started the way Spin's operator starts
//! `spin up`.
//!
//! With the executor option `spinImage` the operator runs the executor's image with `up --listen
//! 0.0.0.0:80 -f REF --runtime-config-file FILE (--component-id ID)*` and Spin's variables in the
//! environment (spin-operator, `internal/controller/deployment.go`). The containerd shim runs the
//! same command. Everything becomes a `sterna serve`, so that there is one server and one set of
//! options.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Parser;
use sterna_config::{SETTINGS, Setting};

use crate::assets::Assets;
use crate::blank::is_blank;
use crate::commands::serve;
use crate::memory::private_copies::COPYING;
use crate::sandbox::AppFile;
use crate::say;

/// Serve the image's own model, with the arguments and environment Spin's operator gives to
/// `spin up`
///
/// Takes --listen ADDR (else SPIN_HTTP_LISTEN_ADDR, STERNA_LISTEN, 0.0.0.0:80) and --model PATH
/// (else STERNA_MODEL, /app.cwasm, /app.wasm, /model.gguf, the demo model inside this program), and
/// --chat-template FILE|NAME (else STERNA_CHAT_TEMPLATE).
/// Nothing is pulled: -f REF is only a name. The image's own /app.cwasm is machine code that its
/// maker put there, and runs; another .cwasm needs --allow-precompiled. --runtime-config-file and
/// --component-id are accepted, unknown options are named and ignored. SPIN_VARIABLE_API_KEY and
/// its like are read where STERNA_API_KEY and its like are not set; every other variable of
/// `sterna serve` works too.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// As `spin up` takes them
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "OPTIONS"
    )]
    arguments: Vec<String>,
}

/// The image's own machine code: who makes an image decides what runs in its pods, by its program
/// as by this file.
const PRECOMPILED: &str = "app.cwasm";
/// The files of an image that hold a model, best first.
const IMAGE_FILES: [&str; 3] = [PRECOMPILED, "app.wasm", "model.gguf"];
/// The address that the operator's Service and probes expect.
const DEFAULT_LISTEN: &str = "0.0.0.0:80";

/// Serve until told to stop.
///
/// # Errors
/// An option lacks its value, a Spin variable cannot be used, or as `sterna serve`.
pub fn main(args: &Args, assets: &'static Assets) -> anyhow::Result<()> {
    let started = Started::read(&args.arguments)?;
    for note in started.notes() {
        say::note(note);
    }
    let variable = |name: &str| std::env::var(name).ok();
    let command_line = started.serve_command(&variable, Path::new("/"))?;
    let Serve { args } = Serve::try_parse_from(command_line)
        .map_err(|error| anyhow::anyhow!("{}", error.render()))?;
    serve::main(&args, assets)
}

#[derive(Parser)]
struct Serve {
    #[command(flatten)]
    args: serve::Args,
}

/// The part of the command line that matters here.
#[derive(Debug, Default, PartialEq, Eq)]
struct Started {
    listen: Option<String>,
    model: Option<String>,
    chat_template: Option<String>,
    reference: Option<String>,
    runtime_config: Option<PathBuf>,
    allow_precompiled: bool,
    ignored: Vec<String>,
}

impl Started {
    /// Options as `--name value` or `--name=value`. What follows an unknown option and is no option
    /// is taken for its value.
    fn read(arguments: &[String]) -> anyhow::Result<Started> {
        let mut started = Started::default();
        let mut rest = arguments.iter().map(String::as_str).peekable();
        while let Some(argument) = rest.next() {
            let (name, mut value) = match argument.split_once('=') {
                Some((name, value)) if name.starts_with('-') => (name, Some(value.to_owned())),
                _ => (argument, None),
            };
            if argument == "--allow-precompiled" {
                started.allow_precompiled = true;
                continue;
            }
            let known = matches!(
                name,
                "--listen"
                    | "--model"
                    | "--chat-template"
                    | "-f"
                    | "--from"
                    | "--runtime-config-file"
                    | "--component-id"
                    | "-c"
            );
            if value.is_none() && name.starts_with('-') {
                value = rest.next_if(|next| !next.starts_with('-')).map(Into::into);
            }
            if !known {
                started.ignored.push(name.to_owned());
                continue;
            }
            let Some(value) = value.filter(|value| !is_blank(value.as_ref())) else {
                bail!("{name} needs a value");
            };
            match name {
                "--listen" => started.listen = Some(value),
                "--model" => started.model = Some(value),
                "--chat-template" => started.chat_template = Some(value),
                "-f" | "--from" => started.reference = Some(value),
                "--runtime-config-file" => started.runtime_config = Some(value.into()),
                // One component is all there is.
                _ => {}
            }
        }
        Ok(started)
    }

    /// Notes for the operator of the cluster.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.ignored.is_empty() {
            notes.push(format!(
                "ignored what only `spin up` knows: {}",
                self.ignored.join(" ")
            ));
        }
        if let Some(reference) = &self.reference {
            notes.push(format!(
                "{reference} is not pulled: this image's own model is served"
            ));
        }
        // The operator always names one and mounts it only where the SpinApp has it.
        if let Some(file) = &self.runtime_config
            && file.metadata().is_ok_and(|data| data.len() > 0)
        {
            notes.push(format!(
                "{} is not read: set SPIN_VARIABLE_* or STERNA_* in the environment",
                file.display()
            ));
        }
        notes
    }

    /// The command line of the `sterna serve` that this is.
    fn serve_command(
        &self,
        variable: &dyn Fn(&str) -> Option<String>,
        root: &Path,
    ) -> anyhow::Result<Vec<OsString>> {
        // Spin's operator writes what is not set as nothing. Blanks are none of its, and are told.
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        for name in ["SPIN_HTTP_LISTEN_ADDR", "SPIN_MAX_INSTANCE_MEMORY"] {
            if variable(name).is_some_and(|value| is_blank(value.as_ref())) {
                bail!("{name} is set, but to blanks: give it a value, or do not set it");
            }
        }
        let listen = self
            .listen
            .clone()
            .or_else(|| variable("SPIN_HTTP_LISTEN_ADDR"))
            .or_else(|| variable("STERNA_LISTEN"))
            .unwrap_or_else(|| DEFAULT_LISTEN.into());
        let mut command: Vec<OsString> = vec!["serve".into(), "--listen".into(), listen.into()];
        let set = variable("STERNA_MODEL").map(PathBuf::from);
        let model = self.model.as_ref().map(PathBuf::from);
        let model = model.or_else(|| match set {
            // `sterna serve` reads it itself.
            Some(_) => None,
            None => find_model(root),
        });
        if let Some(model) = &model {
            command.extend(["--model".into(), model.into()]);
        } else if set.is_none() {
            say::note(format_args!(
                "there is none of /{} here, and STERNA_MODEL is not set: serving the demo model inside this program",
                IMAGE_FILES.join(", /")
            ));
        }
        if let Some(chat_template) = &self.chat_template {
            command.extend(["--chat-template".into(), chat_template.into()]);
        }
        let model = model.or(set);
        if self.allow_precompiled || model.as_deref() == Some(&root.join(PRECOMPILED)) {
            command.push("--allow-precompiled".into());
        }
        // As `sterna serve` does under a memory limit. Here it is a pod in any case, though none
        // may limit it.
        if variable("STERNA_WITHOUT").is_none()
            && model.is_some_and(|model| model.is_file() && !AppFile::is_named_so(&model))
        {
            command.push(format!("--without={COPYING}").into());
        }
        let spin = |name: &str| variable(&sterna_config::spin_variable(name));
        // Checked here, so that an error names what the operator of the cluster has written.
        if let Err(invalid) = sterna_config::read(|name| Ok(spin(name))) {
            let name = sterna_config::spin_variable(invalid.name);
            return Err(anyhow::anyhow!(invalid.message))
                .with_context(|| format!("{name} cannot be used"));
        }
        for Setting { name, .. } in SETTINGS {
            if variable(&sterna_config::variable(name)).is_none()
                && let Some(value) = spin(name)
            {
                command.push(format!("--{}={value}", sterna_config::option(name)).into());
            }
        }
        Ok(command)
    }
}

/// The model in an image's root filesystem, or mounted into it.
fn find_model(root: &Path) -> Option<PathBuf> {
    let paths = IMAGE_FILES.iter().map(|name| root.join(name));
    paths.into_iter().find(|path| path.is_file())
}

#[cfg(test)]
mod tests;
