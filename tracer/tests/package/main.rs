//! The packages that `cargo xtask dist` has made, installed and used, as root.
//!
//! `TRACER_PACKAGES` names their directory; `cargo xtask test --only package` sees to it. Nothing is
//! installed on the machine itself: see [`sandbox`].

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails by panicking"
)]

mod deb;
mod files;
mod sandbox;
mod unit;
