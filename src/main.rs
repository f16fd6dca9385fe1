//! The `trunkline` program: everything is in the library, this file only starts it.

fn main() -> std::process::ExitCode {
    trunkline::cli::main()
}
