//! Set-up, build, run and test of tracer.
fn main() {}
