//! Who sends: the attributes of the resource.

use nix::sys::utsname::uname;
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::attribute::Attributes;
use crate::report::Start;

/// What names a machine (machine-id(5)), with the file that older systems have instead.
const MACHINE_ID: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];

/// Of this host and this tracer; `given` by the user goes first.
pub(super) fn resource(start: &Start, given: &[(String, String)]) -> Resource {
    let host = uname().ok().map(|uname| uname.nodename().to_string_lossy().into_owned());
    let id = MACHINE_ID.iter().find_map(|path| {
        let id = std::fs::read_to_string(path).ok()?.trim().to_owned();
        // While it has not been made, it is empty or a word.
        (id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
    });
    let found = [
        ("service.name", Some("tracer".to_owned())),
        ("service.version", Some(start.version.to_owned())),
        // Tells the hosts of a fleet apart where a Collector keeps no other attribute, and is the
        // same after a restart.
        ("service.instance.id", host.clone()),
        ("host.name", host),
        ("host.id", id),
        ("os.type", Some("linux".to_owned())),
        ("os.description", start.kernel.as_ref().map(|release| format!("Linux {release}"))),
    ];
    let mut all = Attributes::default();
    for (key, value) in found {
        // A capture may be of another machine.
        let elsewhere = start.capture.is_some() && key.starts_with("host.");
        if !elsewhere && !given.iter().any(|(of, _)| of == key) {
            all.add(key, value);
        }
    }
    for (key, value) in given {
        all.add(key, value.as_str());
    }
    Resource { attributes: all.0, ..Resource::default() }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;

    use super::*;
    use crate::report::samples;

    #[test]
    fn what_the_user_gives_goes_first() {
        let given = [
            ("service.name".to_owned(), "edge".to_owned()),
            ("deployment.environment.name".to_owned(), "test".to_owned()),
        ];
        let all = resource(&samples::start(), &given).attributes;
        let of = |key: &str| {
            let found: Vec<_> = all.iter().filter(|one| one.key == key).collect();
            assert!(found.len() < 2, "{key} twice");
            match found.first()?.value.clone()?.value? {
                Value::StringValue(text) => Some(text),
                other => panic!("{key}: {other:?}"),
            }
        };
        assert_eq!(of("service.name").as_deref(), Some("edge"));
        assert_eq!(of("deployment.environment.name").as_deref(), Some("test"));
        assert_eq!(of("service.version").as_deref(), Some("0.1.0"));
        assert_eq!(of("os.type").as_deref(), Some("linux"));
        assert_eq!(of("os.description").as_deref(), Some("Linux 6.18.5-1-amd64"));
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(of("host.name").as_deref(), Some(host.trim_end()));
        assert!(of("host.id").is_none_or(|id| id.len() == 32));
    }
}
