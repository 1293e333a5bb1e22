//! Convert a model to GGUF: `cargo run -p sterna-engine --features native --example convert -- FROM
//! TO [KEY=VALUE]...`
//!
//! Keys: `head` (f16, f32, q8_0, q6_k), `name`, `license`, and `template`, which is the path of a
//! Jinja file, or `story` for the template that continues the user's words. It made
//! `models/demo.gguf`; see README.md there.

use std::path::Path;

use sterna_engine::convert::{ConvertOptions, convert};
use sterna_engine::template::STORY;
use sterna_kernels::DenseType;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(from), Some(to)) = (arguments.next(), arguments.next()) else {
        return Err("usage: convert FROM TO [KEY=VALUE]...".into());
    };
    let mut options = ConvertOptions::default();
    for argument in arguments {
        match argument.split_once('=') {
            Some(("head", name)) => options.head = Some(head_type(name)?.into()),
            Some(("name", name)) => options.name = Some(name.into()),
            Some(("license", license)) => options.license = Some(license.into()),
            Some(("template", "story")) => options.chat_template = Some(STORY.into()),
            Some(("template", path)) => {
                options.chat_template = Some(std::fs::read_to_string(path)?)
            }
            _ => {
                return Err(format!("{argument}: not one of head, name, license, template").into());
            }
        }
    }
    let report = convert(Path::new(&from), Path::new(&to), &options, &mut |_, _| {})?;
    println!("{to}: {} bytes", report.n_bytes);
    for note in report.notes {
        println!("note: {note}");
    }
    Ok(())
}

fn head_type(name: &str) -> Result<DenseType, String> {
    let types = [
        DenseType::F16,
        DenseType::F32,
        DenseType::Q8_0,
        DenseType::Q6K,
    ];
    types
        .into_iter()
        .find(|ty| ty.name() == name)
        .ok_or(format!("head={name}: not f16, f32, q8_0 or q6_k"))
}
