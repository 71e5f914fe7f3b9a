//! Container ids in cgroup paths.
//!
//! Runtimes name the cgroup of a container after it, in ways of their own:
//!
//! | runtime | last part of the path that belongs to the container |
//! | --- | --- |
//! | Docker | `docker-ID.scope`, `docker/ID` |
//! | containerd, nerdctl (CRI) | `cri-containerd-ID.scope`, `nerdctl-ID.scope`, `…:cri-containerd:ID` |
//! | CRI-O | `crio-ID.scope` |
//! | Podman | `libpod-ID.scope`, `libpod-ID` |
//! | Kubernetes with cgroupfs | `kubepods/…/podUID/ID` |
//! | ECS | `ecs/TASK/ID`, `ecs/TASK/TASK-NUMBER` |
//! | LXC, LXD, Incus | `lxc.payload.NAME`, `lxc.payload/NAME`, `lxc/NAME` |
//! | systemd-nspawn and other machines | `machine-NAME.scope`, `systemd-nspawn@NAME.service` |
//!
//! ID is 64 hexadecimal digits (ECS on Fargate: 32 and a number) and is returned whole; NAME is
//! returned without systemd's escapes.

/// The id, or the name where it has no id, of the innermost container that `path` lies in.
#[must_use]
pub fn container_of(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    (0..parts.len()).rev().find_map(|at| {
        let part = parts.get(at)?;
        let parent = at.checked_sub(1).and_then(|parent| parts.get(parent)).copied();
        named_by_id(part).or_else(|| named_by_name(part, parent))
    })
}

fn named_by_id(part: &str) -> Option<String> {
    let unit = part.strip_suffix(".scope").unwrap_or(part);
    // `libpod-conmon-ID` and `crio-conmon-ID` hold the container's monitor, not the container.
    if unit.contains("conmon-") {
        return None;
    }
    if let Some((task, number)) = unit.split_once('-')
        && is_hex(task, 32)
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Some(unit.to_owned());
    }
    let id = unit.rsplit(['-', ':']).next()?;
    is_hex(id, 64).then(|| id.to_owned())
}

fn named_by_name(part: &str, parent: Option<&str>) -> Option<String> {
    let name = if let Some(name) = part.strip_prefix("lxc.payload.") {
        name.to_owned()
    } else if matches!(parent, Some("lxc.payload" | "lxc")) {
        part.to_owned()
    } else if let Some(name) =
        part.strip_prefix("machine-").and_then(|rest| rest.strip_suffix(".scope"))
    {
        unescape_unit(name)
    } else if let Some(name) =
        part.strip_prefix("systemd-nspawn@").and_then(|rest| rest.strip_suffix(".service"))
    {
        unescape_unit(name)
    } else {
        return None;
    };
    (!name.is_empty()).then_some(name)
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Undoes what systemd-escape(1) does to a name in a unit: `\xNN` stands for a byte and `-` for `/`,
/// which no machine name holds, so `-` stays.
fn unescape_unit(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = rest.first_chunk::<4>().and_then(|chunk| {
            let digits = std::str::from_utf8(chunk).ok()?.strip_prefix("\\x")?;
            u8::from_str_radix(digits, 16).ok()
        });
        if let Some(byte) = escaped {
            bytes.push(byte);
            rest = rest.get(4..).unwrap_or_default();
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4f0c2d8a7b6e5d4c3b2a19080706050403020100ffeeddccbbaa998877665544";
    const TASK: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn paths_of_every_runtime() {
        let containers = [
            ("Docker, systemd", format!("/system.slice/docker-{ID}.scope"), ID),
            ("Docker, cgroupfs", format!("/docker/{ID}"), ID),
            (
                "a process in a cgroup of the container's own",
                format!("/docker/{ID}/init.scope"),
                ID,
            ),
            (
                "Kubernetes, containerd, systemd",
                format!(
                    "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod0a1b.slice/cri-containerd-{ID}.scope"
                ),
                ID,
            ),
            (
                "containerd, cgroupfs below systemd",
                format!(
                    "/system.slice/containerd.service/kubepods-burstable-pod0a1b.slice:cri-containerd:{ID}"
                ),
                ID,
            ),
            (
                "Kubernetes, cgroupfs",
                format!("/kubepods/burstable/pod5f8d1f6a-1b2c-4d5e-8f90-a1b2c3d4e5f6/{ID}"),
                ID,
            ),
            ("CRI-O", format!("/kubepods.slice/kubepods-pod1.slice/crio-{ID}.scope"), ID),
            (
                "CRI-O with a cgroup inside",
                format!("/kubepods.slice/crio-{ID}.scope/container"),
                ID,
            ),
            ("Podman", format!("/machine.slice/libpod-{ID}.scope/container"), ID),
            (
                "Podman, rootless",
                format!(
                    "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope"
                ),
                ID,
            ),
            ("Podman, cgroupfs", format!("/libpod_parent/libpod-{ID}"), ID),
            ("nerdctl", format!("/system.slice/nerdctl-{ID}.scope"), ID),
            ("ECS on EC2", format!("/ecs/{TASK}/{ID}"), ID),
            ("LXC", "/lxc.payload.web-1/system.slice/nginx.service".into(), "web-1"),
            ("LXC, old", "/lxc/db/init.scope".into(), "db"),
            (
                "nspawn",
                "/machine.slice/machine-debian\\x2dtest.scope/payload".into(),
                "debian-test",
            ),
            (
                "nspawn as a service",
                "/machine.slice/systemd-nspawn@web.service/payload".into(),
                "web",
            ),
            ("the inner of two", format!("/lxc.payload.host/docker/{ID}"), ID),
        ];
        for (name, path, expected) in containers {
            assert_eq!(container_of(&path).as_deref(), Some(expected), "{name}: {path}");
        }
        let fargate = format!("{TASK}-1234567890");
        assert_eq!(container_of(&format!("/ecs/{TASK}/{fargate}")), Some(fargate));
    }

    #[test]
    fn paths_that_are_no_container() {
        let short = ID.get(..63).unwrap();
        let upper = ID.to_uppercase();
        for path in [
            "/".to_owned(),
            String::new(),
            "/system.slice/nginx.service".into(),
            "/user.slice/user-1000.slice/session-3.scope".into(),
            "/system.slice/docker.service".into(),
            format!("/machine.slice/libpod-conmon-{ID}.scope"),
            format!("/kubepods.slice/crio-conmon-{ID}.scope"),
            format!("/docker/{short}"),
            format!("/docker/{upper}"),
            format!("/docker/{ID}0"),
            format!("/ecs/{TASK}"),
            "/lxc.monitor.web".into(),
            "/lxc.payload.".into(),
            "/machine.slice".into(),
            "/machine.slice/machine-.scope".into(),
            "/kubepods/burstable/pod5f8d1f6a-1b2c-4d5e-8f90-a1b2c3d4e5f6".into(),
        ] {
            assert_eq!(container_of(&path), None, "{path}");
        }
    }

    #[test]
    fn unit_names_are_unescaped_bytewise() {
        assert_eq!(unescape_unit("a\\x2db"), "a-b");
        assert_eq!(unescape_unit("\\xc3\\xa4"), "ä");
        assert_eq!(unescape_unit("\\xff\\x2"), "\u{fffd}\\x2");
        assert_eq!(unescape_unit("\\xzz"), "\\xzz");
    }
}
