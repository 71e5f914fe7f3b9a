//! The `tracer` command.

use std::io::Write as _;
use std::process::ExitCode;

use tracer::cli::Options;

fn main() -> ExitCode {
    let options = match Options::from_args(std::env::args_os()) {
        Ok(options) => options,
        Err(error) => error.exit(),
    };
    env_logger::Builder::new()
        .filter_level(log::LevelFilter::Error)
        .filter_module("tracer", options.output.log_level.into())
        .format(|out, record| {
            let level = record.level().as_str().to_lowercase();
            let clear = tracer::report::progress::before_message();
            writeln!(out, "{clear}tracer: {level}: {}", record.args())
        })
        .init();
    match tracer::app::run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The whole chain on one line; a backtrace is nothing for a user's screen.
            eprintln!("tracer: {error:#}");
            ExitCode::FAILURE
        }
    }
}
