use super::*;

fn ports(text: &str) -> PortSet {
    text.split(',').map(|range| range.parse().unwrap()).collect()
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

#[test]
fn port_ranges_are_parsed_and_shown_as_typed() {
    for text in ["1", "80", "65535", "8000-8100", "1-65535"] {
        assert_eq!(text.parse::<PortRange>().unwrap().to_string(), text);
    }
    assert_eq!("80-80".parse::<PortRange>().unwrap().to_string(), "80");
}

#[test]
fn bad_ports_are_told_what_is_wrong() {
    let error = |text: &str| text.parse::<PortRange>().unwrap_err();
    assert_eq!(error("99999"), "`99999` is no port; ports are 1 to 65535");
    assert_eq!(error("0"), "`0` is no port; ports are 1 to 65535");
    assert_eq!(error("9-3"), "the range is reversed; write 3-9");
    assert!(error("http").starts_with("`http` is no port; give a number"));
    assert!(error("-5").starts_with("`-5` is no port"));
    assert!(error("5-").starts_with("`` is no port"));
    assert!(error("1-2-3").starts_with("`2-3` is no port"));
    assert!(error("99999999999").starts_with("`99999999999` is no port"));
}

#[test]
fn a_port_set_merges_what_overlaps_or_touches() {
    let set = ports("443,80,8000-8010,8005-8020,8021,9000");
    let shown: Vec<_> = set.ranges().iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["80", "443", "8000-8021", "9000"]);
    assert_eq!(ports("1-65535,7").ranges().len(), 1);
}

#[test]
fn a_port_set_its_words_and_its_ranges_agree() {
    for text in ["80", "1", "65535", "63-65,128", "8000-8100,443", "1-65535"] {
        let set = ports(text);
        let words = set.words();
        assert_eq!(words.len(), 1024);
        for port in 0..=u16::MAX {
            let bit = words[usize::from(port / 64)] >> (port % 64) & 1 == 1;
            let listed =
                set.ranges().iter().any(|range| (range.first()..=range.last()).contains(&port));
            assert_eq!((set.contains(port), bit), (listed, listed), "{text}: {port}");
        }
    }
    assert!(PortSet::default().is_empty() && !PortSet::default().contains(80));
}

#[test]
fn prefixes_lose_their_host_bits() {
    for (typed, shown) in [
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("10.1.2.3", "10.1.2.3"),
        ("10.1.2.3/32", "10.1.2.3"),
        ("10.1.2.3/0", "0.0.0.0/0"),
        ("2001:db8:1:2::9/32", "2001:db8::/32"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("::1/0", "::/0"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3/104", "10.0.0.0/8"),
        ("::ffff:10.1.2.3/95", "::fffe:0:0/95"),
    ] {
        assert_eq!(prefix(typed).to_string(), shown);
    }
}

#[test]
fn bad_prefixes_are_told_what_is_wrong() {
    let error = |text: &str| text.parse::<Prefix>().unwrap_err();
    assert_eq!(error("10.0.0.0/40"), "`/40` is no IPv4 prefix length; it is 0 to 32");
    assert_eq!(error("2001:db8::/129"), "`/129` is no IPv6 prefix length; it is 0 to 128");
    assert!(error("10.0.0.0/").starts_with("`/` is no IPv4 prefix length"));
    assert!(error("10.0.0.0/-1").starts_with("`/-1` is no IPv4 prefix length"));
    assert!(error("example.org").starts_with("`example.org` is no IP address; names are not"));
    assert!(error("10.0.0").starts_with("`10.0.0` is no IP address"));
    assert!(error("").starts_with("`` is no IP address"));
}

#[test]
fn prefixes_contain_what_lies_in_them() {
    let contains = |p: &str, addr: &str| prefix(p).contains(addr.parse().unwrap());
    assert!(contains("10.0.0.0/8", "10.255.0.1"));
    assert!(!contains("10.0.0.0/8", "11.0.0.1"));
    assert!(contains("0.0.0.0/0", "192.0.2.1") && !contains("0.0.0.0/0", "2001:db8::1"));
    assert!(contains("192.0.2.1", "192.0.2.1") && !contains("192.0.2.1", "192.0.2.0"));
    assert!(contains("2001:db8::/33", "2001:db8:7fff::1"));
    assert!(!contains("2001:db8::/33", "2001:db8:8000::1"));
    assert!(contains("::/0", "2001:db8::1") && contains("::/0", "192.0.2.1"));
    assert!(!contains("2001:db8::/32", "192.0.2.1"));
    assert!(contains("::1", "::1") && !contains("::1", "::2"));
}

#[test]
fn the_kernels_key_is_in_the_mapped_space() {
    assert_eq!(
        prefix("10.0.0.0/8").lpm_key(),
        (104, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 0])
    );
    let (len, key) = prefix("2001:db8::/32").lpm_key();
    assert_eq!((len, &key[..5]), (32, &[0x20, 0x01, 0x0d, 0xb8, 0][..]));
    assert_eq!(prefix("::/0").lpm_key(), (0, [0; 16]));
}

#[test]
fn the_kernels_bits_and_words_follow_the_filters() {
    assert_eq!(KernelFilters::default().bits(), 0);
    assert_eq!(KernelFilters::default().port_words().count(), 0);
    let filters = KernelFilters {
        any_port: ports("65"),
        local_port: ports("1"),
        remote_port: ports("65535"),
        hosts: vec![prefix("10.0.0.0/8")],
        family: Some(Family::V6),
        netns: Some(7),
    };
    use tracer_common::settings::filter as bit;
    assert_eq!(
        filters.bits(),
        bit::PORT | bit::LOCAL_PORT | bit::REMOTE_PORT | bit::HOST | bit::V6 | bit::NETNS
    );
    assert_eq!(filters.port_words().collect::<Vec<_>>(), [(1, 2), (1024, 2), (3071, 1 << 63)]);
    let v4 = KernelFilters { family: Some(Family::V4), ..KernelFilters::default() };
    assert_eq!(v4.bits(), bit::V4);
}

#[test]
fn filters_are_described_as_options_and_as_json() {
    let mut filters = Described::default();
    assert!(filters.is_empty() && filters.to_string().is_empty());
    assert_eq!(serde_json::to_string(&filters).unwrap(), "{}");
    filters.values("local-port", ports("80,8000-8010").ranges());
    filters.values("host", Vec::<Prefix>::new());
    filters.flag("failed", true);
    filters.flag("states", false);
    assert_eq!(filters.to_string(), "--local-port 80,8000-8010 --failed");
    assert_eq!(
        serde_json::to_string(&filters).unwrap(),
        r#"{"local_port":["80","8000-8010"],"failed":true}"#
    );
}
