//! What a person is told on stderr when tracing begins.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::report::escape::{Blanks, escape};
use crate::report::start::{Capture, Hook, Start, metrics_url};
use crate::report::units::Bytes;

const LEGEND: (&str, &str) = (
    "→ this host, ← the peer",
    "who opened, and at the end who closed first or reset; - not known, > ≥ at least, ≤ at most, ~ \
     about, ! events lost",
);
const CAPTURE_LEGEND: (&str, &str) = ("→ the local end, ← the peer", CAPTURE_REST);
const CAPTURE_REST: &str = "who opened, and at the end who closed first or reset; - the capture does \
                            not show it, > ≥ at least, ≤ at most, ~ about, ! segments missing";

/// The `start` record for a person: what is traced, how SYNs are seen, what can't be had here.
/// Several lines of at most `width` columns, each ended. `legend`: with the signs explained that
/// the table on a terminal uses.
#[must_use]
pub fn start_notice(start: &Start, width: usize, legend: bool) -> String {
    let Start {
        time: _,
        version,
        kernel,
        hooks,
        filters,
        ring_size,
        limits: _,
        cannot,
        metrics,
        capture,
    } = start;
    let what =
        if filters.is_empty() { "every TCP connection".to_owned() } else { filters.to_string() };
    let mut lines = vec![match (capture, kernel) {
        (Some(capture), _) => format!("tracer {version}, reading {}: {what}", source(capture)),
        (None, Some(kernel)) => format!("tracer {version}, kernel {kernel}: tracing {what}"),
        (None, None) => format!("tracer {version}: tracing {what}"),
    }];
    let (syn, others): (Vec<_>, Vec<_>) = hooks.iter().partition(|hook| hook.interface.is_some());
    if !others.is_empty() {
        lines.push(format!("  hooks: {}", list(&others, |hook| (&hook.mode, &hook.name))));
    }
    if syn.iter().any(|hook| hook.attached) {
        let interface = |hook: &Hook| hook.interface.clone().unwrap_or_default();
        let mut modes: Vec<(String, Vec<String>)> = Vec::new();
        for hook in syn.iter().filter(|hook| hook.attached) {
            let mode = hook.mode.clone().unwrap_or_default();
            match modes.iter_mut().find(|(seen, _)| *seen == mode) {
                Some((_, interfaces)) => interfaces.push(interface(hook)),
                None => modes.push((mode, vec![interface(hook)])),
            }
        }
        let modes: Vec<_> = modes
            .into_iter()
            .map(|(mode, interfaces)| format!("{mode} on {}", interfaces.join(", ")))
            .collect();
        lines.push(format!("  SYNs: {}", modes.join("; ")));
    }
    // What is missed for want of a hook says why, too.
    let said = |hook: &Hook| {
        hook.interface.is_none() && cannot.iter().any(|what| what.contains(&hook.name))
    };
    for hook in hooks.iter().filter(|hook| !hook.attached && !said(hook)) {
        let place = match &hook.interface {
            Some(interface) => format!("{} on {interface}", hook.name),
            None => hook.name.clone(),
        };
        let reason = hook.reason.as_deref().unwrap_or("no reason given");
        lines.push(format!("  not attached: {place}: {reason}"));
    }
    lines.extend(cannot.iter().map(|what| format!("  not here: {what}")));
    if let Some(size) = ring_size {
        lines.push(format!("  buffers: {}", Bytes(*size)));
    }
    if let Some(addr) = metrics {
        // Anybody who can reach it is served without a password.
        let whom =
            if addr.ip().is_loopback() { "" } else { ", for whoever can reach that address" };
        lines.push(format!("  metrics: {}{whom}", metrics_url(*addr)));
    }
    if legend {
        let (sides, rest) = if capture.is_some() { CAPTURE_LEGEND } else { LEGEND };
        lines.push(format!("  {sides}: {rest}"));
    }
    let mut notice = String::new();
    for line in lines {
        let mut safe = String::with_capacity(line.len());
        let _ = escape(line.as_bytes(), Blanks::Keep, &mut safe);
        for wrapped in wrap(&safe, width, 4) {
            notice.push_str(&wrapped);
            notice.push('\n');
        }
    }
    notice
}

/// A capture in words: file, link types, interfaces, and how it is looked at.
fn source(capture: &Capture) -> String {
    let Capture { file, link_types, interfaces, decap, local, segments: _ } = capture;
    let mut text = if file == "-" { "stdin".to_owned() } else { file.clone() };
    let of: Vec<_> = link_types
        .iter()
        .map(String::as_str)
        .chain(interfaces.iter().map(String::as_str))
        .collect();
    if !of.is_empty() {
        text.push_str(&format!(" ({})", of.join(", ")));
    }
    if *decap {
        text.push_str(", inside tunnels");
    }
    if !local.is_empty() {
        text.push_str(&format!(", told from {}", local.join(", ")));
    }
    text
}

/// `name (mode), name (mode)` of what is attached.
fn list<'a>(
    hooks: &[&'a Hook],
    of: impl Fn(&'a Hook) -> (&'a Option<String>, &'a String),
) -> String {
    let attached: Vec<_> = hooks
        .iter()
        .filter(|hook| hook.attached)
        .map(|hook| match of(hook) {
            (Some(mode), name) => format!("{name} ({mode})"),
            (None, name) => name.clone(),
        })
        .collect();
    if attached.is_empty() { "none".to_owned() } else { attached.join(", ") }
}

/// Breaks `text` at blanks into lines of at most `width` columns; all but the first are indented.
/// A word longer than a line is broken where it must.
pub(crate) fn wrap(text: &str, width: usize, indent: usize) -> Vec<String> {
    let width = width.max(indent + 1);
    let mut lines = Vec::new();
    let leading = text.len() - text.trim_start_matches(' ').len();
    let mut line = " ".repeat(leading);
    let mut empty = true;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        if !empty && line.width() + 1 + word.width() > width {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        empty = false;
        for c in word.chars() {
            if line.width() + c.width().unwrap_or(0) > width {
                lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
            }
            line.push(c);
        }
    }
    lines.push(line);
    lines
}
