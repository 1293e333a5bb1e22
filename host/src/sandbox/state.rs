//! The resources that an instance of a baked engine may reach.

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::guest_log::GuestLog;
use super::lender::Lender;
use super::limits::{Limiter, MOST_RESOURCES};

/// Its store's data.
pub(super) struct State {
    wasi: WasiCtx,
    pub(super) table: ResourceTable,
    pub(super) lender: Lender,
    pub(super) limiter: Limiter,
    log: GuestLog,
}

impl State {
    /// For an instance that borrows from `lender`, grows as `limiter` lets it and writes to `log`.
    pub(super) fn new(lender: Lender, limiter: Limiter, log: GuestLog) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MOST_RESOURCES);
        let wasi = WasiCtx::builder()
            .stdout(log.clone())
            .stderr(log.clone())
            .allow_tcp(false)
            .allow_udp(false)
            .build();
        State {
            wasi,
            table,
            lender,
            limiter,
            log,
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.log.end_line();
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}
