//! Any model we can read -> a GGUF that we map in milliseconds: I2_S linears, which
//! bitnet.cpp-style tools read too, or the kernels' tiles where weights have a scale for each
//! group.
//!
//! One tensor at a time passes through memory. Whether floats are binary or ternary is known once
//! they are packed, so that the header is written again at the end. The file is written beside its
//! place, read back and renamed, so that nobody ever maps half a model.

mod blocks;
mod loss;
mod metadata;
mod sample;
mod stored;

use std::io::{BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use sterna_kernels::{GroupCodes, TernaryLayout};

pub(crate) use self::metadata::shape as metadata_of_shape;
pub(crate) use self::stored::kept_type;
pub use loss::Lossy;

use crate::config::{ModelConfig, RopePairs};
use crate::error::LoadError;
use crate::files::gguf_write::{self, GgufWriter, TensorPlan};
use crate::files::survey::{TypeCount, survey};
use crate::files::{
    self, BlockType, LoadOptions, OpenModel, PARTS, Part, TableType, TensorId, linear_shape,
    norm_len,
};
use crate::model::Model;
use sample::{Expected, Sample};
use stored::Stored;

/// The options of the output.
#[derive(Clone, Debug, Default)]
pub struct ConvertOptions {
    /// The storage type of embedding and head. `None`: F16, or what the source has where that is
    /// quantised or has a scale for each group.
    pub head: Option<TableType>,
    /// The layout of linears with one scale. `None`: as the source has them, and as I2_S where that
    /// is no layout of the kernels.
    pub layout: Option<TernaryLayout>,
    /// The codes of ternary matrices with a scale for each group: [`GroupCodes::Ternary`] or
    /// [`GroupCodes::Trits8`]. `None`: as the source has them, and in 2 bits where that is no
    /// layout of the kernels.
    pub groups: Option<GroupCodes>,
    /// Bytes that trits8 is to save: from the first on, ternary matrices with a scale for each
    /// group that are in two bits, and have no code that trits8 has not, are stored in it until it
    /// has saved so many. 0: none.
    pub save_by_trits8: u64,
    /// The type of binary and ternary matrices, for a file that other programs read too. `None`: a
    /// layout of the kernels.
    pub blocks: Option<BlockType>,
    /// With `blocks`: scales of several groups may become one, which makes the model worse.
    pub requantize: bool,
    /// `general.name`; the source's own if absent.
    pub name: Option<String>,
    /// `general.license`; the source's own if absent.
    pub license: Option<String>,
    /// The chat template (Jinja); the source's own if absent.
    pub chat_template: Option<String>,
    /// The options of reading the source.
    pub load: LoadOptions,
}

/// A record of what was written.
#[derive(Clone, Debug)]
pub struct ConvertReport {
    /// Size of the file.
    pub n_bytes: u64,
    /// The types of its tensors, the one with the most bytes first.
    pub types: Vec<TypeCount>,
    /// Tensors that are not exactly what they were.
    pub lossy: Vec<Lossy>,
    /// Things the user should know, for example that a type could not hold every value exactly.
    pub notes: Vec<String>,
}

/// Why a model could not be converted.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The source cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The GGUF cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// What was written is no whole model: a fault of this program, or of the disk.
    #[error("the file that was written cannot be read back: {0}")]
    ReadBack(LoadError),
    /// A GGUF cannot hold this model, or not with this option.
    #[error("{0}")]
    Unsupported(String),
}

/// Convert the model at `from` to a GGUF at `to`. `progress` gets (bytes written, bytes in all).
///
/// # Errors
/// `ConvertError`; whatever was at `to` before is then still there.
pub fn convert(
    from: &Path,
    to: &Path,
    options: &ConvertOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<ConvertReport, ConvertError> {
    // Packed as they will be stored.
    let load = LoadOptions {
        trits8: options.groups == Some(GroupCodes::Trits8),
        // What it writes are markers, whatever the vocabulary's types.
        chat_template: options
            .chat_template
            .clone()
            .or_else(|| options.load.chat_template.clone()),
        ..options.load.clone()
    };
    write(&files::open(from, &load)?, to, options, progress)
}

/// Check that a model of this shape has a place in a GGUF.
///
/// # Errors
/// `ConvertError::Unsupported`, as [`convert`] would end.
pub(crate) fn check(config: &ModelConfig) -> Result<(), ConvertError> {
    metadata::shape(config, metadata::architecture(config)?).map(|_| ())
}

/// Write a loaded model as a GGUF at `to`.
///
/// # Errors
/// As [`convert`].
pub fn save(
    model: &Model,
    to: &Path,
    options: &ConvertOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<ConvertReport, ConvertError> {
    let open = OpenModel {
        id: model.id.clone(),
        config: model.config.clone(),
        tied: model.weights.head.is_none(),
        tokenizer: model.tokenizer.clone(),
        template: model.template.clone(),
        defaults: model.defaults,
        warnings: model.warnings.clone(),
        general: vec![("general.name".into(), model.id.clone())],
        source: Box::new(model.weights.clone()),
    };
    write(&open, to, options, progress)
}

/// One tensor to come: what to ask the source for.
struct Step {
    id: TensorId,
    kind: Kind,
}

enum Kind {
    Norm { len: usize },
    Linear { rows: usize, cols: usize },
    Table { rows: usize, cols: usize },
}

fn write(
    model: &OpenModel,
    to: &Path,
    options: &ConvertOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<ConvertReport, ConvertError> {
    let steps = steps(model);
    let metadata = metadata::entries(model, options, has_trits5(model, options, &steps))?;
    let mut tensors: Vec<TensorPlan> = steps.iter().map(Step::guess).collect();
    let total: u64 = tensors.iter().map(|tensor| tensor.n_bytes as u64).sum();

    let partial = Partial::beside(to);
    let failed = |source| ConvertError::Write {
        path: partial.path.clone(),
        source,
    };
    let file = std::fs::File::create(&partial.path).map_err(failed)?;
    let out = BufWriter::with_capacity(1 << 20, file);
    let mut writer = GgufWriter::new(out, &metadata, &tensors).map_err(failed)?;
    let (mut done, mut notes) = (0, model.warnings.clone());
    let mut to_save = options.save_by_trits8;
    let (mut lossy, mut samples) = (Vec::new(), Vec::new());
    for (step, plan) in steps.iter().zip(&mut tensors) {
        progress(done, total);
        done += plan.n_bytes as u64;
        let mut stored = step.read(model, options)?;
        if to_save > 0 {
            let saved = stored.pack_as_trits8();
            to_save =
                to_save.saturating_sub(saved.map_err(|e| files::tensor_error(&plan.name, e))?);
        }
        (plan.ty, plan.n_bytes) = stored.ty_and_bytes();
        let loss = stored.write(&mut writer).map_err(failed)?;
        samples.push(stored.sample());
        let (from, to) = stored.types();
        lossy.extend(loss.report(&plan.name, &from, &to));
        if let Stored::Dense(_, ty) = stored {
            notes.extend(loss.note(&plan.name, &from, ty)?);
        }
        writer.pad().map_err(failed)?;
    }
    let mut out = writer.into_inner();
    out.rewind().map_err(failed)?;
    let header = gguf_write::header(&metadata, &tensors);
    out.write_all(&header).map_err(failed)?;
    out.flush().map_err(failed)?;
    let n_bytes = out.get_ref().metadata().map_err(failed)?.len();
    out.get_ref().sync_all().map_err(failed)?;
    drop(out);
    let types = read_back(&partial.path, model, &steps, &samples)?;
    partial.rename(to).map_err(|source| ConvertError::Write {
        path: to.to_owned(),
        source,
    })?;
    progress(total, total);
    Ok(ConvertReport {
        n_bytes,
        types,
        lossy,
        notes,
    })
}

/// Checks that the file is the model: every tensor is found, in its shape and size, and has the
/// weights that were to be written, as far as `samples` tell. Returns the types of its tensors.
fn read_back(
    path: &Path,
    model: &OpenModel,
    steps: &[Step],
    samples: &[Expected],
) -> Result<Vec<TypeCount>, ConvertError> {
    let fault = ConvertError::ReadBack;
    let written = files::open(path, &LoadOptions::default()).map_err(fault)?;
    let config = ModelConfig {
        architecture: written.config.architecture.clone(),
        rope_pairs: written.config.rope_pairs,
        ..model.config.clone()
    };
    if written.config != config || written.tied != model.tied {
        return Err(fault(files::damaged(
            path,
            "its configuration or its tied head is read otherwise than it was written",
        )));
    }
    for (step, sample) in steps.iter().zip(samples) {
        let (id, source) = (step.id, written.source.as_ref());
        let read = match step.kind {
            Kind::Norm { len } => source.norm(id, len).map(|norm| Sample::of_vector(&norm)),
            Kind::Linear { rows, cols } => {
                let matrix = source.linear(id, rows, cols);
                matrix.map(|matrix| Sample::of_matrix(&matrix))
            }
            Kind::Table { rows, cols } => {
                let table = source.table(id, rows, cols);
                table.map(|table| Sample::of_table(&table))
            }
        };
        if !sample.has(read.map_err(fault)?) {
            return Err(fault(files::tensor_error(
                &id.gguf(),
                "is read otherwise than it was written",
            )));
        }
    }
    Ok(survey(path).types)
}

fn steps(model: &OpenModel) -> Vec<Step> {
    let config = &model.config;
    let table = |id| Step {
        id,
        kind: Kind::Table {
            rows: config.vocab_size,
            cols: config.hidden_size,
        },
    };
    let mut steps = vec![table(TensorId::Embedding)];
    for index in 0..config.n_layers {
        for part in PARTS {
            let linear = linear_shape(config, part).map(|(rows, cols)| Kind::Linear { rows, cols });
            let norm = norm_len(config, part).map(|len| Kind::Norm { len });
            let id = TensorId::Block(index, part);
            steps.extend(linear.or(norm).map(|kind| Step { id, kind }));
        }
    }
    steps.push(Step {
        id: TensorId::OutputNorm,
        kind: Kind::Norm {
            len: config.hidden_size,
        },
    });
    if !model.tied {
        steps.push(table(TensorId::Head));
    }
    steps
}

/// True if a linear is stored as trits5.
fn has_trits5(model: &OpenModel, options: &ConvertOptions, steps: &[Step]) -> bool {
    let layout = |id| options.layout.unwrap_or_else(|| model.source.layout(id));
    let mut linears = steps
        .iter()
        .filter(|step| matches!(step.kind, Kind::Linear { .. }));
    options.blocks.is_none() && linears.any(|step| layout(step.id) == TernaryLayout::Trits5)
}

impl Step {
    /// Its entry in the header, before its type and its bytes are known.
    fn guess(&self) -> TensorPlan {
        let (shape, n_bytes) = match self.kind {
            Kind::Norm { len } => (vec![len], 4 * len),
            Kind::Linear { rows, cols } | Kind::Table { rows, cols } => {
                (vec![rows, cols], rows * cols / 4)
            }
        };
        TensorPlan {
            name: self.id.gguf(),
            shape,
            ty: 0,
            n_bytes,
        }
    }

    /// The tensor as it will be stored.
    fn read(&self, model: &OpenModel, options: &ConvertOptions) -> Result<Stored, ConvertError> {
        let (id, source) = (self.id, model.source.as_ref());
        match self.kind {
            Kind::Norm { len } => Ok(Stored::Norm(source.norm(id, len)?)),
            Kind::Linear { rows, cols } => {
                let mut matrix = source.linear(id, rows, cols)?;
                let turns = matches!(id, TensorId::Block(_, Part::Q | Part::K));
                if turns && metadata::makes_pairs_adjacent(&model.config) {
                    let width = model.config.head_dim;
                    let place = |row| RopePairs::adjacent_from_halves(row, width);
                    let turned = matrix.with_rows(&place);
                    matrix = turned.map_err(|reason| files::tensor_error(&id.gguf(), reason))?;
                }
                Stored::linear(matrix, options, &id.gguf())
            }
            Kind::Table { rows, cols } => {
                Stored::table(source.table(id, rows, cols)?, options, &id.gguf())
            }
        }
    }
}

/// A file that is removed unless it gets its name.
struct Partial {
    path: PathBuf,
}

impl Partial {
    fn beside(to: &Path) -> Self {
        let mut name = to.file_name().unwrap_or_default().to_owned();
        name.push(format!(".partial-{}", process_id()));
        Partial {
            path: to.with_file_name(name),
        }
    }

    fn rename(self, to: &Path) -> std::io::Result<()> {
        std::fs::rename(&self.path, to)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Absent after a rename; nothing better can be done about other failures here.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn process_id() -> u32 {
    // wasm has no processes, and panics when asked.
    if cfg!(target_family = "wasm") {
        0
    } else {
        std::process::id()
    }
}
