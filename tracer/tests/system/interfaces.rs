//! Interfaces and their changes.

use std::time::Duration;

use tracer::system::interfaces::{self, Change, Watch};
use tracer::system::local_addresses;
use tracer_common::packet::Link;

use crate::support::{Netns, run_script};

/// Runs a future on a runtime of the calling thread, which may live in another namespace.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(future)
}

async fn next(watch: &mut Watch) -> Change {
    tokio::time::timeout(Duration::from_secs(10), watch.next())
        .await
        .expect("the kernel told of no change")
        .unwrap()
}

#[test]
fn interfaces_are_listed_with_what_they_are() {
    let netns = Netns::new();
    netns.ip(&["link", "add", "v0", "mtu", "1400", "type", "veth", "peer", "name", "v1"]);
    netns.ip(&["link", "set", "v0", "up"]);
    netns.ip(&["link", "add", "br0", "type", "bridge"]);
    netns.ip(&["tuntap", "add", "tun0", "mode", "tun"]);
    let interfaces = netns.within(|| interfaces::list().unwrap());
    let get = |name: &str| interfaces.iter().find(|one| one.name == name).unwrap();
    let (v0, v1, br0, tun0) = (get("v0"), get("v1"), get("br0"), get("tun0"));
    assert_eq!((v0.kind.as_deref(), v0.driver.as_deref()), (Some("veth"), Some("veth")));
    assert_eq!((v0.up, v0.mtu, v0.loopback), (true, 1400, false));
    assert!(!v1.up);
    assert_eq!((br0.kind.as_deref(), br0.driver.as_deref()), (Some("bridge"), Some("bridge")));
    assert_eq!((tun0.kind.as_deref(), tun0.link()), (Some("tun"), Ok(Link::RawIp)));
    assert!(get("lo").loopback && get("lo").up);
    assert!(interfaces.iter().all(|one| one.xdp.is_none()));
}

#[test]
fn the_watch_tells_how_interfaces_come_and_go() {
    let netns = Netns::new();
    netns.within(|| {
        block_on(async {
            let (mut watch, present) = Watch::start().unwrap();
            assert!(present.iter().any(|one| one.name == "lo" && one.up));

            netns.ip(&["link", "add", "v0", "type", "veth", "peer", "name", "v1"]);
            netns.ip(&["link", "set", "v0", "up"]);
            let Change::Up(v0) = next(&mut watch).await else {
                panic!("not up");
            };
            assert_eq!((&*v0.name, v0.kind.as_deref()), ("v0", Some("veth")));
            assert_eq!(v0.driver.as_deref(), Some("veth"));
            let index = v0.index;

            // A bridge says that its port is gone from it; the interface is not.
            netns.ip(&["link", "add", "br0", "type", "bridge"]);
            netns.ip(&["link", "set", "v0", "master", "br0"]);
            netns.ip(&["link", "set", "v0", "nomaster"]);
            netns.ip(&["link", "set", "v0", "down"]);
            let name = String::from("v0");
            assert_eq!(next(&mut watch).await, Change::Down { index, name });

            netns.ip(&["link", "set", "v0", "name", "lan"]);
            let Change::Renamed { interface, old } = next(&mut watch).await else {
                panic!("not renamed");
            };
            assert_eq!((interface.index, &*interface.name, &*old), (index, "lan", "v0"));

            netns.ip(&["link", "del", "lan"]);
            let mut gone = Vec::new();
            for _ in 0..2 {
                match next(&mut watch).await {
                    Change::Gone { name, .. } => gone.push(name),
                    other => panic!("{other:?}"),
                }
            }
            gone.sort();
            assert_eq!(gone, ["lan", "v1"]);
            assert_eq!(watch.relisted(), 0);
        });
    });
}

#[test]
fn messages_that_the_kernel_dropped_are_made_up_for() {
    let netns = Netns::new();
    netns.within(|| {
        block_on(async {
            let (mut watch, _) = Watch::start().unwrap();
            // Not read meanwhile, and more than the socket's buffer holds.
            let mut script = "link set lo down\nlink set lo up\n".repeat(1000);
            script.push_str("link add v0 type veth peer name v1\nlink set v0 up\n");
            run_script("ip", &["-n", &netns.0, "-batch", "-"], &script);
            loop {
                if let Change::Up(interface) = next(&mut watch).await
                    && interface.name == "v0"
                {
                    break;
                }
            }
            assert!(watch.relisted() > 0, "the kernel dropped nothing: nothing was tested");
        });
    });
}

#[test]
fn a_namespace_without_any_address_has_an_empty_list_of_them() {
    let netns = Netns::new();
    let (bare, up) = netns.within(|| {
        let up = local_addresses::list().unwrap();
        // This thread's own, where not even `lo` is up.
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        (local_addresses::list().unwrap(), up)
    });
    assert_eq!(bare, []);
    assert!(up.contains(&("127.0.0.1".parse().unwrap(), 32)), "{up:?}");
}
