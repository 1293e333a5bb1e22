//! `/v1/embeddings`: from the body of a request to the vectors of its inputs.

mod answer;
mod inputs;

use serde_json::Value;

use crate::{
    body::{self, Source},
    chosen::Chosen,
    engine::{Engine, Prompt},
    error::ApiError,
    fields::Object,
    http::Head,
    known::{self, Place},
    llama_cpp,
    params::Treatment,
    prompt,
    reply::Reply,
    settings::Settings,
    tokens,
};
use answer::{Encoding, Form};
pub use inputs::Embedded;

/// Inputs of one request, as for OpenAI.
pub const MAX_INPUTS: usize = 2048;

/// Bytes of JSON that the vectors of one answer take at most. The answer is sent when it is whole,
/// and there are two copies of it then: what is left of an instance's memory holds a body beside.
pub const MAX_VECTOR_BYTES: usize = 14 << 20;

/// Answer a request for embeddings.
pub async fn embed<E: Engine>(
    engine: &E,
    settings: &Settings,
    head: &Head,
    body: &mut impl Source,
) -> Result<Reply<E>, ApiError> {
    let bytes = body::read(body, head.content_length, settings.max_body_bytes).await?;
    let asked = understand(engine, settings, bytes)?;
    let (model, embedded) = run(engine, settings, asked).await?;
    Ok(Reply::json(200, answer::document(&model, embedded)))
}

/// The vectors of a request, and the name of the model that they are of.
///
/// # Errors
/// The inputs are too many, or as [`embed`] has them.
pub async fn run<E: Engine>(
    engine: &E,
    settings: &Settings,
    asked: Asked,
) -> Result<(String, Embedded), ApiError> {
    let most_ms = asked.treatment.timeout_ms;
    let Chosen { info, named } = Chosen::in_time(engine, settings, asked.model.clone(), most_ms)?;
    let form = form(info.embedding_size, &asked)?;
    let at_once = info.max_sequences;
    let template = inputs::template(info.id, asked.treatment);
    let embedded = inputs::run(engine, settings, at_once, template, asked.inputs, &form).await?;
    Ok((named, embedded))
}

/// The request in a body.
#[derive(Debug)]
pub struct Asked {
    model: Option<String>,
    inputs: Vec<Prompt>,
    encoding: Encoding,
    dimensions: Option<u32>,
    treatment: Treatment,
}

impl Asked {
    /// A request for vectors of numbers.
    #[must_use]
    pub fn floats(model: Option<String>, inputs: Vec<Prompt>, dimensions: Option<u32>) -> Self {
        Asked {
            model,
            inputs,
            encoding: Encoding::Float,
            dimensions,
            treatment: Treatment::default(),
        }
    }
}

fn understand<E: Engine>(
    engine: &E,
    settings: &Settings,
    bytes: Vec<u8>,
) -> Result<Asked, ApiError> {
    let body = body::parse(&bytes)?;
    let body = Object::top(&body)?;
    known::check(&body, Place::Embeddings)?;
    let model = body.string("model")?.filter(|id| !id.is_empty());
    let chosen = tokens::model(engine, settings, &body)?.info.id;
    let input = body.require("input")?;
    let input = llama_cpp::plain(engine, &chosen, "input", input)?;
    let dimensions = body.integer("dimensions", 1..=i64::from(u32::MAX))?;
    Ok(Asked {
        model: model.map(str::to_owned),
        inputs: prompt::of(body.path("input"), &input, MAX_INPUTS)?,
        encoding: encoding(&body)?,
        // The range is u32's, so nothing is cut off.
        dimensions: dimensions.map(|n| n as u32),
        treatment: Treatment::of(&body)?,
    })
}

fn encoding(body: &Object<'_>) -> Result<Encoding, ApiError> {
    match body.get("encoding_format") {
        None => Ok(Encoding::Float),
        Some(Value::String(name)) if name == "float" => Ok(Encoding::Float),
        Some(Value::String(name)) if name == "base64" => Ok(Encoding::Base64),
        Some(_) => Err(ApiError::invalid_value(
            body.path("encoding_format"),
            "it must be \"float\" or \"base64\"",
        )),
    }
}

/// The form of the answer's vectors, of a model that makes `size` numbers.
fn form(size: u32, asked: &Asked) -> Result<Form, ApiError> {
    let Asked {
        encoding,
        dimensions,
        ..
    } = *asked;
    if let Some(asked) = dimensions.filter(|&asked| asked > size) {
        let why = format!("this model's embeddings have {size} numbers, but got {asked}");
        return Err(ApiError::invalid_value("dimensions".into(), &why));
    }
    let numbers = dimensions.unwrap_or(size) as usize;
    let inputs = asked.inputs.len();
    let most = MAX_VECTOR_BYTES / encoding.bytes(numbers).max(1);
    if inputs > most {
        let shorter = match encoding {
            Encoding::Float => " or ask for \"encoding_format\": \"base64\"",
            Encoding::Base64 => "",
        };
        let why = format!(
            "{inputs} embeddings of {numbers} numbers are too many for one answer; send at most \
             {most} inputs{shorter}"
        );
        return Err(ApiError::invalid_value("input".into(), &why));
    }
    Ok(Form { numbers, encoding })
}
