//! Finds the baked engine in a file that `sterna bake` wrote.
//!
//! `app.wasm` is a whole server, closed over a kernels stub; the engine lies in it as a nested
//! component, verbatim, with a custom section that marks it. `app.cwasm` is that engine alone,
//! compiled ahead of time.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use sterna_engine::placement::WatchedFile;
use wasmparser::{Parser, Payload};
use wasmtime::component::Component;
use wasmtime::{Engine, Precompiled};

use super::code_file::{Code, check_allowed};
use super::seal::SealedFile;

/// The custom section that marks a baked engine; its data is the version of this format.
pub const ENGINE_MARK: &str = "sterna:baked-engine";
const MARK_VERSION: &[u8] = b"1";

/// A file that holds a baked engine.
#[derive(Clone, Debug)]
pub struct AppFile {
    path: PathBuf,
    code: Code,
}

/// An engine component, ready for instances.
pub(super) struct LoadedApp {
    pub(super) component: Component,
    /// Bytes of the engine and its model.
    pub(super) bytes: u64,
    /// The file, where it is mapped: instances read from it what they have not touched yet.
    pub(super) mapped: Option<WatchedFile>,
}

impl AppFile {
    /// Opens `path` as code; `None` where it is a model, or absent. Machine code only with
    /// `allow_precompiled`.
    ///
    /// # Errors
    /// It is code under a name that does not say so, or data under one that says it is code; or
    /// machine code that is not allowed.
    pub fn recognise(path: &Path, allow_precompiled: bool) -> anyhow::Result<Option<AppFile>> {
        let Some(code) = Code::of(path)? else {
            return Ok(None);
        };
        if code == Code::Precompiled {
            check_allowed(path, allow_precompiled)?;
        }
        Ok(Some(AppFile {
            path: path.to_owned(),
            code,
        }))
    }

    /// True if `path` is called as code is, whatever is in it.
    #[must_use]
    pub fn is_named_so(path: &Path) -> bool {
        Code::by_name(path).is_some()
    }

    /// True if it is compiled ahead of time.
    #[must_use]
    pub fn is_compiled(&self) -> bool {
        self.code == Code::Precompiled
    }

    /// Check a precompiled file's seal, data and all.
    ///
    /// # Errors
    /// It is damaged, or `sterna bake --aot` of this version did not write it.
    pub fn check(&self) -> anyhow::Result<()> {
        let name = self.path.display();
        if self.is_compiled() {
            let check = || SealedFile::open(&self.path)?.check_all_data();
            check().with_context(|| format!("cannot use {name}: bake it again"))?;
        }
        Ok(())
    }

    /// The engine component. A compiled one is mapped, which takes no longer for a large model;
    /// else it is compiled now.
    ///
    /// # Errors
    /// The file is no product of `sterna bake`, is damaged, or is of another version or CPU.
    pub(super) fn load(&self, wasmtime: &Engine) -> anyhow::Result<LoadedApp> {
        let name = self.path.display();
        if self.is_compiled() {
            return self.map(wasmtime).with_context(|| {
                format!("cannot run {name}: bake it again with this version of Sterna, for this machine's CPU")
            });
        }
        let app = std::fs::read(&self.path).with_context(|| format!("cannot read {name}"))?;
        let engine = find_engine(&app).with_context(|| format!("cannot run {name}"))?;
        eprintln!("note: compiling {name}; `sterna bake --aot` does that once and for all");
        let component = Component::new(wasmtime, engine)
            .map_err(anyhow::Error::from)
            .with_context(|| format!("cannot compile the engine in {name}"))?;
        Ok(LoadedApp {
            component,
            bytes: engine.len() as u64,
            mapped: None,
        })
    }

    fn map(&self, wasmtime: &Engine) -> anyhow::Result<LoadedApp> {
        // Before the seal is checked: what is done to the file from here on is noticed.
        let mapped = WatchedFile::open(&self.path)?;
        let sealed = SealedFile::open(&self.path)?;
        match Engine::detect_precompiled_file(&self.path)? {
            Some(Precompiled::Component) => {}
            _ => bail!("it is no component compiled by Sterna"),
        }
        // SAFETY: the file is named as code and the operator allowed to run it as such
        // (`recognise`), and it is, bit for bit but for the data of the sandbox's memory, what
        // `sterna bake --aot` wrote (`SealedFile::open`). That wasmtime's version, settings and CPU
        // fit is checked here.
        let component = unsafe { Component::deserialize_file(wasmtime, &self.path) }?;
        if !sealed.is_at(&self.path) {
            bail!("it was replaced while it was loaded: start again");
        }
        let bytes = mapped.n_bytes();
        if !sealed.is_small() {
            self.check_data_in_background(sealed)?;
        }
        Ok(LoadedApp {
            component,
            bytes,
            mapped: Some(mapped),
        })
    }

    /// End the process if the model's data turns out to be damaged: what it has said until then may
    /// be wrong.
    fn check_data_in_background(&self, mut sealed: SealedFile) -> anyhow::Result<()> {
        let path = self.path.clone();
        let check = move || {
            if let Err(error) = sealed.check_data_beside_work() {
                tracing::error!(
                    file = %path.display(),
                    error = format!("{error:#}"),
                    "the model is not what was baked, and what it generates may be wrong: exiting; bake the file again"
                );
                crate::logging::exit(1);
            }
            tracing::debug!(file = %path.display(), "the model's data is what was baked");
        };
        std::thread::Builder::new()
            .name("sterna-check".into())
            .spawn(check)
            .context("cannot start a thread")?;
        Ok(())
    }
}

/// A component with the mark of a baked engine at its end.
#[must_use]
pub fn mark_engine(mut engine: Vec<u8>) -> Vec<u8> {
    let mark = wasm_encoder::CustomSection {
        name: ENGINE_MARK.into(),
        data: MARK_VERSION.into(),
    };
    wasm_encoder::ComponentSection::append_to_component(&mark, &mut engine);
    engine
}

/// The nested component that bears the mark.
fn find_engine(app: &[u8]) -> anyhow::Result<&[u8]> {
    let none = "it holds no baked engine; `sterna bake` writes files that do";
    if !Parser::is_component(app) {
        bail!("it is no WebAssembly component: {none}");
    }
    for nested in nested_components(app)? {
        if let Some(version) = mark(nested)? {
            if version != MARK_VERSION {
                bail!("its engine is of another format; bake it again with this version of Sterna");
            }
            return Ok(nested);
        }
    }
    bail!("{none}")
}

/// The components directly in a component. What is in those is skipped, so the size does not
/// matter.
fn nested_components(component: &[u8]) -> anyhow::Result<Vec<&[u8]>> {
    let mut nested = Vec::new();
    for_each_section(component, |payload| {
        if let Payload::ComponentSection {
            unchecked_range, ..
        } = payload
        {
            nested.extend(component.get(unchecked_range.clone()));
        }
    })?;
    Ok(nested)
}

fn mark(component: &[u8]) -> anyhow::Result<Option<&[u8]>> {
    let mut found = None;
    for_each_section(component, |payload| {
        if let Payload::CustomSection(section) = payload
            && section.name() == ENGINE_MARK
        {
            found = Some(section.data());
        }
    })?;
    Ok(found)
}

/// Every section of a component, without those of the modules and components in it.
fn for_each_section<'a>(
    component: &'a [u8],
    mut each: impl FnMut(&Payload<'a>),
) -> anyhow::Result<()> {
    let mut parser = Parser::new(0);
    let mut rest = component;
    loop {
        let (consumed, payload) = match parser.parse(rest, true)? {
            wasmparser::Chunk::Parsed { consumed, payload } => (consumed, payload),
            wasmparser::Chunk::NeedMoreData(_) => bail!("it is cut short"),
        };
        each(&payload);
        rest = &rest[consumed..];
        match payload {
            Payload::ModuleSection {
                unchecked_range, ..
            }
            | Payload::ComponentSection {
                unchecked_range, ..
            } => {
                let len = unchecked_range.len();
                rest = rest.get(len..).context("it is cut short")?;
            }
            Payload::End(_) => return Ok(()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `(component (component) (component $engine) ..)` by hand, with sections as wac writes them.
    fn app(nested: &[Vec<u8>]) -> Vec<u8> {
        let mut component = wasm_encoder::Component::new();
        for bytes in nested {
            component.section(&wasm_encoder::RawSection {
                id: wasm_encoder::ComponentSectionId::Component.into(),
                data: bytes,
            });
        }
        component.finish()
    }

    fn empty() -> Vec<u8> {
        wasm_encoder::Component::new().finish()
    }

    #[test]
    fn the_marked_component_is_found() {
        let engine = mark_engine(empty());
        let file = app(&[empty(), engine.clone(), empty()]);
        assert_eq!(find_engine(&file).unwrap(), engine);
    }

    #[test]
    fn what_holds_none_says_so() {
        for (file, words) in [
            (app(&[empty()]), "holds no baked engine"),
            (empty(), "holds no baked engine"),
            (
                wasm_encoder::Module::new().finish(),
                "no WebAssembly component",
            ),
            (b"\0asm".to_vec(), "no WebAssembly component"),
        ] {
            let error = find_engine(&file).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let whole = app(&[empty(), mark_engine(empty())]);
        for len in 0..whole.len() {
            assert!(find_engine(&whole[..len]).is_err(), "{len}");
        }
        let mut other = mark_engine(empty());
        *other.last_mut().unwrap() = b'2';
        let error = find_engine(&app(&[other])).unwrap_err().to_string();
        assert!(error.contains("another format"), "{error}");
    }
}
