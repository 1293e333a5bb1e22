//! A host for a composed component: wasmtime-wasi-http with nothing of ours in its linker, which is
//! what `wasmtime serve` does. Also part of `examples/instances.rs`, which measures.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use serde_json::Value;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Engine, Store};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyPre};
use wasmtime_wasi_http::{
    RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

/// A component, ready to be instantiated, and what its instances may see.
pub(crate) struct PlainHost {
    pre: ProxyPre<State>,
    models: Option<PathBuf>,
    environment: Vec<(String, String)>,
    runtime: tokio::runtime::Runtime,
}

/// One instance.
pub(crate) struct Instance {
    store: Store<State>,
    proxy: Proxy,
}

impl PlainHost {
    /// Compile a `.wasm`. Its instances see no folder.
    pub(crate) fn new(app: &Path) -> PlainHost {
        PlainHost::link(app, |_| ())
    }

    /// As Spin is: with its interface for variables, which are those given to the component, and
    /// none at first.
    pub(crate) fn of_spin(app: &Path) -> (PlainHost, SpinVariables) {
        let variables = SpinVariables::default();
        let shown = Arc::clone(&variables);
        let host = PlainHost::link(app, |linker| {
            let mut spin = linker.instance("fermyon:spin/variables@2.0.0").unwrap();
            spin.func_wrap("get", move |_, (name,): (String,)| {
                let value = shown.lock().unwrap().get(name.as_str()).copied();
                Ok((value.map(str::to_owned).ok_or(SpinError::Undefined(name)),))
            })
            .unwrap();
        });
        (host, variables)
    }

    fn link(app: &Path, more: impl FnOnce(&mut Linker<State>)) -> PlainHost {
        let component = Component::from_file(&Engine::default(), app).unwrap();
        let mut linker = Linker::new(component.engine());
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker).unwrap();
        more(&mut linker);
        let pre = ProxyPre::new(linker.instantiate_pre(&component).unwrap()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        PlainHost {
            pre,
            models: None,
            environment: Vec::new(),
            runtime,
        }
    }

    /// With a folder preopened as /model.
    pub(crate) fn with_models(self, folder: &Path) -> PlainHost {
        PlainHost {
            models: Some(folder.to_owned()),
            ..self
        }
    }

    /// With an environment variable.
    pub(crate) fn with_variable(mut self, name: &str, value: &str) -> PlainHost {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A new instance, without a request yet.
    pub(crate) fn instantiate(&self) -> Instance {
        let mut wasi = WasiCtx::builder();
        wasi.inherit_stderr();
        for (name, value) in &self.environment {
            wasi.env(name, value);
        }
        if let Some(folder) = &self.models {
            wasi.preopened_dir(folder, "/model", FsPerms::ReadOnly)
                .unwrap();
        }
        let state = State {
            table: ResourceTable::new(),
            wasi: wasi.build(),
            http: WasiHttpCtx::new(),
            hooks: NoNetwork,
        };
        let mut store = Store::new(self.pre.engine(), state);
        // Ahead-of-time code asks for the epoch, which nobody advances here.
        store.set_epoch_deadline(1);
        let proxy = self
            .runtime
            .block_on(self.pre.instantiate_async(&mut store))
            .unwrap();
        Instance { store, proxy }
    }

    /// Let an instance answer one completion request; its body, and the instance as it is then.
    pub(crate) fn answer(&self, instance: Instance, request: &Value) -> (String, Instance) {
        self.answer_at("/v1/completions", instance, request)
    }

    /// The same for a request to another route.
    pub(crate) fn answer_at(
        &self,
        path: &str,
        instance: Instance,
        request: &Value,
    ) -> (String, Instance) {
        let Instance { mut store, proxy } = instance;
        let body = Full::new(Bytes::from(request.to_string()));
        let request = hyper::Request::post(format!("http://test{path}"))
            .header("content-type", "application/json")
            .body(body)
            .unwrap();
        self.runtime.block_on(async {
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
            let guest = tokio::spawn(async move {
                let called = proxy
                    .wasi_http_incoming_handler()
                    .call_handle(&mut store, request, out)
                    .await;
                (called, Instance { store, proxy })
            });
            let response = receiver.await.unwrap().unwrap();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let (called, instance) = guest.await.unwrap();
            called.unwrap();
            (String::from_utf8(body.to_vec()).unwrap(), instance)
        })
    }

    /// The body of the answer to one completion request, by an instance of its own.
    pub(crate) fn post(&self, request: &Value) -> String {
        self.answer(self.instantiate(), request).0
    }

    /// The text of a completion, by an instance of its own.
    pub(crate) fn text(&self, request: &Value) -> String {
        let body: Value = serde_json::from_str(&self.post(request)).unwrap();
        body["choices"][0]["text"]
            .as_str()
            .unwrap_or_else(|| panic!("{body}"))
            .to_owned()
    }
}

/// The variables a Spin component has.
pub(crate) type SpinVariables = Arc<Mutex<HashMap<&'static str, &'static str>>>;

/// `fermyon:spin/variables.error`.
#[derive(wasmtime::component::ComponentType, wasmtime::component::Lower)]
#[component(variant)]
#[allow(dead_code, reason = "the type has to have all cases")]
enum SpinError {
    #[component(name = "invalid-name")]
    InvalidName(String),
    #[component(name = "undefined")]
    Undefined(String),
    #[component(name = "provider")]
    Provider(String),
    #[component(name = "other")]
    Other(String),
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
