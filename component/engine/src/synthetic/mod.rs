//! A model of a named shape with random weights, made in memory: to measure speed without a
//! download.
//!
//! Its text is noise, but every byte is read and every step computed as in a real model. The same
//! shape and seed give the same weights everywhere.

mod blocks;
mod file;
mod file_type;
mod shapes;

use sterna_kernels::{DenseType, GroupCodes, GroupShape, Ternary};

pub use self::file::{FileOptions, write};
pub use self::file_type::{FileType, TableType};
pub use self::shapes::{SHAPES, shape};

use self::shapes::known_shape;
use crate::config::{ModelConfig, SamplingDefaults, bad};
use crate::constraint::Constraints;
use crate::error::LoadError;
use crate::files::{TensorId, tensor_error};
use crate::group_scaled::GroupedWeights;
use crate::matrix::{Matrix, Table};
use crate::model::Model;
use crate::template::{ChatTemplate, STORY};
use crate::tokenizer::{GgufTokenizer, Tokenizer};
use crate::weights::{DenseWeights, Layer, Linear, Weights};

/// The storage of a model's matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Ternary linears with one scale; embedding and head of this type.
    Ternary(DenseType),
    /// Every matrix in such codes, with a scale for each 128 weights.
    Groups(GroupCodes),
}

impl From<DenseType> for Stored {
    fn from(head: DenseType) -> Self {
        Stored::Ternary(head)
    }
}

impl Stored {
    /// As a named shape's published model is, where nobody says: Bonsai's in ternary groups, others
    /// ternary with a table of type `head`.
    #[must_use]
    pub fn of_shape(name: &str, head: DenseType) -> Self {
        if name.starts_with("bonsai-") {
            Stored::Groups(GroupCodes::Ternary)
        } else {
            Stored::Ternary(head)
        }
    }
}

/// Weights of a group.
const GROUP: usize = 128;

/// Its token ids: one for each byte, then this one.
const BOS: u32 = 256;

/// A model of a named shape. The head is tied where the published model's is.
///
/// # Errors
/// `LoadError::Config` for an unknown name; else as [`from_config`].
pub fn model(name: &str, stored: impl Into<Stored>) -> Result<Model, LoadError> {
    let (config, tied) = known_shape(name)?;
    from_config(name, config, tied, stored, 0)
}

/// Random weights for `config`, the embedding (and head, where `tied` is false) stored as `stored`
/// says.
///
/// # Errors
/// `LoadError::Config` for an impossible shape, `LoadError::Tensor` where rows of `hidden_size` are
/// no whole blocks, or a row no whole groups.
pub fn from_config(
    id: &str,
    config: ModelConfig,
    tied: bool,
    stored: impl Into<Stored>,
    seed: u64,
) -> Result<Model, LoadError> {
    config.validate()?;
    let stored = stored.into();
    let mut random = Random(seed);
    let tokenizer = byte_tokenizer()?;
    let template = ChatTemplate::new(Some(STORY), "<s>", "");
    let (vocab, hidden) = (config.vocab_size, config.hidden_size);
    let embedding = random.table(TensorId::Embedding, stored, vocab, hidden)?;
    let head = if tied {
        None
    } else {
        Some(random.table(TensorId::Head, stored, vocab, hidden)?)
    };
    let layers = (0..config.n_layers)
        .map(|_| random.layer(&config, stored))
        .collect::<Result<_, _>>()?;
    let weights = Weights {
        embedding,
        head,
        output_norm: vec![1.0; hidden],
        layers,
    };
    let defaults = SamplingDefaults::default();
    Ok(Model {
        id: id.to_owned(),
        config,
        weights,
        tokenizer,
        template,
        defaults,
        fingerprint: String::new(),
        warnings: Vec::new(),
        constraints: Constraints::default(),
    })
}

/// As [`model`], with a share of its feed-forward activations exactly zero, as training makes those
/// of squared ReLU: random gates are negative half of the time, and rows of nothing but zeros,
/// spread at random, make the rest. A share below 0.5 leaves the model as it is.
///
/// The rows are the same for all tokens, so several sequences share more of their zeros than in a
/// trained model.
///
/// # Errors
/// As [`model`]; `LoadError::Config` where `zeros` is no share.
pub fn sparse_model(name: &str, stored: impl Into<Stored>, zeros: f64) -> Result<Model, LoadError> {
    let mut model = model(name, stored)?;
    make_zeros(&mut model, zeros)?;
    Ok(model)
}

/// Blank rows of the gates until `share` of the activations is zero; see [`sparse_model`].
///
/// # Errors
/// `LoadError::Config` where `share` is no share.
pub fn make_zeros(model: &mut Model, share: f64) -> Result<(), LoadError> {
    if !(0.0..=1.0).contains(&share) {
        return Err(bad("zeros", format!("{share} is no share between 0 and 1")));
    }
    // Four codes of weight 0.
    const ZEROS: u8 = 0b_01_01_01_01;
    let mut random = Random(1);
    for (index, layer) in model.weights.layers.iter_mut().enumerate() {
        let Some(gate) = layer.gate.ternary_mut() else {
            continue;
        };
        let mut packed = gate.packed().to_vec();
        for row in packed.chunks_exact_mut(Ternary::row_bytes(gate.cols())) {
            #[allow(clippy::cast_precision_loss, reason = "a number between 0 and 1")]
            if (random.next() as f64) < (2.0 * share - 1.0) * 2f64.powi(64) {
                row.fill(ZEROS);
            }
        }
        *gate = Linear::new(gate.rows(), gate.cols(), packed.into(), gate.scale())
            .map_err(|reason| tensor_error(&format!("layer {index}'s gate"), reason))?;
    }
    Ok(())
}

/// GPT-2's characters for the bytes, in order.
fn byte_characters() -> Vec<String> {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let mut next = 0x100;
    let characters = (0..=255u8).filter_map(|byte| {
        if printable(byte) {
            return Some(char::from(byte));
        }
        next += 1;
        char::from_u32(next - 1)
    });
    characters.map(String::from).collect()
}

/// One token for each byte, and a beginning-of-sequence token.
fn byte_tokenizer() -> Result<Tokenizer, LoadError> {
    let mut tokens = byte_characters();
    tokens.push("<s>".into());
    let mut token_types = vec![1; tokens.len()];
    token_types[BOS as usize] = 3;
    Tokenizer::from_gguf(GgufTokenizer {
        model: "gpt2".into(),
        pre: Some("gpt-2".into()),
        tokens,
        token_types,
        bos_id: Some(BOS),
        add_bos: Some(true),
        ..GgufTokenizer::default()
    })
}

/// SplitMix64 (Steele, Lea, Flood 2014): 8 bytes in a few cycles, every seed as good as another.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        self.fill(&mut bytes);
        bytes
    }

    /// About as many -1 as 1, and a third zeros; scaled so that the output is as large as the
    /// input.
    fn linear(&mut self, rows: usize, cols: usize) -> Result<Linear, LoadError> {
        let mut packed = self.bytes(rows * Ternary::row_bytes(cols));
        let codes = byte_codes();
        for byte in &mut packed {
            *byte = codes[usize::from(*byte)];
        }
        // Places past a row's end meet activations that are zero, so their codes need no care.
        #[allow(clippy::cast_precision_loss, reason = "a scale")]
        let scale = (1.5 / cols as f32).sqrt();
        Linear::new(rows, cols, packed.into(), scale)
            .map_err(|reason| tensor_error("synthetic", reason))
    }

    /// Codes at random with one scale, so that the output is as large as the input.
    fn grouped(
        &mut self,
        codes: GroupCodes,
        rows: usize,
        cols: usize,
    ) -> Result<GroupedWeights, LoadError> {
        let fail = |reason: String| tensor_error("synthetic", reason);
        let shape = GroupShape::new(rows, cols, GROUP, codes);
        let shape = shape.map_err(|error| fail(error.to_string()))?;
        #[allow(clippy::cast_precision_loss, reason = "a scale")]
        let variance = match codes {
            GroupCodes::Binary => 1.0 / cols as f32,
            GroupCodes::Ternary | GroupCodes::Trits8 => 1.5 / cols as f32,
        };
        let scale = half::f16::from_f32(variance.sqrt()).to_le_bytes();
        let packed = GroupedWeights::filled(shape, |tiles| {
            for group in tiles.chunks_exact_mut(shape.tile_bytes() / shape.groups()) {
                // 16 rows' codes, then their scales.
                let (bytes, scales) = group.split_at_mut(shape.code_bytes());
                self.fill(bytes);
                codes.spread(bytes);
                scales.as_chunks_mut().0.fill(scale);
            }
        });
        packed.map_err(fail)
    }

    fn matrix(&mut self, stored: Stored, rows: usize, cols: usize) -> Result<Matrix, LoadError> {
        match stored {
            Stored::Ternary(_) => self.linear(rows, cols).map(Matrix::Ternary),
            Stored::Groups(codes) => self.grouped(codes, rows, cols).map(Matrix::Grouped),
        }
    }

    fn table(
        &mut self,
        id: TensorId,
        stored: Stored,
        rows: usize,
        cols: usize,
    ) -> Result<Table, LoadError> {
        match stored {
            Stored::Ternary(head) => self.dense(id, head, rows, cols).map(Table::Dense),
            Stored::Groups(codes) => self.grouped(codes, rows, cols).map(Table::Grouped),
        }
    }

    fn layer(&mut self, config: &ModelConfig, stored: Stored) -> Result<Layer, LoadError> {
        let (hidden, ffn, q, kv) = (
            config.hidden_size,
            config.ffn_size,
            config.q_size(),
            config.kv_size(),
        );
        Ok(Layer {
            attn_norm: vec![1.0; hidden],
            q: self.matrix(stored, q, hidden)?,
            k: self.matrix(stored, kv, hidden)?,
            v: self.matrix(stored, kv, hidden)?,
            q_norm: config.qk_norms.then(|| vec![1.0; config.head_dim]),
            k_norm: config.qk_norms.then(|| vec![1.0; config.head_dim]),
            attn_sub_norm: config.sub_norms.then(|| vec![1.0; q]),
            o: self.matrix(stored, hidden, q)?,
            ffn_norm: vec![1.0; hidden],
            gate: self.matrix(stored, ffn, hidden)?,
            up: self.matrix(stored, ffn, hidden)?,
            ffn_sub_norm: config.sub_norms.then(|| vec![1.0; ffn]),
            down: self.matrix(stored, hidden, ffn)?,
            input_norms: None,
            attn_post_norm: None,
            ffn_post_norm: None,
            window: None,
        })
    }

    /// Random bits in each type's own layout.
    fn dense(
        &mut self,
        id: TensorId,
        ty: DenseType,
        rows: usize,
        cols: usize,
    ) -> Result<DenseWeights, LoadError> {
        let fail = |reason| tensor_error(&id.gguf(), reason);
        let row_bytes = ty.row_bytes(cols).ok_or_else(|| {
            fail(format!(
                "rows of {cols} are no whole blocks of {}",
                ty.name()
            ))
        })?;
        let mut bytes = self.bytes(rows * row_bytes);
        hold(ty, &mut bytes);
        DenseWeights::new(ty, rows, cols, bytes.into()).map_err(fail)
    }
}

/// Random bytes of whole blocks, with exponents and scales held to weights of about 0.02.
fn hold(ty: DenseType, bytes: &mut [u8]) {
    match ty {
        // sign, then the exponent of 2^-6, then a random mantissa
        DenseType::F32 => bytes
            .as_chunks_mut::<4>()
            .0
            .iter_mut()
            .for_each(|[.., b, a]| {
                (*a, *b) = (*a & 0x80 | 0x3c, *b & 0x7f | 0x80);
            }),
        DenseType::Bf16 => bytes.as_chunks_mut::<2>().0.iter_mut().for_each(|[b, a]| {
            (*a, *b) = (*a & 0x80 | 0x3c, *b & 0x7f | 0x80);
        }),
        DenseType::F16 => bytes
            .as_chunks_mut::<2>()
            .0
            .iter_mut()
            .for_each(|[_, a]| *a = *a & 0x83 | 0x24),
        DenseType::Q8_0 => {
            let scale = half::f16::from_f32(0.03 / 127.0).to_le_bytes();
            for block in bytes.chunks_exact_mut(34) {
                block[..2].copy_from_slice(&scale);
            }
        }
        DenseType::Q6K => {
            let scale = half::f16::from_f32(0.03 / 32.0 / 64.0).to_le_bytes();
            for block in bytes.chunks_exact_mut(210) {
                block[192..208].fill(64);
                block[208..].copy_from_slice(&scale);
            }
        }
    }
}

/// For each random byte one of the 81 bytes whose four codes are all 0, 1 or 2.
fn byte_codes() -> [u8; 256] {
    std::array::from_fn(|byte| {
        let mut trits = byte * 81 / 256;
        (0..4).fold(0, |packed, _| {
            let code = trits % 3;
            trits /= 3;
            #[allow(clippy::cast_possible_truncation, reason = "0 to 2")]
            let code = code as u8;
            packed << 2 | code
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_is_sound_and_has_the_published_size() {
        for name in SHAPES {
            shape(name).unwrap().validate().unwrap();
        }
        let config = shape("bitnet-2b-4t").unwrap();
        let linears = config.n_layers * (2 * 2560 * 2560 + 2 * 640 * 2560 + 3 * 6912 * 2560);
        assert_eq!(linears, 2_084_044_800);
        assert!(
            model("bitnet-9b", DenseType::F16)
                .unwrap_err()
                .to_string()
                .contains("bitnet-2b-4t")
        );
    }

    #[test]
    fn the_same_every_time_and_all_codes_are_trits() {
        let make = || model("tiny", DenseType::Q8_0).unwrap();
        let (a, b) = (make(), make());
        assert_eq!(
            a.weights.layers[3].down.bytes()[..],
            b.weights.layers[3].down.bytes()[..]
        );
        assert_eq!(
            a.weights.embedding.bytes()[..],
            b.weights.embedding.bytes()[..]
        );
        let q = &a.weights.layers[0].q;
        assert!(
            q.bytes().iter().all(|byte| byte & (byte >> 1) & 0x55 == 0),
            "no code is 3"
        );
        assert_eq!(
            a.tokenizer.decode(&a.tokenize("hé\n", true).unwrap()),
            "hé\n"
        );
        assert_eq!(
            a.tokenize("a", true).unwrap(),
            [BOS, a.tokenize("a", false).unwrap()[0]]
        );
    }

    #[test]
    fn bonsais_have_their_published_sizes_in_groups() {
        let config = shape("bonsai-4b").unwrap();
        assert_ne!(config.q_size(), config.hidden_size);
        let mut small = shape("bonsai-1.7b").unwrap();
        (small.vocab_size, small.n_layers, small.ffn_size) = (300, 1, 384);
        for codes in GroupCodes::ALL {
            let stored = Stored::Groups(codes);
            let model = from_config("small", small.clone(), false, stored, 1).unwrap();
            assert!(model.weights.has_codes(codes));
            let mut row = vec![0.0; small.hidden_size];
            model.weights.head().view().row(299, &mut row);
            let kinds: std::collections::BTreeSet<u32> =
                row.iter().map(|x| x.abs().to_bits()).collect();
            let zeros = usize::from(codes != GroupCodes::Binary);
            assert_eq!(kinds.len(), 1 + zeros, "one magnitude, and zero");
        }
    }

    #[test]
    fn zeros_come_at_the_share_that_was_asked() {
        let mut thin = model("tiny", DenseType::Q8_0).unwrap();
        make_zeros(&mut thin, 0.9).unwrap();
        let gate = thin.weights.layers[2].gate.ternary().unwrap();
        let rows = gate.packed().chunks(Ternary::row_bytes(gate.cols()));
        let zeros = rows
            .filter(|row| row.iter().all(|byte| *byte == 0x55))
            .count();
        assert!((460..560).contains(&zeros), "{zeros} of 640, expected 512");
        assert!(make_zeros(&mut thin, 1.5).is_err());
        assert!(make_zeros(&mut thin, f64::NAN).is_err());
    }

    #[test]
    fn every_head_type_has_sane_weights() {
        for ty in [
            DenseType::F32,
            DenseType::F16,
            DenseType::Bf16,
            DenseType::Q8_0,
            DenseType::Q6K,
        ] {
            let model = model("tiny", ty).unwrap();
            let mut row = vec![0.0; 256];
            model.weights.embedding.view().row(7, &mut row);
            let largest = row.iter().fold(0f32, |largest, x| largest.max(x.abs()));
            assert!((0.01..0.05).contains(&largest), "{ty:?}: {largest}");
            assert!(
                row.iter().any(|&x| x > 0.0) && row.iter().any(|&x| x < 0.0),
                "{ty:?}"
            );
        }
    }
}
