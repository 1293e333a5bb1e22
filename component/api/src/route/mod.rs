//! From a request's head and body to a reply.

pub(crate) mod table;

use crate::{
    answer::Stamp,
    auth,
    body::Source,
    chosen,
    completion::complete,
    deadline::{self, AskedBy},
    embeddings::embed,
    engine::Engine,
    error::{ApiError, Form},
    http::{Head, Header},
    llama_cpp, messages_api, models, ollama, openapi, page,
    reply::{Body, Reply},
    responses,
    settings::Settings,
    tokens,
};
use sterna_http_rules::{origin, path, request_id};
use table::Route;

const INDEX: &str = concat!(
    "Sterna ",
    env!("CARGO_PKG_VERSION"),
    ": ternary language models on CPUs, with OpenAI's HTTP API.

POST /v1/chat/completions   answer a conversation   (\"stream\": true sends events)
POST /v1/responses          the same as OpenAI's Responses API, without its state
                            (/input_tokens below both counts a prompt)
POST /v1/messages           the same as Anthropic's Messages API; /count_tokens below it
POST /v1/completions        continue a text or token ids
POST /v1/embeddings         the meaning of texts as vectors
POST /api/chat, /generate   the same as Ollama's API; also /embed, /tags, /show, /ps, /version
GET  /v1/models             what can be asked
GET  /v1/models/{id}        one model's facts
POST /tokenize, /detokenize a text's tokens, and back
POST /apply-template        a conversation as the model reads it
POST /completion            a completion as llama.cpp's server has it; also GET /props
GET  /openapi.json          this API for programs
GET  /health                whether the API answers
GET  /livez, /readyz        whether the server lives; whether it has a model and wants requests
GET  /                      this list, or in a browser a page to chat on

All paths below /v1 are found without it too.

curl http://HOST/v1/chat/completions -H 'Content-Type: application/json' \\
  -d '{\"messages\": [{\"role\": \"user\", \"content\": \"Tell me a story.\"}], \"max_tokens\": 100}'
"
);

/// Answer one request.
pub async fn handle<E: Engine>(
    engine: &E,
    settings: &Settings,
    head: &Head,
    body: &mut impl Source,
    stamp: Stamp,
) -> Reply<AskedBy<E>> {
    let began_ms = engine.now_ms();
    let id = match request_id::valid(head.request_id.as_deref()) {
        Some(id) => id.to_owned(),
        None => request_id::drawn(stamp.id),
    };
    let path = head.path.split('?').next().unwrap_or_default();
    let found = Route::find(path);
    let form = found
        .as_ref()
        .map_or(Form::OpenAi, |(route, _)| route.form());
    let asked = Asking {
        engine,
        began_ms,
        stamp,
    };
    let mut reply = respond(asked, settings, head, found, body)
        .await
        .unwrap_or_else(|error| Reply::error(error, form, &id));
    reply
        .headers
        .push(Header::request_id(request_id::HEADER, &id));
    if form == Form::Anthropic {
        // Its clients' name for the same.
        reply.headers.push(Header::request_id("request-id", &id));
    }
    if let Some(origin) = shown_to(settings, head) {
        reply.share_with(origin);
    }
    if settings.cors_origin.as_deref() == Some(origin::LOCAL) {
        reply.headers.push(Header::text("vary", "origin"));
    }
    if head.method == "HEAD" {
        reply.body = Body::Whole(Vec::new());
    }
    reply
}

/// The origin whose pages may read the reply.
fn shown_to<'a>(settings: &'a Settings, head: &'a Head) -> Option<&'a str> {
    origin::shown_to(settings.cors_origin.as_deref(), head.origin.as_deref())
}

/// What a request is answered with.
struct Asking<'a, E> {
    engine: &'a E,
    /// Of the engine's clock.
    began_ms: u64,
    stamp: Stamp,
}

async fn respond<E: Engine>(
    asking: Asking<'_, E>,
    settings: &Settings,
    head: &Head,
    found: Option<(Route, String)>,
    body: &mut impl Source,
) -> Result<Reply<AskedBy<E>>, ApiError> {
    auth::check_site(settings, head)?;
    let path = head.path.split('?').next().unwrap_or_default();
    let (route, id) = found.ok_or_else(|| not_here(path))?;
    let mut client = 0;
    // A browser sends its preflight without the key.
    if route.needs_key() && head.method != "OPTIONS" {
        let (authorization, api_key) = (head.authorization.as_deref(), head.api_key.as_deref());
        client = auth::check(&settings.api_keys, authorization, api_key)?;
    }
    if head.method == "POST" && route.posts() {
        check_type(head)?;
    }
    let Asking {
        engine,
        began_ms,
        stamp,
    } = asking;
    let timeout_ms = deadline::of_header(head.timeout.as_deref())?;
    let most_ms = settings.request_timeout_ms;
    let engine = &AskedBy::new(engine.clone(), client, began_ms, timeout_ms, most_ms);
    match (head.method.as_str(), route) {
        ("OPTIONS", _) => Ok(Reply::options(
            route.allow(),
            shown_to(settings, head).is_some(),
        )),
        ("POST", Route::Complete(kind)) => {
            complete(engine, settings, kind, head, body, stamp).await
        }
        ("POST", Route::Embed) => embed(engine, settings, head, body).await,
        ("POST", Route::Responses) => responses::respond(engine, settings, head, body, stamp).await,
        ("POST", Route::Messages) => {
            messages_api::respond(engine, settings, head, body, stamp).await
        }
        ("POST", Route::CountChat) => tokens::count(engine, settings, head, body).await,
        ("POST", Route::CountResponse) => {
            responses::count(engine, settings, head, body, stamp).await
        }
        (method, Route::LlamaCpp(asked))
            if asked.posts() == (method == "POST") && (asked.posts() || reads(method)) =>
        {
            llama_cpp::answer(engine, settings, asked, head, body, stamp).await
        }
        ("POST", Route::CountTokens) => messages_api::count(engine, settings, head, body).await,
        (method, Route::Ollama(asked))
            if asked.posts() == (method == "POST") && (asked.posts() || reads(method)) =>
        {
            ollama::answer(engine, settings, asked, head, body, stamp).await
        }
        ("POST", Route::Tokens(asked)) => tokens::answer(engine, settings, asked, head, body).await,
        ("GET" | "HEAD", Route::Index) => {
            let mut reply = if page::wants_html(head) {
                page::INDEX.reply(head)
            } else {
                Reply::text(INDEX)
            };
            reply.headers.push(Header::text("vary", "accept"));
            Ok(reply)
        }
        ("GET" | "HEAD", Route::Page(file)) => Ok(file.reply(head)),
        ("GET" | "HEAD", Route::OpenApi) => {
            Ok(Reply::json(200, openapi::DOCUMENT.as_bytes().to_vec()))
        }
        ("GET" | "HEAD", Route::Health) => Ok(Reply::json(200, br#"{"status":"ok"}"#.to_vec())),
        // Sterna's own host answers the next two itself and says more.
        ("GET" | "HEAD", Route::Live) => Ok(Reply::json(200, br#"{"live":true}"#.to_vec())),
        ("GET" | "HEAD", Route::Ready) => {
            // It has facts only once its kernels have passed their test.
            let default = engine.models().into_iter().next();
            match default.and_then(|model| model.info) {
                Some(model) => Ok(Reply::json(200, models::ready(&model))),
                None => Err(ApiError::unavailable("no model is loaded")),
            }
        }
        ("GET" | "HEAD", Route::Models) => {
            let models = settings.listed(engine.models());
            Ok(Reply::json(200, models::list(&models)))
        }
        ("GET" | "HEAD", Route::Model) => {
            let models = settings.listed(engine.models());
            let model = models
                .iter()
                .find(|model| model.id == id)
                .ok_or_else(|| chosen::unknown(engine, settings, &id))?;
            Ok(Reply::json(200, models::one(model)))
        }
        _ => Err(ApiError::method_not_allowed(path, route.allow())),
    }
}

fn reads(method: &str) -> bool {
    matches!(method, "GET" | "HEAD")
}

fn not_here(path: &str) -> ApiError {
    if path::normal(path) == "/metrics" {
        return ApiError::no_metrics();
    }
    ApiError::unknown_route(path)
}

/// A body that says what it is must be JSON.
fn check_type(head: &Head) -> Result<(), ApiError> {
    match head.content_type.as_deref() {
        Some(declared) if !is_json(declared) => Err(ApiError::unsupported_media_type()),
        _ => Ok(()),
    }
}

/// `application/json`, with or without parameters, or one of its `+json` relatives.
fn is_json(content_type: &str) -> bool {
    let essence = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    essence == "application/json" || essence.ends_with("+json")
}

#[cfg(test)]
mod tests;
