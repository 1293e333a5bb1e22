//! `sterna`: serve, try, measure and convert ternary language models.

mod embedded;

fn main() -> std::process::ExitCode {
    sterna::cli::run(&embedded::ASSETS)
}
