//! `kernels-stub.wasm`: the interface `kernels` of a runtime that lends nothing (wit/kernels.wit).
//!
//! Components have no optional imports, so `sterna bake` and `sterna compose` close the engine's
//! with this. The engine asks `available` first and then computes by itself; whoever calls anything
//! else gets a trap.

#![cfg(target_arch = "wasm32")]
#![allow(
    missing_docs,
    reason = "the generated exports are documented in wit/kernels.wit"
)]

wit_bindgen::generate!({ path: "../../wit", world: "kernels-stub" });

use exports::sterna::inference::kernels as wit;

struct Stub;

impl wit::Guest for Stub {
    type Pass = Stub;

    fn available() -> bool {
        false
    }

    fn isa() -> String {
        trap()
    }
}

impl wit::GuestPass for Stub {
    fn new(_shape: wit::Shape, _rotation: wit::Rotation, _max_tokens: u32) -> Self {
        trap()
    }

    fn begin(&self, _places: Vec<wit::Place>, _states: Vec<u32>) {
        trap()
    }

    fn project(
        &self,
        _norm: Vec<u32>,
        _q: wit::Linear,
        _k: wit::Linear,
        _v: wit::Linear,
        _q_norm: Option<Vec<u32>>,
        _k_norm: Option<Vec<u32>>,
        _local: bool,
    ) -> (Vec<u32>, Vec<u32>) {
        trap()
    }

    fn attend(
        &self,
        _layer: u32,
        _cache: Vec<Vec<Vec<u32>>>,
        _kv_type: wit::KvType,
        _window: Option<u32>,
        _sub_norm: Option<Vec<u32>>,
        _o: wit::Linear,
        _post_norm: Option<Vec<u32>>,
    ) {
        trap()
    }

    fn feed_forward(
        &self,
        _norm: Vec<u32>,
        _gate: wit::Linear,
        _up: wit::Linear,
        _sub_norm: Option<Vec<u32>>,
        _down: wit::Linear,
        _post_norm: Option<Vec<u32>>,
    ) {
        trap()
    }

    fn logits(&self, _wanted: Vec<u32>, _norm: Vec<u32>, _head: wit::Head) -> Vec<u32> {
        trap()
    }

    fn state(&self, _index: u32, _norm: Vec<u32>) -> Vec<u32> {
        trap()
    }
}

/// Nothing is lent: `available` said so.
fn trap() -> ! {
    core::arch::wasm32::unreachable()
}

export!(Stub);
