//! The program. Everything is in the library; see [`ledgerline::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    ledgerline::cli::main()
}
