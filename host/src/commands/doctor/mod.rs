//! `sterna doctor`: whether this machine runs models as it should, and what to change.

mod checks;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use serde_json::{Value as Json, json};
use sterna_engine::model::Model;
use sterna_engine::placement::Bytes;
use sterna_engine::self_check::self_check;
use sterna_kernels::Isa;

use crate::assets::Assets;
use crate::machine::Machine;
use crate::model_source::{DEMO, load};
use crate::reading::ReadArgs;
use crate::registry_tools::find_model;
use crate::say;

/// Check this machine, and a model on it
///
/// The instruction set and whether its kernels compute what they should, cores and memory with the
/// limits of control groups, pages, how fast memory is read, and whether a model gives the same
/// tokens with plain code and with this machine's kernels. Says what to change. The exit code is 1
/// if something is wrong; what only costs speed is a note.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Check this model: a GGUF file or a Hugging Face directory. Plain code is some 20 times as
    /// slow as the kernels, so a large one takes minutes [default: the small one inside this
    /// program]
    #[arg(short, long, value_name = "PATH")]
    model: Option<PathBuf>,

    /// What its files do not say.
    #[command(flatten)]
    reading: ReadArgs,

    /// Greedy tokens of the model to compare
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1024))]
    tokens: u32,

    /// Threads that would compute [default: the CPUs this process may use]
    #[arg(short, long, env = "STERNA_THREADS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,

    /// Instruction set of the kernels [default: the best this machine has]
    #[arg(long, env = "STERNA_ISA", value_name = "NAME")]
    isa: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// As it should be.
    Fine,
    /// It could be better.
    Note,
    /// Models do not run, or not rightly.
    Wrong,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Fine => "ok",
            State::Note => "note",
            State::Wrong => "WRONG",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug)]
struct Check {
    name: &'static str,
    state: State,
    /// What was found.
    found: String,
    /// What to change, where something is to be.
    advice: Option<String>,
}

impl Check {
    fn fine(name: &'static str, found: impl Into<String>) -> Self {
        Check {
            name,
            state: State::Fine,
            found: found.into(),
            advice: None,
        }
    }

    fn with(self, state: State, advice: impl Into<String>) -> Self {
        Check {
            state,
            advice: Some(advice.into()),
            ..self
        }
    }

    fn json(&self) -> Json {
        let state = self.state.name().to_lowercase();
        json!({"check": self.name, "state": state, "found": self.found, "advice": self.advice})
    }
}

/// Look and print. False where something is wrong.
///
/// # Errors
/// None.
pub fn main(args: &Args, assets: &'static Assets) -> anyhow::Result<bool> {
    let mut report = Report {
        json: args.json,
        checks: Vec::new(),
    };
    let isa = match args.isa.as_deref().map(Isa::from_name) {
        None => Isa::detect(),
        Some(Ok(isa)) => isa,
        Some(Err(error)) => {
            let check = Check::fine("chosen kernels", error.to_string());
            report.add(check.with(State::Wrong, "unset STERNA_ISA, or name one of these"));
            Isa::detect()
        }
    };
    let machine = Machine::of(isa, args.threads);
    for check in checks::of_system(&machine) {
        report.add(check);
    }
    report.add(bandwidth(&machine));
    report.add(model(args, assets, &machine));
    Ok(report.finish())
}

/// Prints lines as they come, or all as JSON at the end.
struct Report {
    json: bool,
    checks: Vec<Check>,
}

impl Report {
    fn add(&mut self, check: Check) {
        if !self.json {
            let Check {
                name,
                state,
                found,
                advice,
            } = &check;
            say::line(format_args!("{:<5} {name:<18} {found}", state.name()));
            if let Some(advice) = advice {
                say::line(format_args!("{:<24} -> {advice}", ""));
            }
        }
        self.checks.push(check);
    }

    fn finish(self) -> bool {
        let fine = self.checks.iter().all(|check| check.state != State::Wrong);
        if self.json {
            let checks: Vec<Json> = self.checks.iter().map(Check::json).collect();
            say::line(format_args!("{:#}", json!({"ok": fine, "checks": checks})));
        }
        fine
    }
}

fn bandwidth(machine: &Machine) -> Check {
    const NAME: &str = "memory bandwidth";
    match machine.read_gb_per_s() {
        Ok(read) => Check::fine(
            NAME,
            format!(
                "{read:.1} GB/s read by {} threads: a token takes at least its model's bytes over \
                 that",
                machine.threads
            ),
        ),
        Err(error) => Check::fine(NAME, format!("{error:#}")).with(
            State::Wrong,
            "give this process more memory or threads; both were refused",
        ),
    }
}

/// The model's tokens from plain code and from the kernels.
fn model(args: &Args, assets: &'static Assets, machine: &Machine) -> Check {
    const NAME: &str = "model";
    let what = args.model.as_ref().map_or_else(
        || "the demo model".into(),
        |path| path.display().to_string(),
    );
    let loaded = match &args.model {
        Some(path) => find_model(path).and_then(|path| load(&path, &args.reading.options())),
        None => Model::from_gguf_bytes(DEMO, Bytes::from_static(assets.demo_model))
            .context("cannot load the demo model"),
    };
    let checked = loaded.and_then(|model| {
        let model = Arc::new(model);
        Ok(self_check(
            &model,
            machine.isa,
            machine.threads,
            args.tokens,
        )?)
    });
    let isa = machine.isa.name();
    match checked {
        Ok(checked) if checked.agrees() => Check::fine(
            NAME,
            format!(
                "{what}: {} greedy tokens are the same with scalar code and with {isa}",
                checked.chosen.len()
            ),
        ),
        Ok(checked) => Check::fine(
            NAME,
            format!(
                "{what}: scalar code gives the tokens {:?}, {isa} gives {:?}",
                checked.reference, checked.chosen
            ),
        )
        .with(
            State::Wrong,
            "a fault of the processor, its memory or this program: try another STERNA_ISA, test the \
             memory, and report it",
        ),
        Err(error) => Check::fine(NAME, format!("{what}: {error:#}"))
            .with(State::Wrong, "`sterna inspect` says what the model is"),
    }
}
