//! The components under test, made once for all tests and kept while they are newer than what makes
//! them, and `wasmtime serve`.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use crate::support::server::{Server, run, sterna};

/// The kind of file served.
#[derive(Clone, Copy, Debug)]
pub(crate) struct App {
    engine: Engine,
    /// As `--wasi` takes it.
    wasi: &'static str,
}

#[derive(Clone, Copy, Debug)]
enum Engine {
    Demo,
    Steps,
}

impl App {
    /// The demo model, baked.
    pub(crate) const DEMO: App = App {
        engine: Engine::Demo,
        wasi: "0.2",
    };
    /// The same for WASI 0.3.
    pub(crate) const DEMO_P3: App = App {
        engine: Engine::Demo,
        wasi: "0.3",
    };
    /// The engine of `tests/step-engine`, which says when it computed what.
    pub(crate) const STEPS: App = App {
        engine: Engine::Steps,
        wasi: "0.2",
    };
    /// The same for WASI 0.3.
    pub(crate) const STEPS_P3: App = App {
        engine: Engine::Steps,
        wasi: "0.3",
    };

    fn name(self) -> String {
        format!("{:?}-{}", self.engine, self.wasi.replace('.', "-"))
    }

    fn make(self, wasm: &Path) {
        let mut command = sterna();
        match self.engine {
            Engine::Demo => command.arg("bake"),
            Engine::Steps => {
                let engine = components().join("step-engine.wasm");
                command.arg("compose").arg("--engine").arg(engine)
            }
        };
        succeed(command.args(["--wasi", self.wasi, "-o"]).arg(wasm));
    }

    /// The component.
    pub(crate) fn wasm(self) -> PathBuf {
        let wasm = folder().join(format!("{}.wasm", self.name()));
        let makers = [
            PathBuf::from(env!("CARGO_BIN_EXE_sterna")),
            components().join("step-engine.wasm"),
        ];
        once(&wasm, &makers, |wasm| self.make(wasm))
    }

    /// The component as `wasmtime compile` writes it, which saves each test the compilation.
    pub(crate) fn cwasm(self) -> PathBuf {
        let wasm = self.wasm();
        let cwasm = wasm.with_extension("cwasm");
        once(&cwasm, &[wasm.clone(), wasmtime()], |cwasm| {
            succeed(
                Command::new(wasmtime())
                    .arg("compile")
                    .arg(&wasm)
                    .arg("-o")
                    .arg(cwasm),
            );
        })
    }

    /// Serve the compiled component, with these options of `wasmtime serve` besides.
    pub(crate) fn serve<S: AsRef<OsStr>>(self, options: &[S]) -> Server {
        let mut command = Command::new(wasmtime());
        command
            .args([
                "serve",
                "-Scli",
                "--addr",
                "127.0.0.1:0",
                "--allow-precompiled",
            ])
            .args(options)
            .arg(self.cwasm());
        Server::other(&mut command)
    }
}

/// The `wasmtime` that scripts/wasmtime.sh finds.
pub(crate) fn wasmtime() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/wasmtime.sh");
    let (status, stdout, stderr) = run(Command::new(script).arg("--find"));
    assert!(status.success(), "{stderr}");
    let path = PathBuf::from(stdout.trim());
    if path.components().count() > 1 {
        return path;
    }
    // A plain name in $WASMTIME.
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .map(|folder| folder.join(&path))
        .find(|path| path.is_file())
        .unwrap_or(path)
}

fn components() -> PathBuf {
    std::env::var_os("STERNA_COMPONENTS_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/components"),
        PathBuf::from,
    )
}

pub(crate) fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("portable");
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// `path`, after `make` has made it if it was absent or older than one of its makers. Other tests
/// that want the same wait, in this process and in others.
fn once(path: &Path, makers: &[PathBuf], make: impl FnOnce(&Path)) -> PathBuf {
    let lock = File::create(path.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    let modified = |path: &Path| -> Option<SystemTime> { fs::metadata(path).ok()?.modified().ok() };
    let made = modified(path);
    if made.is_none() || makers.iter().any(|maker| modified(maker) > made) {
        make(path);
    }
    path.to_owned()
}

pub(crate) fn succeed(command: &mut Command) {
    let (status, stdout, stderr) = run(command);
    assert!(status.success(), "{command:?}: {stdout}{stderr}");
}
