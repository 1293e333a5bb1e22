//! What a model's files do not say of themselves, said by whoever reads them: shared by the
//! commands that do.

use clap::builder::BoolishValueParser;
use sterna_engine::files::LoadOptions;

use crate::chat_template;

/// How the files are to be read.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ReadArgs {
    /// The I2_S tensors of the GGUF are as llama-quantize writes them on ARM, 64 weights together
    /// and not 128 (the file itself does not say; published ones are of 128)
    #[arg(long, env = "STERNA_I2S_ARM", value_parser = BoolishValueParser::new())]
    pub i2s_arm: bool,

    /// Round linears of float weights to ternary ones, as BitNet's training does: for master
    /// weights whose configuration does not say what they are (Falcon3's and Falcon-E's
    /// `prequantized`). An ordinary float model is destroyed by it
    #[arg(long, env = "STERNA_QUANTIZE", value_parser = BoolishValueParser::new())]
    pub quantize: bool,

    /// The chat template, in place of the model's own: a Jinja file, or one of bitnet, chatml,
    /// falcon3, gemma, llama-2, llama-3 and story
    #[arg(long, env = "STERNA_CHAT_TEMPLATE", value_name = "FILE|NAME", value_parser = chat_template::source)]
    pub chat_template: Option<String>,
}

impl ReadArgs {
    /// The options that say so.
    #[must_use]
    pub fn options(&self) -> LoadOptions {
        LoadOptions {
            chat_template: self.chat_template.clone().filter(|it| !it.is_empty()),
            i2s_arm: self.i2s_arm,
            quantize: self.quantize,
            ..LoadOptions::default()
        }
    }

    /// The first of them that is on, as it is written.
    #[must_use]
    pub fn first(&self) -> Option<&'static str> {
        match self {
            ReadArgs {
                chat_template: Some(source),
                ..
            } if !source.is_empty() => Some("--chat-template (or STERNA_CHAT_TEMPLATE)"),
            ReadArgs { i2s_arm: true, .. } => Some("--i2s-arm (or STERNA_I2S_ARM)"),
            ReadArgs { quantize: true, .. } => Some("--quantize (or STERNA_QUANTIZE)"),
            ReadArgs { .. } => None,
        }
    }
}
