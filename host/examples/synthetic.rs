//! Write a model of a known shape with random weights, to measure with:
//! `cargo run --release -p sterna --example synthetic -- SHAPE HEAD OUT.gguf`

use std::path::Path;

use sterna_engine::convert::{ConvertOptions, save};
use sterna_engine::synthetic;
use sterna_kernels::DenseType;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [shape, head, to] = arguments.as_slice() else {
        return Err("usage: synthetic SHAPE HEAD OUT.gguf".into());
    };
    let head = [DenseType::F16, DenseType::Q8_0, DenseType::Q6K]
        .into_iter()
        .find(|ty| ty.name() == head)
        .ok_or_else(|| format!("head {head}: not f16, q8_0 or q6_k"))?;
    let model = synthetic::model(shape, head)?;
    let options = ConvertOptions {
        head: Some(head),
        ..ConvertOptions::default()
    };
    let report = save(&model, Path::new(to), &options, &mut |_, _| {})?;
    println!("{to}: {} bytes", report.n_bytes);
    Ok(())
}
