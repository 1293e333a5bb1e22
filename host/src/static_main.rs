//! `sterna` once more, under a name of its own: scripts/static.sh links this one statically, for
//! images that hold nothing else, and leaves the other as it is.

mod embedded;

fn main() -> std::process::ExitCode {
    sterna::cli::run(&embedded::ASSETS)
}
