//! Several models on the command line of `serve`.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::{ArgMatches, Command, FromArgMatches};

use super::names::Names;
use crate::model_source::DEMO;
use crate::registry_tools::is_reference;

/// Bytes that a name may have.
const LONGEST_NAME: usize = 128;

/// Options for several models.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Several models (--model NAME=PATH, once for each)")]
pub struct ModelsArgs {
    #[command(flatten)]
    given: Given,

    /// A second name for a model: NAME=MODEL. A --model with the file of another one is that too
    #[arg(
        long,
        env = "STERNA_ALIAS",
        value_name = "NAME=MODEL",
        value_delimiter = ','
    )]
    alias: Vec<String>,

    /// The model that answers requests which name none, or one that there is not. Without it, the
    /// former ask the first model, and the latter get 404
    #[arg(long, env = "STERNA_DEFAULT_MODEL", value_name = "NAME")]
    default_model: Option<String>,

    /// Models that are loaded before the server is ready: names, `all`, or `none`; others are when
    /// they are first asked for [default: the default one]
    #[arg(
        long,
        env = "STERNA_PRELOAD",
        value_name = "NAMES",
        value_delimiter = ','
    )]
    preload: Vec<String>,

    /// MiB that the models may take together, keys and values included. Where they need more, those
    /// that were used longest ago make room [default: by the memory limit]
    #[arg(long, env = "STERNA_MODELS_MEMORY", value_name = "MIB",
          value_parser = clap::value_parser!(u32).range(1..))]
    models_memory: Option<u32>,
}

/// Every value of `--model`.
#[derive(Clone, Debug, Default)]
struct Given(Vec<OsString>);

impl clap::Args for Given {
    fn augment_args(command: Command) -> Command {
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        command
    }
}

impl FromArgMatches for Given {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let values = matches.get_many::<PathBuf>("model");
        let values = values.into_iter().flatten();
        Ok(Given(
            values.map(|it| it.clone().into_os_string()).collect(),
        ))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Models by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Several {
    /// What `-m` takes, of each; `None` is the model inside this program.
    pub models: Vec<Option<PathBuf>>,
    /// Their names.
    pub names: Names,
    /// Those to load first.
    pub preload: Vec<usize>,
    /// Bytes for all of them.
    pub memory: Option<u64>,
}

impl ModelsArgs {
    /// The models by name; `None` where `--model` names none, but is one model's path or absent.
    ///
    /// # Errors
    /// The options do not fit together, or name what there is not.
    pub fn read(&self) -> anyhow::Result<Option<Several>> {
        let given = &self.given.0;
        let mut named = Vec::new();
        for value in given {
            match name_and_path(value)? {
                Some(it) => named.push(it),
                None if given.len() > 1 => bail!(
                    "--model {} has no name, and there are {} models: give each as --model NAME=PATH",
                    value.to_string_lossy(),
                    given.len()
                ),
                None => {}
            }
        }
        if named.is_empty() {
            self.refuse_for_one()?;
            return Ok(None);
        }
        let mut ids = Vec::new();
        let mut models: Vec<Option<PathBuf>> = Vec::new();
        let mut second = Vec::new();
        for (name, path) in named {
            match models.iter().position(|known| *known == path) {
                Some(index) => second.push((name, index)),
                None => {
                    ensure!(
                        !ids.contains(&name),
                        "two models are called {name}: --model NAME=PATH names each once"
                    );
                    ids.push(name);
                    models.push(path);
                }
            }
        }
        let mut names = Names::new(ids);
        for (name, index) in second {
            ensure!(
                names.add_alias(name.clone(), index),
                "two models are called {name}: --model NAME=PATH names each once"
            );
        }
        for alias in &self.alias {
            add_alias(&mut names, alias)?;
        }
        if let Some(name) = &self.default_model {
            let index = find(&names, name).context("--default-model")?;
            names.answer_any(index);
        }
        let preload = self.preload(&names)?;
        let memory = self.models_memory.map(|mib| u64::from(mib) << 20);
        Ok(Some(Several {
            models,
            names,
            preload,
            memory,
        }))
    }

    fn refuse_for_one(&self) -> anyhow::Result<()> {
        let given = [
            ("--alias", !self.alias.is_empty()),
            ("--default-model", self.default_model.is_some()),
            ("--preload", !self.preload.is_empty()),
            ("--models-memory", self.models_memory.is_some()),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            Some((option, _)) => {
                bail!("{option} is for models that have names: give each as --model NAME=PATH")
            }
            None => Ok(()),
        }
    }

    fn preload(&self, names: &Names) -> anyhow::Result<Vec<usize>> {
        let words: Vec<&str> = self.preload.iter().map(String::as_str).collect();
        Ok(match words[..] {
            [] => vec![names.default_index()],
            ["none"] => Vec::new(),
            ["all"] => {
                let mut all: Vec<usize> = names.all().map(|(_, index)| index).collect();
                all.dedup();
                all
            }
            _ => {
                let found = words.iter().map(|name| find(names, name));
                found.collect::<anyhow::Result<_>>().context("--preload")?
            }
        })
    }
}

/// A value of `--model` that names its model; `None` for a path alone. One that exists is a path,
/// whatever is in it.
fn name_and_path(value: &OsStr) -> anyhow::Result<Option<(String, Option<PathBuf>)>> {
    let Some((name, path)) = value.to_str().and_then(|text| text.split_once('=')) else {
        return Ok(None);
    };
    if Path::new(value).exists() || name.contains("://") {
        return Ok(None);
    }
    check_name(name).with_context(|| format!("--model {name}={path}"))?;
    ensure!(
        !path.is_empty(),
        "--model {name}= names no model: give the path of a file or directory"
    );
    if path == DEMO && !Path::new(path).exists() {
        return Ok(Some((name.to_owned(), None)));
    }
    ensure!(
        Path::new(path).exists() || is_reference(path),
        "--model {name}={path}: there is no such file or directory"
    );
    Ok(Some((name.to_owned(), Some(path.into()))))
}

fn check_name(name: &str) -> anyhow::Result<()> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._:/@+".contains(c);
    ensure!(!name.is_empty(), "the model has no name: it is NAME=PATH");
    ensure!(
        name.len() <= LONGEST_NAME && name.chars().all(is_plain),
        "a model's name has letters, digits and - . _ : / @ +, and at most {LONGEST_NAME} of them"
    );
    ensure!(
        !name.ends_with(":latest"),
        "a model's name does not end with :latest, which Ollama's clients put behind any name"
    );
    Ok(())
}

fn add_alias(names: &mut Names, alias: &str) -> anyhow::Result<()> {
    let (name, of) = alias
        .split_once('=')
        .with_context(|| format!("--alias {alias}: it is NAME=MODEL"))?;
    check_name(name).with_context(|| format!("--alias {alias}"))?;
    let index = find(names, of).with_context(|| format!("--alias {alias}"))?;
    ensure!(
        names.add_alias(name.to_owned(), index),
        "--alias {alias}: a model is called {name} already"
    );
    Ok(())
}

fn find(names: &Names, name: &str) -> anyhow::Result<usize> {
    names.find(Some(name)).with_context(|| {
        let all: Vec<&str> = names.all().map(|(name, _)| name).collect();
        format!("no model is called {name:?}: there are {}", all.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that is there in every test.
    const FILE: &str = "Cargo.toml";
    const OTHER: &str = "build.rs";

    fn read(
        values: &[&str],
        change: impl FnOnce(&mut ModelsArgs),
    ) -> anyhow::Result<Option<Several>> {
        let mut args = ModelsArgs {
            given: Given(values.iter().map(OsString::from).collect()),
            alias: Vec::new(),
            default_model: None,
            preload: Vec::new(),
            models_memory: None,
        };
        change(&mut args);
        args.read()
    }

    fn two(change: impl FnOnce(&mut ModelsArgs)) -> anyhow::Result<Several> {
        let (a, b) = (format!("a={FILE}"), format!("org/b={OTHER}"));
        read(&[&a, &b], change).map(Option::unwrap)
    }

    #[test]
    fn one_path_is_one_model_without_a_name() {
        let with_sign = tempfile::tempdir().unwrap().path().join("a=b");
        std::fs::create_dir_all(&with_sign).unwrap();
        for value in [
            FILE,
            with_sign.to_str().unwrap(),
            "https://host/a=b",
            "absent.gguf",
        ] {
            assert_eq!(read(&[value], |_| ()).unwrap(), None, "{value}");
        }
        assert_eq!(read(&[], |_| ()).unwrap(), None);
    }

    #[test]
    fn names_aliases_default_and_what_is_loaded_first() {
        let several = two(|_| ()).unwrap();
        assert_eq!(several.models, [Some(FILE.into()), Some(OTHER.into())]);
        assert_eq!((several.preload, several.memory), (vec![0], None));
        let several = two(|args| {
            args.alias = vec!["c=org/b".into(), "d=c".into()];
            args.default_model = Some("d".into());
            args.preload = vec!["all".into()];
            args.models_memory = Some(3);
        });
        let several = several.unwrap();
        let found = [None, Some("c"), Some("d"), Some("x")].map(|it| several.names.find(it));
        assert_eq!(found, [Some(1); 4]);
        assert_eq!(
            (several.preload, several.memory),
            (vec![1, 0], Some(3 << 20))
        );
        // The same file twice is one model with two names.
        let same = [format!("a={FILE}"), format!("b={FILE}"), "c=demo".into()];
        let same: Vec<&str> = same.iter().map(String::as_str).collect();
        let several = read(&same, |args| args.preload = vec!["none".into()])
            .unwrap()
            .unwrap();
        assert_eq!(several.models, [Some(FILE.into()), None]);
        assert_eq!(several.names.find(Some("b")), Some(0));
        assert!(several.preload.is_empty());
    }

    #[test]
    fn what_cannot_be_is_named() {
        let refused = |values: &[&str]| format!("{:#}", read(values, |_| ()).unwrap_err());
        let file = format!("a={FILE}");
        for (values, part) in [
            (
                &[file.as_str(), FILE][..],
                "Cargo.toml has no name, and there are 2 models",
            ),
            (&[FILE, OTHER], "--model NAME=PATH"),
            (&[file.as_str(), "a=build.rs"], "two models are called a"),
            (&[file.as_str(), file.as_str()], "two models are called a"),
            (&["=Cargo.toml"], "the model has no name"),
            (&["a="], "names no model"),
            (
                &["a=absent.gguf"],
                "--model a=absent.gguf: there is no such file",
            ),
            (&["a b=Cargo.toml"], "letters, digits"),
            (&["a:latest=Cargo.toml"], ":latest"),
        ] {
            let got = refused(values);
            assert!(got.contains(part), "{got}");
        }
        let wrong = |change: fn(&mut ModelsArgs)| format!("{:#}", two(change).unwrap_err());
        let no_alias = wrong(|args| args.alias = vec!["c=x".into()]);
        assert!(
            no_alias.contains("--alias c=x") && no_alias.contains("there are a, org/b"),
            "{no_alias}"
        );
        assert!(wrong(|args| args.alias = vec!["a=org/b".into()]).contains("called a already"));
        assert!(wrong(|args| args.alias = vec!["a".into()]).contains("NAME=MODEL"));
        assert!(wrong(|args| args.default_model = Some("x".into())).contains("--default-model"));
        assert!(wrong(|args| args.preload = vec!["x".into()]).contains("--preload"));
        let one = read(&[FILE], |args| args.models_memory = Some(1)).unwrap_err();
        assert!(
            one.to_string()
                .contains("--models-memory is for models that have names")
        );
    }
}
