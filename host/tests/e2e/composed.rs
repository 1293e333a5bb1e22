//! The server as one `.wasm` file under a plain WASI host gives the native server's texts.
//!
//! The host here is wasmtime-wasi-http with nothing of ours in its linker: what `wasmtime serve` does.

use std::path::Path;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use serde_json::Value;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Engine, Store};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::{
    RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

use crate::support::server::{Server, run, sterna};
use crate::support::{LILY, LILY_GREEDY, greedy, sampled};

#[test]
fn the_composed_component_gives_the_native_texts() {
    let folder = tempfile::tempdir().unwrap();
    let app = folder.path().join("app.wasm");
    let (status, _, stderr) = run(sterna().args(["compose", "-o"]).arg(&app));
    assert!(status.success(), "{stderr}");
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../component/engine/models");
    let plain = PlainHost::new(&app, &models);
    assert_eq!(plain.text(&greedy(LILY, 48, false)), LILY_GREEDY);

    let native = Server::start(&[]);
    for seed in 1..4 {
        let request = sampled(LILY, seed, 60, false);
        assert_eq!(
            plain.text(&request),
            native.post("/v1/completions", &request).completion(),
            "seed {seed}"
        );
    }
    let streamed = plain.post(&sampled(LILY, 1, 60, true));
    let pieces: String = streamed
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
        .map(|event| event["choices"][0]["text"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(pieces, plain.text(&sampled(LILY, 1, 60, false)));
    assert!(streamed.ends_with("data: [DONE]\n\n"), "{streamed}");
}

/// wasmtime and WASI, with the models' folder preopened as /model.
struct PlainHost {
    pre: ProxyPre<State>,
    models: std::path::PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl PlainHost {
    fn new(app: &Path, models: &Path) -> PlainHost {
        let engine = Engine::default();
        let component = Component::from_file(&engine, app).unwrap();
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker).unwrap();
        let pre = ProxyPre::new(linker.instantiate_pre(&component).unwrap()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        PlainHost {
            pre,
            models: models.to_owned(),
            runtime,
        }
    }

    fn text(&self, request: &Value) -> String {
        let body: Value = serde_json::from_str(&self.post(request)).unwrap();
        body["choices"][0]["text"]
            .as_str()
            .unwrap_or_else(|| panic!("{body}"))
            .to_owned()
    }

    /// The body of the answer to one completion request, by an instance of its own.
    fn post(&self, request: &Value) -> String {
        self.runtime.block_on(async {
            let wasi = WasiCtx::builder()
                .inherit_stderr()
                .preopened_dir(&self.models, "/model", FsPerms::ReadOnly)
                .unwrap()
                .build();
            let state = State {
                table: ResourceTable::new(),
                wasi,
                http: WasiHttpCtx::new(),
                hooks: NoNetwork,
            };
            let mut store = Store::new(self.pre.engine(), state);
            let body = Full::new(Bytes::from(request.to_string()))
                .map_err(wasmtime_wasi_http::Error::from);
            let request = hyper::Request::post("http://test/v1/completions")
                .header("content-type", "application/json")
                .body(body)
                .unwrap();
            let request = store
                .data_mut()
                .http()
                .new_incoming_request(Scheme::Http, request)
                .unwrap();
            let (sender, receiver) = tokio::sync::oneshot::channel();
            let out = store
                .data_mut()
                .http()
                .new_response_outparam(sender)
                .unwrap();
            let pre = self.pre.clone();
            let guest = tokio::spawn(async move {
                let proxy = pre.instantiate_async(&mut store).await?;
                proxy
                    .wasi_http_incoming_handler()
                    .call_handle(store, request, out)
                    .await
            });
            let response = receiver.await.unwrap().unwrap();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            guest.await.unwrap().unwrap();
            String::from_utf8(body.to_vec()).unwrap()
        })
    }
}

struct State {
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: NoNetwork,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.hooks,
        }
    }
}

/// The component sends no requests.
struct NoNetwork;

type Io = Box<dyn Future<Output = Result<(), wasmtime_wasi_http::Error>> + Send>;

impl WasiHttpHooks for NoNetwork {
    fn send_request(
        &mut self,
        _request: hyper::Request<WasiBody>,
        _options: Option<RequestOptions>,
        _sent: Io,
    ) -> Box<dyn Future<Output = wasmtime_wasi_http::Result<(hyper::Response<WasiBody>, Io)>> + Send>
    {
        Box::new(std::future::ready(Err(
            wasmtime_wasi_http::Error::HttpRequestDenied,
        )))
    }
}
