//! The `start` record of a capture.

use std::collections::BTreeSet;

use super::reading::NAMED;
use crate::app::setup;
use crate::capture::file::Interface;
use crate::cli::Options;
use crate::core::event::MonoNs;
use crate::report::{Capture, Start};

/// The record. `interfaces` are those that the capture has described by its first segment.
pub(super) fn start_record(
    options: &Options,
    name: &str,
    interfaces: &[Interface],
    began: MonoNs,
) -> Start {
    let link_types: BTreeSet<_> =
        interfaces.iter().map(|interface| interface.link.to_string()).collect();
    let names: BTreeSet<_> =
        interfaces.iter().filter_map(|interface| interface.name.clone()).collect();
    Start {
        time: began,
        version: env!("CARGO_PKG_VERSION"),
        kernel: None,
        hooks: Vec::new(),
        filters: options.describe_filters(),
        ring_size: None,
        limits: setup::limits(options),
        cannot: cannot(),
        metrics: None,
        capture: Some(Capture {
            file: name.to_owned(),
            link_types: link_types.into_iter().collect(),
            interfaces: names.into_iter().take(NAMED).collect(),
            decap: options.read.decap,
            local: options.read.local.iter().map(ToString::to_string).collect(),
            segments: options.read.segments,
        }),
    }
}

/// What no capture can tell.
fn cannot() -> Vec<String> {
    [
        "a capture does not say whose a connection is, nor when it was accepted",
        "a capture does not show when close() is called, nor what the kernel gives up waiting for: \
         such connections stay open",
    ]
    .map(str::to_owned)
    .to_vec()
}
