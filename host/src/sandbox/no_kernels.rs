//! The interface `kernels` (wit/kernels.wit) for a component that must not call it.

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker, ResourceType};

/// Close the component's import of kernels, if it has one; a call of it traps.
///
/// # Errors
/// The interface is linked already.
pub fn lend_nothing<T: 'static>(
    linker: &mut Linker<T>,
    component: &Component,
) -> anyhow::Result<()> {
    let wasmtime = component.engine();
    for (interface, import) in component.component_type().imports(wasmtime) {
        let ComponentItem::ComponentInstance(exports) = import.ty else {
            continue;
        };
        if !interface.starts_with("sterna:inference/kernels@") {
            continue;
        }
        let mut kernels = linker.instance(interface)?;
        for (name, export) in exports.exports(wasmtime) {
            match export.ty {
                ComponentItem::ComponentFunc(_) => kernels.func_new(name, |_, _, _, _| {
                    Err(wasmtime::format_err!("no kernels are lent here"))
                })?,
                ComponentItem::Resource(_) => {
                    kernels.resource(name, ResourceType::host::<()>(), |_, _| Ok(()))?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}
