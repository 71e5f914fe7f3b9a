//! The hooks as series: a host may have more interfaces than anyone wants series.

use std::collections::BTreeMap;

use super::family::{Labels, Number, Series, Value};
use crate::report::Hook;

/// Most series of hooks on interfaces. Those beyond share one for each hook and mode, with the
/// interface `other`: 1 if all of them are in place.
pub(super) const MOST_INTERFACES: usize = 64;

pub(super) fn series(hooks: &[Hook]) -> Vec<Series> {
    // By its labels: a name that is there twice would be refused with all the rest.
    let mut attached: BTreeMap<(&str, Option<&str>, Option<&str>), bool> = BTreeMap::new();
    let mut interfaces = 0;
    for hook in hooks {
        let mut interface = hook.interface.as_deref();
        if interface.is_some() {
            interfaces += 1;
            if interfaces > MOST_INTERFACES {
                interface = Some("other");
            }
        }
        *attached.entry((&hook.name, hook.mode.as_deref(), interface)).or_insert(true) &=
            hook.attached;
    }
    attached
        .into_iter()
        .map(|((name, mode, interface), attached)| {
            let mut labels: Labels = vec![("hook", name.to_owned().into())];
            labels.extend(mode.map(|mode| ("mode", mode.to_owned().into())));
            labels.extend(interface.map(|interface| ("interface", interface.to_owned().into())));
            Series { labels, value: Value::Gauge(Number::Int(attached.into())) }
        })
        .collect()
}
