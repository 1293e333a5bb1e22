//! The name of each tensor in each container.

/// A tensor of the model, whatever its container calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TensorId {
    Embedding,
    OutputNorm,
    Head,
    Block(usize, Part),
}

/// A tensor of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    AttnNorm,
    Q,
    K,
    V,
    QNorm,
    KNorm,
    AttnSubNorm,
    O,
    FfnNorm,
    Gate,
    Up,
    FfnSubNorm,
    Down,
    /// The norm of a linear's own input.
    QIn,
    KIn,
    VIn,
    OIn,
    GateIn,
    UpIn,
    DownIn,
    /// The norms of what the sub-layers add to the stream.
    AttnPostNorm,
    FfnPostNorm,
}

impl Part {
    /// The linear whose input it norms.
    pub(crate) fn normed_linear(self) -> Option<Part> {
        Some(match self {
            Part::QIn => Part::Q,
            Part::KIn => Part::K,
            Part::VIn => Part::V,
            Part::OIn => Part::O,
            Part::GateIn => Part::Gate,
            Part::UpIn => Part::Up,
            Part::DownIn => Part::Down,
            _ => return None,
        })
    }
}

impl TensorId {
    /// True if it is a ternary matrix.
    pub(crate) fn is_linear(self) -> bool {
        use Part::{Down, Gate, K, O, Q, Up, V};
        matches!(self, TensorId::Block(_, Q | K | V | O | Gate | Up | Down))
    }

    /// The name in a GGUF, without `.weight`.
    pub(crate) fn gguf_base(self) -> String {
        match self {
            TensorId::Embedding => "token_embd".into(),
            TensorId::OutputNorm => "output_norm".into(),
            TensorId::Head => "output".into(),
            TensorId::Block(index, part) => {
                let name = match part {
                    Part::AttnNorm => "attn_norm",
                    Part::Q => "attn_q",
                    Part::K => "attn_k",
                    Part::V => "attn_v",
                    Part::QNorm => "attn_q_norm",
                    Part::KNorm => "attn_k_norm",
                    Part::AttnSubNorm => "attn_sub_norm",
                    Part::O => "attn_output",
                    Part::FfnNorm => "ffn_norm",
                    Part::Gate => "ffn_gate",
                    Part::Up => "ffn_up",
                    Part::FfnSubNorm => "ffn_sub_norm",
                    Part::Down => "ffn_down",
                    Part::QIn => "attn_q_norm_in",
                    Part::KIn => "attn_k_norm_in",
                    Part::VIn => "attn_v_norm_in",
                    Part::OIn => "attn_output_norm_in",
                    Part::GateIn => "ffn_gate_norm_in",
                    Part::UpIn => "ffn_up_norm_in",
                    Part::DownIn => "ffn_down_norm_in",
                    Part::AttnPostNorm => "post_attention_norm",
                    Part::FfnPostNorm => "post_ffw_norm",
                };
                format!("blk.{index}.{name}")
            }
        }
    }

    /// The name in a GGUF.
    pub(crate) fn gguf(self) -> String {
        self.gguf_base() + ".weight"
    }

    /// The name in a Hugging Face file, without `.weight`.
    pub(crate) fn hf_base(self) -> String {
        match self {
            TensorId::Embedding => "model.embed_tokens".into(),
            TensorId::OutputNorm => "model.norm".into(),
            TensorId::Head => "lm_head".into(),
            TensorId::Block(index, part) => {
                let name = match part {
                    Part::AttnNorm => "input_layernorm",
                    Part::Q => "self_attn.q_proj",
                    Part::K => "self_attn.k_proj",
                    Part::V => "self_attn.v_proj",
                    Part::QNorm => "self_attn.q_norm",
                    Part::KNorm => "self_attn.k_norm",
                    Part::AttnSubNorm => "self_attn.attn_sub_norm",
                    Part::O => "self_attn.o_proj",
                    Part::FfnNorm => "post_attention_layernorm",
                    Part::Gate => "mlp.gate_proj",
                    Part::Up => "mlp.up_proj",
                    Part::FfnSubNorm => "mlp.ffn_sub_norm",
                    Part::Down => "mlp.down_proj",
                    Part::QIn => "self_attn.q_proj.norm",
                    Part::KIn => "self_attn.k_proj.norm",
                    Part::VIn => "self_attn.v_proj.norm",
                    Part::OIn => "self_attn.o_proj.norm",
                    Part::GateIn => "mlp.gate_proj.norm",
                    Part::UpIn => "mlp.up_proj.norm",
                    Part::DownIn => "mlp.down_proj.norm",
                    // `hf_post_norms_base` has the others' of a block with such.
                    Part::AttnPostNorm => "post_attention_layernorm",
                    Part::FfnPostNorm => "post_feedforward_layernorm",
                };
                format!("model.layers.{index}.{name}")
            }
        }
    }

    /// The name in a Hugging Face file of a model whose sub-layers end with norms, where it
    /// differs, without `.weight`: `post_attention_layernorm` is such a norm there.
    pub(crate) fn hf_post_norms_base(self) -> Option<String> {
        match self {
            TensorId::Block(index, Part::FfnNorm) => {
                Some(format!("model.layers.{index}.pre_feedforward_layernorm"))
            }
            _ => None,
        }
    }

    /// Another name for the same tensor, without `.weight`: the 1bitLLM models' for a sub-norm, and
    /// transformers' for the norm inside a linear.
    pub(crate) fn hf_old_base(self) -> Option<String> {
        if let TensorId::Block(index, part) = self
            && let Some(linear) = part.normed_linear()
        {
            return Some(TensorId::Block(index, linear).hf_base() + ".rms_norm");
        }
        match self {
            TensorId::Block(index, Part::AttnSubNorm) => {
                Some(format!("model.layers.{index}.self_attn.inner_attn_ln"))
            }
            TensorId::Block(index, Part::FfnSubNorm) => {
                Some(format!("model.layers.{index}.mlp.ffn_layernorm"))
            }
            _ => None,
        }
    }
}
