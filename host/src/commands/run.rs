//! `sterna run`: one completion, on the terminal, as it is generated.

use std::io::{IsTerminal, Read, Write};
use std::time::Instant;

use anyhow::{Context, bail};
use sterna_engine::request::{Message, Prompt, Request, Sampling, Usage};

use crate::assets::Assets;
use crate::engine::handle::EngineHandle;
use crate::logging::{self, LogFormat};
use crate::model_source::{ModelArgs, Serving, no_kv_budget};
use crate::say;

/// Complete a prompt on the terminal
///
/// The completion goes to stdout as it is generated, a line of figures to stderr. Ctrl-C stops.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The text to continue; `-` reads it from stdin
    prompt: String,

    #[command(flatten)]
    model: ModelArgs,

    /// Tokens to generate at most [default: until the model ends or the context is full]
    #[arg(short = 'n', long, value_name = "N")]
    max_tokens: Option<u32>,

    /// 0 is greedy [default: the model's own, else 1]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    temperature: Option<f32>,

    /// Sample from the K most likely tokens; 0 from all
    #[arg(long, value_name = "K")]
    top_k: Option<u32>,

    /// Sample from the smallest set of tokens with this probability
    #[arg(long, value_name = "P")]
    top_p: Option<f32>,

    /// Drop tokens less likely than this share of the most likely one
    #[arg(long, value_name = "P")]
    min_p: Option<f32>,

    /// Divide the logits of tokens already seen by this
    #[arg(long, value_name = "X")]
    repetition_penalty: Option<f32>,

    /// The same seed, prompt and model give the same text
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// End before this text; may be given several times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,

    /// Put the prompt through the model's chat template
    #[arg(long)]
    chat: bool,

    /// A system message before the prompt; implies --chat
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
}

/// Load, generate, print.
///
/// # Errors
/// The model cannot be loaded, an option is out of range, the prompt does not fit.
pub fn main(args: &Args, assets: &'static Assets) -> anyhow::Result<()> {
    let _flush = logging::init(LogFormat::Text)?;
    let request = args.request()?;
    let serving = Serving {
        max_sequences: 1,
        max_queue: 1,
        max_step_ms: None,
    };
    let engines = args.model.engines(assets, serving, &mut no_kv_budget)?;
    let engine =
        EngineHandle::start(engines, args.model.threads()).context("cannot start the engine")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(complete(&engine, request))
}

impl Args {
    fn request(&self) -> anyhow::Result<Request> {
        let mut prompt = self.prompt.clone();
        if prompt == "-" {
            prompt.clear();
            std::io::stdin()
                .read_to_string(&mut prompt)
                .context("cannot read the prompt from stdin")?;
        }
        let prompt = if self.chat || self.system.is_some() {
            let message = |role: &str, content: String| Message::new(role, content);
            let system = self.system.clone().map(|text| message("system", text));
            Prompt::Messages(
                system
                    .into_iter()
                    .chain([message("user", prompt)])
                    .collect::<Vec<_>>()
                    .into(),
            )
        } else {
            Prompt::Text(prompt)
        };
        let sampling = Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            seed: self.seed,
            ..Sampling::default()
        };
        Ok(Request {
            max_tokens: self.max_tokens,
            stop: self.stop.clone(),
            sampling,
            ..Request::new(prompt)
        })
    }
}

async fn complete(engine: &EngineHandle, request: Request) -> anyhow::Result<()> {
    let mut times = Times::start();
    let mut generation = engine.generate(request).await?;
    let mut usage = Usage {
        prompt_tokens: generation.prompt_tokens(),
        ..Usage::default()
    };
    loop {
        let event = tokio::select! {
            event = generation.next() => event?,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                break;
            }
        };
        let Some(event) = event else { break };
        times.event(generation.last_event());
        usage.completion_tokens += u32::try_from(event.tokens.len()).unwrap_or(u32::MAX);
        if !print(&event.text)? {
            return Ok(());
        }
        if let Some(finish) = event.finish {
            usage = finish.usage;
        }
    }
    if !print(if std::io::stdout().is_terminal() {
        "\n"
    } else {
        ""
    })? {
        return Ok(());
    }
    times.report(usage);
    Ok(())
}

/// False where nobody reads any more (`sterna run ... | head`).
fn print(text: &str) -> anyhow::Result<bool> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => bail!("cannot write to stdout: {error}"),
    }
}

/// When the request was made, and when the engine made the first and the last piece of the answer.
/// Not when they were printed: a terminal may be slower or, after a short answer, find all of it
/// waiting.
struct Times {
    start: Instant,
    pieces: Option<(Instant, Instant)>,
}

impl Times {
    fn start() -> Self {
        Times {
            start: Instant::now(),
            pieces: None,
        }
    }

    fn event(&mut self, made: Option<Instant>) {
        let Some(made) = made else { return };
        let first = self.pieces.map_or(made, |(first, _)| first);
        self.pieces = Some((first, made));
    }

    /// Prompt tokens over the time to the first piece; further tokens over the time since.
    fn report(&self, usage: Usage) {
        let Some((first, last)) = self.pieces else {
            return;
        };
        let rate = |tokens: u32, from: Instant, to: Instant| {
            let seconds = to.duration_since(from).as_secs_f64();
            if tokens == 0 || seconds == 0.0 {
                return "no rate".to_owned();
            }
            format!("{:.1} tokens/s", f64::from(tokens) / seconds)
        };
        say::aside(format_args!(
            "prompt {} tokens, {}; completion {} tokens, {}",
            usage.prompt_tokens,
            rate(usage.prompt_tokens, self.start, first),
            usage.completion_tokens,
            rate(usage.completion_tokens.saturating_sub(1), first, last),
        ));
    }
}
