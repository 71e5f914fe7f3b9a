//! Names of cgroups.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::Instant;

use tracer::system::cgroup::Cgroups;

use crate::support::{Cgroup, cgroup_mount, without};

#[test]
fn a_cgroup_is_named_by_its_id_also_after_it_is_gone() {
    let container = "5".repeat(64);
    let name = format!("tsys-{}", std::process::id());
    let outer = Cgroup::new(&name);
    let inner = Cgroup::new(&format!("{name}/docker-{container}.scope"));
    let mut cgroups = Cgroups::new();
    assert_eq!(cgroups.problem(), None);
    let now = Instant::now();
    let named = cgroups.resolve(outer.id(), now).unwrap();
    assert_eq!((&*named.path, &named.container), (&*format!("/{name}"), &None));
    let named = cgroups.resolve(inner.id(), now).unwrap();
    assert_eq!(named.path, format!("/{name}/docker-{container}.scope"));
    assert_eq!(named.container, Some(container));
    let root = fs::metadata(cgroup_mount()).unwrap().ino();
    assert_eq!(cgroups.resolve(root, now).unwrap().path, "/");

    let (inner_id, outer_id) = (inner.id(), outer.id());
    drop(inner);
    drop(outer);
    assert_eq!(cgroups.resolve(inner_id, now), Some(named));
    assert_eq!(Cgroups::new().resolve(outer_id, now), None, "asked for too late");
}

#[test]
fn without_file_handles_cgroups_are_found_by_walking() {
    let name = format!("tsys-walk-{}", std::process::id());
    let outer = Cgroup::new(&name);
    let inner = Cgroup::new(&format!("{name}/inner"));
    without(&[caps::Capability::CAP_DAC_READ_SEARCH], || {
        let mut cgroups = Cgroups::new();
        let now = Instant::now();
        let named = cgroups.resolve(inner.id(), now).unwrap();
        assert_eq!(named.path, format!("/{name}/inner"));
        // A walk has been made, and shows that handles can't be used here.
        let late = Cgroup::new(&format!("{name}/late"));
        assert_eq!(cgroups.resolve(late.id(), now), None);
        assert_eq!(cgroups.resolve(outer.id(), now).unwrap().path, format!("/{name}"));
    });
}
