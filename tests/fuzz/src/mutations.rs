//! A bounded number of damaged models, the same ones every time:
//! `mutations SEEDS [GGUF [DIRECTORIES]]`, with the folder that `seeds` wrote. Prints what became
//! of them; exits with 1 where one panics, hangs, or is accepted though its tensors overlap or it
//! has what the engine would leave out.
//!
//! Unlike fuzzing this says how many there were of each outcome, and changes structure (offsets,
//! keys, names) on purpose.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sterna_engine::engine::Engine;
use sterna_engine::files::{Gguf, LoadOptions, Value as GgufValue};
use sterna_engine::model::Model;
use sterna_engine::options::EngineOptions;
use sterna_engine::placement::Bytes;
use sterna_engine::request::{Prompt, Request, Sampling};
use sterna_fuzz::{SEPARATOR, parts, spans};
use sterna_kernels::Isa;

type Failure = Box<dyn Error>;

const TOKENIZER: &[u8] = include_bytes!("../../fixtures/packed-autobitlinear/tokenizer.json");
/// No damaged model of this size may hold a server up for longer.
const LONGEST: Duration = Duration::from_secs(30);

/// xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }
}

/// A change of a file, and the expected result.
struct Damage {
    kind: &'static str,
    refused: bool,
    bytes: Vec<u8>,
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let seeds = PathBuf::from(
        arguments
            .next()
            .ok_or("usage: mutations SEEDS [GGUF [DIRECTORIES]]")?,
    );
    let mut count = |default: usize| arguments.next().map_or(Ok(default), |n| n.parse());
    let (ggufs, directories) = (count(3000)?, count(1200)?);
    let mut tally = Tally::default();
    let watch = watch();
    let mut random = Random(0x5eed_f11e);

    let files = read(&seeds.join("gguf"))?;
    for index in 0..ggufs {
        let good = &files[index % files.len()];
        let damage = damage_gguf(good, index, &mut random);
        let load = || Model::from_gguf_bytes("test", Bytes::from(damage.bytes.clone()));
        let spans = || spans::of_gguf(&damage.bytes);
        tally.count("gguf", index, &damage, &watch, load, spans);
    }

    let files = read(&seeds.join("huggingface"))?;
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("tokenizer.json"), TOKENIZER)?;
    for index in 0..directories {
        let good = &files[index % files.len()];
        let damage = damage_directory(good, index, &mut random);
        let [config, tensors] = parts(&damage.bytes);
        for (name, bytes) in [("config.json", config), ("model.safetensors", tensors)] {
            // A new file each time: the last one may still be mapped.
            let _ = fs::remove_file(folder.path().join(name));
            fs::write(folder.path().join(name), bytes)?;
        }
        let load = || Model::load(folder.path(), &LoadOptions::default(), &mut |_, _| ());
        let spans = || spans::of_safetensors(tensors);
        tally.count("directory", index, &damage, &watch, load, spans);
    }
    tally.report()
}

fn read(folder: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    paths.sort();
    Ok(paths.into_iter().map(fs::read).collect::<Result<_, _>>()?)
}

#[derive(Default)]
struct Tally {
    outcomes: BTreeMap<(&'static str, &'static str, &'static str), usize>,
    wrong: Vec<String>,
    longest: Duration,
}

impl Tally {
    fn count<E: std::fmt::Display>(
        &mut self,
        what: &'static str,
        index: usize,
        damage: &Damage,
        watch: &Arc<AtomicU64>,
        load: impl FnOnce() -> Result<Model, E>,
        spans: impl FnOnce() -> spans::Spans,
    ) {
        let start = Instant::now();
        watch.store(index as u64 + 1, Ordering::Relaxed);
        let outcome = catch_unwind(AssertUnwindSafe(|| match load() {
            Err(error) => {
                // Every refusal is a sentence of a sane length.
                let text = error.to_string();
                assert!(!text.is_empty() && text.len() < 16 << 10, "{}", text.len());
                "refused"
            }
            Ok(model) => {
                spans::assert_apart(&spans());
                generate(model)
            }
        }));
        watch.store(0, Ordering::Relaxed);
        self.longest = self.longest.max(start.elapsed());
        let outcome = outcome.unwrap_or("panicked");
        if outcome == "panicked" || damage.refused && outcome != "refused" {
            self.wrong
                .push(format!("{what} {index}: {}: {outcome}", damage.kind));
        }
        *self
            .outcomes
            .entry((what, damage.kind, outcome))
            .or_default() += 1;
    }

    fn report(self) -> Result<(), Failure> {
        for ((what, kind, outcome), n) in &self.outcomes {
            println!("{what:10} {kind:24} {outcome:12} {n:6}");
        }
        let total: usize = self.outcomes.values().sum();
        println!(
            "{total} damaged models, the longest took {:.1} s",
            self.longest.as_secs_f64()
        );
        if self.wrong.is_empty() {
            return Ok(());
        }
        Err(format!("{} went wrong: {}", self.wrong.len(), self.wrong.join("; ")).into())
    }
}

/// Generates with a model that was accepted: NaN must be an error, not a text.
fn generate(model: Model) -> &'static str {
    if model.parameters() > 4 << 20 {
        return "too large";
    }
    let mut options = EngineOptions::new(Isa::detect());
    options.threads = 1;
    options.max_kv_bytes = Some(16 << 20);
    let Ok(mut engine) = Engine::new(Arc::new(model), options) else {
        return "no engine";
    };
    let request = Request {
        max_tokens: Some(4),
        sampling: Sampling {
            temperature: Some(0.0),
            ..Sampling::default()
        },
        ..Request::new(Prompt::Tokens(vec![0, 1]))
    };
    if engine.submit(request).is_err() {
        return "no request";
    }
    let mut outcome = "generates";
    for _ in 0..64 {
        let busy = engine.step(&mut |(_, event)| {
            if event.is_err() {
                outcome = "an error";
            }
        });
        if !busy {
            return outcome;
        }
    }
    panic!("the engine does not end");
}

/// Ends the process where one model takes too long.
fn watch() -> Arc<AtomicU64> {
    let current = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&current);
    std::thread::spawn(move || {
        let mut last = 0;
        loop {
            std::thread::sleep(LONGEST);
            let now = seen.load(Ordering::Relaxed);
            if now != 0 && now == last {
                eprintln!("model {} hangs", now - 1);
                std::process::exit(1);
            }
            last = now;
        }
    });
    current
}

fn flips(bytes: &mut [u8], within: usize, random: &mut Random) {
    for _ in 0..=random.below(3) {
        bytes[random.below(within)] ^= 1 << random.below(8);
    }
}

fn damage_gguf(good: &[u8], index: usize, random: &mut Random) -> Damage {
    let gguf = Gguf::parse(Bytes::from(good.to_vec())).expect("a seed is a good file");
    let tensors = gguf.tensors();
    let header = tensors.iter().map(|t| t.start).min().unwrap_or(good.len());
    let mut bytes = good.to_vec();
    let (kind, refused) = match index % 9 {
        0 | 1 => {
            flips(&mut bytes, header, random);
            ("bits of the header", false)
        }
        2 => {
            let end = bytes.len();
            flips(&mut bytes, end, random);
            ("bits anywhere", false)
        }
        3 => {
            let last = tensors.iter().map(|t| t.start).max().unwrap_or(0);
            bytes.truncate(random.below(last));
            ("cut short", true)
        }
        4 => {
            let from = random.below(tensors.len());
            let to = (from + 1 + random.below(tensors.len() - 1)) % tensors.len();
            let value = (tensors[to].start - header) as u64;
            let at = entry_end(good, &tensors[from].name, tensors[from].ne.len()) - 8;
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
            ("one tensor over another", true)
        }
        5 => {
            let at = random.below(header.saturating_sub(8));
            let value = [u64::MAX, 1 << 62, 1 << 40, 1 << 31, 0][random.below(5)];
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
            ("a huge number", false)
        }
        6 => {
            // A name that differs in one letter is one the engine does not know, or one that occurs
            // twice.
            let tensor = &tensors[random.below(tensors.len())];
            let end = entry_end(good, &tensor.name, tensor.ne.len());
            let start = end - 8 - 4 - 8 * tensor.ne.len() - 4 - tensor.name.len();
            bytes[start + random.below(tensor.name.len())] = b'z';
            ("a tensor renamed", true)
        }
        7 => {
            // Another type of this engine's own, of one that is or of none.
            const TYPES: [u32; 9] = [
                0x5354_0005,
                0x5354_0111,
                0x5354_0112,
                0x5354_0114,
                0x5354_0121,
                0x5354_0122,
                0x5354_0124,
                0x5354_0132,
                0x5354_01ff,
            ];
            let tensor = &tensors[random.below(tensors.len())];
            let at = entry_end(good, &tensor.name, tensor.ne.len()) - 12;
            let ty = TYPES[random.below(TYPES.len())];
            bytes[at..at + 4].copy_from_slice(&ty.to_le_bytes());
            ("a type of our own", ty != tensor.ty)
        }
        _ => {
            const KEYS: [&str; 6] = [
                "prism.hadamard.version",
                ".attention.sliding_window",
                ".expert_count",
                ".attn_logit_softcapping",
                ".logit_scale",
                "split.count",
            ];
            let mut key = KEYS[random.below(KEYS.len())].to_owned();
            if key.starts_with('.') {
                let architecture = gguf.get("general.architecture").and_then(GgufValue::as_str);
                key.insert_str(0, architecture.expect("a seed is a good file"));
            }
            add_key(&mut bytes, &key, 7);
            ("a key not computed", true)
        }
    };
    Damage {
        kind,
        refused,
        bytes,
    }
}

/// The end of a tensor's entry in the header: name, number of sizes, sizes, type, offset.
fn entry_end(file: &[u8], name: &str, dims: usize) -> usize {
    let mut needle = (name.len() as u64).to_le_bytes().to_vec();
    needle.extend(name.as_bytes());
    let at = file
        .windows(needle.len())
        .position(|window| window == needle);
    at.expect("the name is in the header") + needle.len() + 4 + 8 * dims + 4 + 8
}

/// A key with a u32, and a text that keeps the data's alignment.
fn add_key(bytes: &mut Vec<u8>, key: &str, value: u32) {
    let entry = |key: &str, ty: u32, value: &[u8]| {
        let mut entry = (key.len() as u64).to_le_bytes().to_vec();
        entry.extend(key.as_bytes());
        entry.extend(ty.to_le_bytes());
        entry.extend(value);
        entry
    };
    let mut added = entry(key, 4, &value.to_le_bytes());
    let fixed = added.len() + entry("test.fill", 8, &[0; 8]).len();
    let fill = fixed.next_multiple_of(64) - fixed;
    let mut text = (fill as u64).to_le_bytes().to_vec();
    text.resize(8 + fill, b' ');
    added.extend(entry("test.fill", 8, &text));
    bytes.splice(24..24, added);
    let n = u64::from_le_bytes(bytes[16..24].try_into().expect("eight bytes"));
    bytes[16..24].copy_from_slice(&(n + 2).to_le_bytes());
}

fn damage_directory(good: &[u8], index: usize, random: &mut Random) -> Damage {
    let [config, file] = parts::<2>(good);
    let (mut config, mut file) = (config.to_vec(), file.to_vec());
    let length = u64::from_le_bytes(file[..8].try_into().expect("eight bytes"));
    let header_end = 8 + usize::try_from(length).expect("a small header");
    let header: Value =
        serde_json::from_slice(&file[8..header_end]).expect("a seed is a good file");
    let names: Vec<String> = header
        .as_object()
        .map(|entries| {
            entries
                .keys()
                .filter(|name| *name != "__metadata__")
                .cloned()
                .collect()
        })
        .unwrap_or_default();
    let rewritten = |header: &Value| {
        let text = header.to_string();
        let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
        bytes.extend(text.as_bytes());
        bytes.extend(&good[config_len(good)..][header_end..]);
        bytes
    };
    let (kind, refused) = match index % 6 {
        0 => {
            let end = config.len();
            flips(&mut config, end, random);
            ("bits of config.json", false)
        }
        1 => {
            flips(&mut file, header_end, random);
            ("bits of the header", false)
        }
        2 => {
            file.truncate(random.below(file.len()));
            ("cut short", true)
        }
        3 => {
            let mut moved = header.clone();
            let from = random.below(names.len());
            let to = (from + 1 + random.below(names.len() - 1)) % names.len();
            moved[&names[from]]["data_offsets"] = header[&names[to]]["data_offsets"].clone();
            file = rewritten(&moved);
            ("one tensor over another", true)
        }
        4 => {
            let mut renamed = header.clone();
            if let Some(entries) = renamed.as_object_mut() {
                let name = &names[random.below(names.len())];
                let info = entries.remove(name).unwrap_or_default();
                entries.insert(format!("{name}z"), info);
            }
            file = rewritten(&renamed);
            ("a tensor renamed", true)
        }
        _ => {
            let keys = [
                ("attention_bias", json!(true)),
                ("sliding_window", json!(7)),
                ("logit_scale", json!(0.5)),
                ("rope_scaling", json!({"type": "longrope", "factor": 4.0})),
                ("num_local_experts", json!(8)),
                ("final_logit_softcapping", json!(30.0)),
            ];
            let (key, value) = &keys[random.below(keys.len())];
            let mut changed: Value =
                serde_json::from_slice(&config).expect("a seed is a good file");
            changed[*key] = value.clone();
            config = changed.to_string().into_bytes();
            ("a key not computed", true)
        }
    };
    // The separator is no byte of UTF-8, but a flipped bit may make one: that input has other
    // parts, and is as good.
    Damage {
        kind,
        refused,
        bytes: [&config[..], &file[..]].join(&SEPARATOR),
    }
}

fn config_len(input: &[u8]) -> usize {
    let at = input.iter().position(|&byte| byte == SEPARATOR);
    at.map_or(0, |at| at + 1)
}
