//! The way a model makes embeddings.

/// The tokens of a prompt whose final hidden states become its embedding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pooling {
    /// The last one's: of a model that only looks back, the one that has seen everything.
    #[default]
    Last,
    /// The mean of all.
    Mean,
    /// The first one's (`cls`).
    First,
}

/// What a model's files say about embeddings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EmbeddingConfig {
    /// The states that count, where the model was trained for embeddings: it does not generate.
    pub pooling: Option<Pooling>,
    /// The token that a text to embed ends with, if the tokenizer has not put it there.
    pub end_token: Option<u32>,
}
