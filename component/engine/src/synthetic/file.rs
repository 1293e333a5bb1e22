//! A GGUF file of a named shape with random weights: to measure loading and serving without a
//! download, here and with other programs.
//!
//! Tensors are made a piece at a time while they are written, so that memory stays small whatever
//! the file's size. The same shape, types and seed give the same bytes everywhere.

use std::io::Write;

use super::blocks::Blocks;
use super::file_type::{FileType, TableType};
use super::{Random, byte_characters, known_shape};
use crate::config::{GENERAL_ARCHITECTURE, LLAMA, ModelConfig, QWEN3, bad};
use crate::convert::{ConvertError, metadata_of_shape};
use crate::error::LoadError;
use crate::files::gguf_tokenizer::{self, CHAT_TEMPLATE};
use crate::files::gguf_write::{Entry, GgufWriter, TensorPlan};
use crate::files::{LINEAR_SCALES, PARTS, TensorId, ggml_id, linear_shape, norm_len, tensor_error};
use crate::tokenizer::GgufTokenizer;

/// What a file of random weights is to hold.
#[derive(Clone, Copy, Debug)]
pub struct FileOptions {
    /// The type of its matrices.
    pub weights: FileType,
    /// The type of embedding and head; `None`: as published files have it beside that type.
    pub table: Option<TableType>,
    /// Layers, in place of the shape's.
    pub layers: Option<usize>,
    /// The seed of its random weights.
    pub seed: u64,
}

/// Write a model of shape `name` to `out`, unbuffered. `progress` gets (bytes written, bytes in
/// all), of tensors alone. Returns the tensors' bytes.
///
/// # Errors
/// `ConvertError::Load` for an unknown shape, a type that no file of the shape's architecture has,
/// or rows that are no whole blocks; `ConvertError::Write`, with an empty path, is `out`'s.
pub fn write<W: Write>(
    name: &str,
    options: &FileOptions,
    out: W,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<u64, ConvertError> {
    let (mut config, tied) = known_shape(name)?;
    config.n_layers = options.layers.unwrap_or(config.n_layers);
    config.bos_token = None;
    config.validate()?;
    check(&config, options)?;
    let tensors = tensors(&config, tied, options)?;
    let title = format!("synthetic {name} {}", options.weights.name());
    let metadata = metadata(&config, title)?;
    let plans: Vec<TensorPlan> = tensors.iter().map(|(plan, _)| plan.clone()).collect();
    let total: u64 = plans.iter().map(|plan| plan.n_bytes as u64).sum();
    let failed = |source| ConvertError::Write {
        path: "".into(),
        source,
    };
    let mut writer = GgufWriter::new(out, &metadata, &plans).map_err(failed)?;
    let (mut random, mut done) = (Random(options.seed), 0);
    let mut piece = Vec::new();
    for (plan, kind) in &tensors {
        let mut left = plan.n_bytes;
        while left > 0 {
            progress(done, total);
            kind.next(&mut random, left, &mut piece);
            writer.append(&piece).map_err(failed)?;
            left -= piece.len();
            done += piece.len() as u64;
        }
        writer.pad().map_err(failed)?;
    }
    writer.into_inner().flush().map_err(failed)?;
    progress(total, total);
    Ok(total)
}

/// Refuse what no reader takes.
fn check(config: &ModelConfig, options: &FileOptions) -> Result<(), LoadError> {
    let architecture = &config.architecture;
    let like = match options.table {
        Some(TableType::Like(ty)) => ty,
        _ => options.weights,
    };
    let taken = |ty: FileType| match architecture.as_str() {
        QWEN3 => true,
        // The id means something else there.
        LLAMA => ty != FileType::Pq2_0,
        _ => !ty.in_groups(),
    };
    match [options.weights, like].into_iter().find(|&ty| !taken(ty)) {
        Some(ty) => Err(bad(
            "type",
            format!(
                "{} has a scale for each group, which is not read in models of architecture \
                 {architecture}: take i2_s or f16, or a bonsai shape",
                ty.name()
            ),
        )),
        None => Ok(()),
    }
}

/// How a tensor's bytes are made.
enum Kind {
    /// A norm: ones.
    Ones,
    /// A matrix of weights of about this size, and after them the tensor's scales.
    Blocks(Blocks, f32, Vec<u8>),
}

impl Kind {
    /// Bytes of a piece, at most.
    const PIECE: usize = 1 << 20;

    /// The next bytes of a tensor that has `left` to come.
    fn next(&self, random: &mut Random, left: usize, piece: &mut Vec<u8>) {
        piece.clear();
        match self {
            Kind::Ones => piece.extend(1f32.to_le_bytes().repeat(left / 4)),
            Kind::Blocks(blocks, size, tail) => {
                if left == tail.len() {
                    piece.extend(tail);
                    return;
                }
                let most = Self::PIECE / blocks.bytes * blocks.bytes;
                piece.resize(most.min(left - tail.len()), 0);
                blocks.fill(random, *size, piece);
            }
        }
    }
}

fn tensors(
    config: &ModelConfig,
    tied: bool,
    options: &FileOptions,
) -> Result<Vec<(TensorPlan, Kind)>, LoadError> {
    let grouped = config.architecture == QWEN3;
    let table = options
        .table
        .unwrap_or_else(|| options.weights.table(grouped));
    let table = |id: TensorId| {
        let (rows, cols) = (config.vocab_size, config.hidden_size);
        let size = size_of_weights(options.weights, cols);
        matrix(id, [rows, cols], Blocks::of_table(table), size)
    };
    let norm = |id: TensorId, len: usize| {
        let plan = TensorPlan {
            name: id.gguf(),
            shape: vec![len],
            ty: ggml_id::F32,
            n_bytes: 4 * len,
        };
        (plan, Kind::Ones)
    };
    let mut tensors = vec![table(TensorId::Embedding)?];
    for index in 0..config.n_layers {
        for part in PARTS {
            let id = TensorId::Block(index, part);
            if let Some(len) = norm_len(config, part) {
                tensors.push(norm(id, len));
            }
            if let Some((rows, cols)) = linear_shape(config, part) {
                let blocks = Blocks::of_matrix(options.weights);
                let size = size_of_weights(options.weights, cols);
                tensors.push(matrix(id, [rows, cols], blocks, size)?);
            }
        }
    }
    tensors.push(norm(TensorId::OutputNorm, config.hidden_size));
    if !tied {
        tensors.push(table(TensorId::Head)?);
    }
    Ok(tensors)
}

/// The scale that makes a matrix's output as large as its input.
fn size_of_weights(ty: FileType, cols: usize) -> f32 {
    let not_zero = if ty == FileType::Q1_0 { 1.0 } else { 1.5 };
    #[allow(clippy::cast_precision_loss, reason = "a scale")]
    let cols = cols as f32;
    (not_zero / cols).sqrt()
}

fn matrix(
    id: TensorId,
    [rows, cols]: [usize; 2],
    blocks: Blocks,
    size: f32,
) -> Result<(TensorPlan, Kind), LoadError> {
    let i2_s = blocks.id == ggml_id::I2_S;
    // I2_S's blocks run across the ends of rows.
    let run = if i2_s { rows * cols } else { cols };
    if !run.is_multiple_of(blocks.weights) {
        return Err(tensor_error(
            &id.gguf(),
            format!(
                "{} weights are no whole blocks of {}: take another type for this shape",
                run, blocks.weights
            ),
        ));
    }
    let tail = if i2_s {
        size.to_le_bytes().repeat(LINEAR_SCALES)
    } else {
        Vec::new()
    };
    let plan = TensorPlan {
        name: id.gguf(),
        shape: vec![rows, cols],
        ty: blocks.id,
        n_bytes: rows * cols / blocks.weights * blocks.bytes + tail.len(),
    };
    Ok((plan, Kind::Blocks(blocks, size, tail)))
}

/// Tokens after the 256 bytes.
const SPECIAL: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
const ENDS: [u32; 2] = [258, 256];

/// ChatML.
const TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + \
                        message.content + '<|im_end|>\\n' }}{% endfor %}{% if \
                        add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

fn metadata(config: &ModelConfig, title: String) -> Result<Vec<(String, Entry)>, ConvertError> {
    let text = |key: &str, value: String| (key.to_owned(), Entry::String(value));
    let mut entries = vec![
        text(GENERAL_ARCHITECTURE, config.architecture.clone()),
        text("general.name", title),
        ("general.quantization_version".to_owned(), Entry::U32(2)),
    ];
    entries.extend(metadata_of_shape(config, &config.architecture)?);
    entries.extend(gguf_tokenizer::entries(vocabulary(config)));
    entries.push(("tokenizer.ggml.eot_token_id".into(), Entry::U32(ENDS[1])));
    entries.push(text(CHAT_TEMPLATE, TEMPLATE.into()));
    Ok(entries)
}

/// Bytes, the special tokens, and words of no sense up to the vocabulary's size: text becomes
/// bytes, since there are no merges, and most of what is generated is words.
fn vocabulary(config: &ModelConfig) -> GgufTokenizer {
    let mut tokens = byte_characters();
    tokens.extend(SPECIAL.map(String::from));
    let special = 256..tokens.len();
    let missing = config.vocab_size.saturating_sub(tokens.len());
    tokens.extend((0..missing).map(word));
    tokens.truncate(config.vocab_size);
    let kind = |id: usize| if special.contains(&id) { 3 } else { 1 };
    GgufTokenizer {
        model: "gpt2".into(),
        pre: Some(
            if config.architecture == QWEN3 {
                "qwen2"
            } else {
                "gpt-2"
            }
            .into(),
        ),
        token_types: (0..tokens.len()).map(kind).collect(),
        tokens,
        eos_id: Some(ENDS[0]),
        add_bos: Some(false),
        ..GgufTokenizer::default()
    }
}

/// A space and four letters, another for each index below 26^4.
fn word(index: usize) -> String {
    // GPT-2's character for a space.
    let mut word = String::from("\u{120}");
    for place in [17_576, 676, 26, 1] {
        #[allow(clippy::cast_possible_truncation, reason = "below 26")]
        word.push(char::from(b'a' + (index / place % 26) as u8));
    }
    word
}

#[cfg(test)]
mod tests {
    use sterna_kernels::{DenseType, GroupCodes};

    use super::*;
    use crate::matrix::{Matrix, Table};
    use crate::model::Model;

    fn options(weights: FileType) -> FileOptions {
        FileOptions {
            weights,
            table: None,
            layers: Some(1),
            seed: 7,
        }
    }

    fn file(shape: &str, options: FileOptions) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        let (mut last, mut of) = (0, 0);
        let mut progress = |done, total| {
            assert!(last <= done && done <= total);
            (last, of) = (done, total);
        };
        let written = write(shape, &options, &mut bytes, &mut progress);
        let written = written.map_err(|error| error.to_string())?;
        assert_eq!((written, last, of), (written, written, written));
        Ok(bytes)
    }

    fn load(shape: &str, options: FileOptions) -> Model {
        let bytes = file(shape, options).unwrap();
        Model::from_gguf_bytes("synthetic", bytes.into()).unwrap()
    }

    /// Magnitudes of a row of a group-scaled or dense table.
    fn magnitudes(row: &[f32]) -> std::collections::BTreeSet<u32> {
        row.iter().map(|x| x.abs().to_bits()).collect()
    }

    #[test]
    fn every_type_of_group_loads_as_it_is() {
        use FileType::{F16, Pq2_0, Q1_0, Q2_0, Q2_0G64, Tq1_0, Tq2_0};
        let types = [
            (Q1_0, GroupCodes::Binary, 128),
            (Q2_0, GroupCodes::Ternary, 128),
            (Q2_0G64, GroupCodes::Ternary, 64),
            (Pq2_0, GroupCodes::Ternary, 128),
            (Tq1_0, GroupCodes::Ternary, 256),
            (Tq2_0, GroupCodes::Ternary, 256),
            (F16, GroupCodes::Ternary, 128),
        ];
        for (ty, codes, group) in types {
            let model = load("bonsai-tiny", options(ty));
            assert_eq!(model.weights.layers.len(), 1);
            let Matrix::Grouped(down) = &model.weights.layers[0].down else {
                panic!("{ty:?} is not in groups");
            };
            assert_eq!((down.shape().codes(), down.shape().group()), (codes, group));
            let mut row = vec![0.0; down.shape().cols()];
            down.view().row(100, &mut row);
            let share = |value: f32| {
                let n = row
                    .iter()
                    .filter(|x| x.signum() * f32::from(**x != 0.0) == value);
                n.count() as f32 / row.len() as f32
            };
            let third = 1.0
                / if codes == GroupCodes::Ternary {
                    3.0
                } else {
                    2.0
                };
            for (sign, expected) in [(1.0, third), (-1.0, third), (0.0, 1.0 - 2.0 * third)] {
                assert!(
                    (share(sign) - expected).abs() < 0.06,
                    "{ty:?}: {}",
                    share(sign)
                );
            }
            let largest = row.iter().fold(0f32, |largest, x| largest.max(x.abs()));
            let size = size_of_weights(ty, row.len());
            assert!(
                (0.74 * size..1.26 * size).contains(&largest),
                "{ty:?}: {largest}"
            );
            let magnitudes = magnitudes(&row).len();
            let scales = if ty == F16 { 1 } else { row.len() / group };
            let zero = usize::from(codes == GroupCodes::Ternary);
            assert!(
                (scales - 1..=scales).contains(&(magnitudes - zero)),
                "{ty:?}"
            );
            let dense = matches!(model.weights.embedding, Table::Dense(_));
            assert_eq!(dense, [Tq1_0, Tq2_0].contains(&ty), "{ty:?}");
        }
    }

    #[test]
    fn one_scale_a_matrix_loads_in_every_architecture() {
        for shape in ["tiny", "bonsai-tiny"] {
            let model = load(shape, options(FileType::I2S));
            let linear = model.weights.layers[0].gate.ternary().unwrap();
            assert_eq!(
                linear.scale(),
                size_of_weights(FileType::I2S, linear.cols())
            );
            assert!(matches!(model.weights.embedding, Table::Dense(_)));
        }
        let model = load("tiny", options(FileType::F16));
        assert!(model.weights.layers[0].up.ternary().is_some());
    }

    #[test]
    fn every_table_has_sane_weights() {
        use DenseType::{Bf16, F16, F32, Q6K, Q8_0};
        let dense = [F32, F16, Bf16, Q8_0, Q6K].map(TableType::Dense);
        for table in dense.into_iter().chain([TableType::Q4_0, TableType::Q4K]) {
            for (shape, weights) in [("tiny", FileType::I2S), ("bonsai-tiny", FileType::Tq2_0)] {
                let table = Some(table);
                let model = load(
                    shape,
                    FileOptions {
                        table,
                        ..options(weights)
                    },
                );
                let mut row = vec![0.0; model.config.hidden_size];
                model.weights.embedding.view().row(7, &mut row);
                let largest = row.iter().fold(0f32, |largest, x| largest.max(x.abs()));
                assert!((0.01..0.3).contains(&largest), "{table:?}: {largest}");
                assert!(magnitudes(&row).len() > 6, "{table:?}");
            }
        }
    }

    #[test]
    fn the_seed_decides_and_text_goes_through() {
        let bytes = |seed| {
            file(
                "tiny",
                FileOptions {
                    seed,
                    ..options(FileType::I2S)
                },
            )
            .unwrap()
        };
        assert_eq!(bytes(1), bytes(1));
        let different = bytes(1)
            .iter()
            .zip(bytes(2))
            .filter(|(a, b)| **a != *b)
            .count();
        assert!(different > bytes(1).len() / 3, "{different}");

        let model = load("bonsai-tiny", options(FileType::Q1_0));
        let ids = model.tokenize("hé<|im_end|>", false).unwrap();
        assert_eq!(ids, [104, 195, 169, 258]);
        assert_eq!(model.tokenizer.decode(&[300, 301]), " aabp aabq");
        assert_eq!(model.config.eos_tokens, [258, 256]);
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let refused = |shape: &str, options: FileOptions| file(shape, options).unwrap_err();
        let tq2 = options(FileType::Tq2_0);
        assert!(refused("tiny", tq2).contains("tq2_0 has a scale for each group"));
        let pq2 = options(FileType::Pq2_0);
        assert!(refused("llama3-8b-1.58", pq2).contains("architecture llama"));
        let like = Some(TableType::Like(FileType::Q1_0));
        let i2_s = options(FileType::I2S);
        assert!(
            refused(
                "tiny",
                FileOptions {
                    table: like,
                    ..i2_s
                }
            )
            .contains("q1_0")
        );
        assert!(refused("bonsai-9b", tq2).contains("bonsai-8b"));
        assert!(
            refused(
                "bonsai-tiny",
                FileOptions {
                    layers: Some(0),
                    ..tq2
                }
            )
            .contains("n_layers")
        );
        let q6_k = Some(TableType::Dense(DenseType::Q6K));
        let odd = refused(
            "bitnet-3b",
            FileOptions {
                table: q6_k,
                ..i2_s
            },
        );
        assert!(
            odd.contains("token_embd.weight") && odd.contains("256"),
            "{odd}"
        );
    }
}
