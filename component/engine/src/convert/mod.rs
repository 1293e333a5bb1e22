//! Any model we can read -> a GGUF with I2_S linears, which we map in milliseconds and
//! bitnet.cpp-style tools read too.
//!
//! One tensor at a time passes through memory. The file is written beside its place and renamed, so
//! that nobody ever maps half a model.

mod head;
mod metadata;

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use sterna_kernels::{DenseType, TernaryLayout};

pub(crate) use self::metadata::shape as metadata_of_shape;

use crate::config::ModelConfig;
use crate::error::LoadError;
use crate::files::gguf_write::{GgufWriter, TensorPlan};
use crate::files::{
    self, LINEAR_SCALES, LoadOptions, OpenModel, PARTS, TensorId, WeightSource, ggml_id,
    linear_shape, norm_len, tensor_error, to_i2s,
};
use crate::matrix::{Matrix, Table};
use crate::model::Model;
use crate::weights::{DenseWeights, Linear};

/// Weights of one I2_S block.
const I2_S_BLOCK: usize = 128;

const GROUPED: &str = "a model whose weights have a scale for each group cannot be converted yet; serve its \
                       file as it is";

/// The options of the output.
#[derive(Clone, Debug, Default)]
pub struct ConvertOptions {
    /// The storage type of embedding and head. `None`: F16, or what the source has where that is
    /// quantised.
    pub head: Option<DenseType>,
    /// The layout of linears. `None`: as the source has them, and as I2_S where that is no layout
    /// of the kernels.
    pub layout: Option<TernaryLayout>,
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
    write(&files::open(from, &options.load)?, to, options, progress)
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

/// One tensor to come: what to ask the source for, and how it will be stored.
struct Step {
    id: TensorId,
    kind: Kind,
}

enum Kind {
    Norm {
        len: usize,
    },
    Linear {
        rows: usize,
        cols: usize,
        layout: TernaryLayout,
    },
    Dense {
        weights: DenseWeights,
        ty: DenseType,
    },
}

fn write(
    model: &OpenModel,
    to: &Path,
    options: &ConvertOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<ConvertReport, ConvertError> {
    let steps = steps(model, options)?;
    let trits5 = steps.iter().any(|step| step.kind.is_trits5());
    let metadata = metadata::entries(model, options, trits5)?;
    let tensors: Vec<TensorPlan> = steps.iter().map(Step::plan).collect();
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
    for (step, tensor) in steps.iter().zip(&tensors) {
        progress(done, total);
        match &step.kind {
            Kind::Norm { len } => {
                let norm = model.source.norm(step.id, *len)?;
                let bytes: Vec<u8> = norm.iter().flat_map(|x| x.to_le_bytes()).collect();
                writer.append(&bytes).map_err(failed)?;
            }
            Kind::Linear { rows, cols, layout } => {
                let Matrix::Ternary(linear) = model.source.linear(step.id, *rows, *cols)? else {
                    return Err(ConvertError::Unsupported(GROUPED.into()));
                };
                let linear = linear
                    .to_layout(*layout)
                    .map_err(|reason| tensor_error(&tensor.name, reason))?;
                write_linear(&mut writer, &linear).map_err(failed)?;
            }
            Kind::Dense { weights, ty } => {
                let loss = head::write(&mut writer, weights, *ty).map_err(failed)?;
                notes.extend(loss.note(&tensor.name, weights.ty(), *ty)?);
            }
        }
        writer.pad().map_err(failed)?;
        done += tensor.n_bytes as u64;
    }
    let mut out = writer.into_inner();
    out.flush().map_err(failed)?;
    let n_bytes = out.get_ref().metadata().map_err(failed)?.len();
    out.get_ref().sync_all().map_err(failed)?;
    drop(out);
    partial.rename(to).map_err(|source| ConvertError::Write {
        path: to.to_owned(),
        source,
    })?;
    progress(total, total);
    Ok(ConvertReport { n_bytes, notes })
}

fn steps(model: &OpenModel, options: &ConvertOptions) -> Result<Vec<Step>, ConvertError> {
    let OpenModel { config, source, .. } = model;
    let head = options.head;
    let mut steps = vec![dense_step(
        source.as_ref(),
        config,
        TensorId::Embedding,
        head,
    )?];
    for index in 0..config.n_layers {
        for part in PARTS {
            let id = TensorId::Block(index, part);
            let linear = linear_shape(config, part).map(|(rows, cols)| Kind::Linear {
                rows,
                cols,
                layout: options.layout.unwrap_or_else(|| source.layout(id)),
            });
            let norm = norm_len(config, part).map(|len| Kind::Norm { len });
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
        steps.push(dense_step(source.as_ref(), config, TensorId::Head, head)?);
    }
    Ok(steps)
}

fn dense_step(
    source: &dyn WeightSource,
    config: &ModelConfig,
    id: TensorId,
    head: Option<DenseType>,
) -> Result<Step, ConvertError> {
    let table = source.table(id, config.vocab_size, config.hidden_size)?;
    let Table::Dense(weights) = table else {
        return Err(ConvertError::Unsupported(GROUPED.into()));
    };
    let ty = head.unwrap_or(match weights.ty() {
        DenseType::F32 | DenseType::F16 | DenseType::Bf16 => DenseType::F16,
        quantised => quantised,
    });
    if ty.row_bytes(config.hidden_size).is_none() {
        return Err(ConvertError::Unsupported(format!(
            "a head of type {} needs rows of whole blocks, and the hidden size is {}; choose f16 or f32",
            ty.name(),
            config.hidden_size
        )));
    }
    Ok(Step {
        id,
        kind: Kind::Dense { weights, ty },
    })
}

impl Kind {
    fn is_trits5(&self) -> bool {
        matches!(
            self,
            Kind::Linear {
                layout: TernaryLayout::Trits5,
                ..
            }
        )
    }
}

impl Step {
    fn plan(&self) -> TensorPlan {
        let (shape, ty, n_bytes) = match &self.kind {
            Kind::Norm { len } => (vec![*len], ggml_id::F32, 4 * len),
            Kind::Linear { rows, cols, layout } => {
                let n = rows * cols;
                let scales = LINEAR_SCALES * size_of::<f32>();
                let (ty, n_bytes) = match layout {
                    TernaryLayout::Trits5 => {
                        (ggml_id::STERNA_TRITS5, layout.bytes(*rows, *cols) + scales)
                    }
                    TernaryLayout::I2S if n.is_multiple_of(I2_S_BLOCK) => {
                        (ggml_id::I2_S, n / 4 + scales)
                    }
                    TernaryLayout::I2S => (ggml_id::F32, 4 * n),
                };
                (vec![*rows, *cols], ty, n_bytes)
            }
            Kind::Dense { weights, ty } => {
                let row_bytes = ty.row_bytes(weights.cols()).unwrap_or_default();
                (
                    vec![weights.rows(), weights.cols()],
                    head::ggml_type(*ty),
                    weights.rows() * row_bytes,
                )
            }
        };
        TensorPlan {
            name: self.id.gguf(),
            shape,
            ty,
            n_bytes,
        }
    }
}

/// trits5; or I2_S, or floats on the grid where the weights do not fill its blocks: reading them
/// back gives the same trits and scale.
fn write_linear(writer: &mut GgufWriter<impl Write>, linear: &Linear) -> std::io::Result<()> {
    let (rows, cols, packed) = (linear.rows(), linear.cols(), linear.packed());
    let trits5 = linear.layout() == TernaryLayout::Trits5;
    if trits5 || (rows * cols).is_multiple_of(I2_S_BLOCK) {
        if trits5 || cols.is_multiple_of(I2_S_BLOCK) {
            writer.append(packed)?;
        } else {
            writer.append(&to_i2s(packed, rows, cols))?;
        }
        return writer.append(&linear.scale().to_le_bytes().repeat(LINEAR_SCALES));
    }
    let mut trits = vec![0i8; cols];
    for row in packed.chunks_exact(packed.len() / rows) {
        sterna_kernels::pack::unpack_row(row, cols, &mut trits);
        let floats: Vec<u8> = trits
            .iter()
            .flat_map(|&trit| (f32::from(trit) * linear.scale()).to_le_bytes())
            .collect();
        writer.append(&floats)?;
    }
    Ok(())
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
