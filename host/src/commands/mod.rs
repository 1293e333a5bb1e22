//! The commands. `cli` lists them.

pub mod bake;
pub mod bench;
pub mod compose;
pub mod convert;
pub mod doctor;
pub mod image;
pub mod inspect;
pub mod perplexity;
pub mod pull;
pub mod push;
pub mod run;
pub mod serve;
pub mod synth;
pub mod up;
