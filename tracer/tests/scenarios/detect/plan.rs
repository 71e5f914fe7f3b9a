//! What a draw is: a class and figures at random. The same seed gives the same draws.

use std::fmt;

use crate::support::flood::mix;

/// What happens in a draw: four kinds of flood, and ten that are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Spoofed,
    SingleSource,
    Distributed,
    Prefix,
    Completing,
    FlashCrowd,
    Lossy,
    SlowClients,
    AcceptStalled,
    Filtered,
    Forwarded,
    PortScan,
    Backscatter,
    ClosedPort,
}

impl Class {
    pub(super) const ALL: [Self; 14] = [
        Self::Spoofed,
        Self::SingleSource,
        Self::Distributed,
        Self::Prefix,
        Self::Completing,
        Self::FlashCrowd,
        Self::Lossy,
        Self::SlowClients,
        Self::AcceptStalled,
        Self::Filtered,
        Self::Forwarded,
        Self::PortScan,
        Self::Backscatter,
        Self::ClosedPort,
    ];

    /// The name in the matrix; of a flood the verdict that is right.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Spoofed => "spoofed",
            Self::SingleSource => "single_source",
            Self::Distributed => "distributed",
            Self::Prefix => "prefix",
            Self::Completing => "completing",
            Self::FlashCrowd => "flash_crowd",
            Self::Lossy => "lossy",
            Self::SlowClients => "slow_clients",
            Self::AcceptStalled => "accept_stalled",
            Self::Filtered => "filtered",
            Self::Forwarded => "forwarded",
            Self::PortScan => "port_scan",
            Self::Backscatter => "backscatter",
            Self::ClosedPort => "closed_port",
        }
    }

    pub(super) const fn is_flood(self) -> bool {
        matches!(self, Self::Spoofed | Self::SingleSource | Self::Distributed | Self::Prefix)
    }
}

/// How packets for a container pass through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Routed.
    Routed,
    /// Translated to another address.
    Translated,
    /// The same, and somebody listens on the port in this namespace, too.
    TranslatedBesideListener,
}

/// One draw. Rates are packets or connections a second.
#[derive(Clone, Debug)]
pub(super) struct Draw {
    pub(super) class: Class,
    /// Of the generator.
    pub(super) seed: u64,
    pub(super) v6: bool,
    /// Of what the class is about.
    pub(super) rate: u32,
    pub(super) seconds: u32,
    /// Different addresses, where the class has a choice; ports of a scan.
    pub(super) sources: u32,
    /// SYNs from random sources beside the one source, the fifty or the prefix.
    pub(super) noise: u32,
    pub(super) backlog: i32,
    pub(super) syncookies: u8,
    /// Honest connections of the kernel's beside it, which take no time.
    pub(super) crowd: u32,
    /// Honest connections of raw clients beside it ...
    pub(super) patient: u32,
    /// ... each of which answers after between so many and so many milliseconds: what a round trip
    /// is to a server.
    pub(super) round_trip: (u64, u64),
    /// Percent lost each way.
    pub(super) loss: u32,
    pub(super) way: Way,
    /// Of what passes through: nothing completes.
    pub(super) spoofed: bool,
}

impl fmt::Display for Draw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { class, rate, seconds, sources, noise, backlog, syncookies, .. } = self;
        let Self { crowd, patient, round_trip: (from, to), loss, .. } = self;
        write!(f, "{}: {rate}/s for {seconds} s", class.name())?;
        if self.v6 {
            write!(f, ", IPv6")?;
        }
        match class {
            Class::SingleSource => write!(f, ", {noise}/s from others")?,
            Class::Distributed | Class::Prefix => {
                write!(f, ", {sources} sources, {noise}/s from others")?;
            }
            Class::PortScan => write!(f, ", {sources} ports")?,
            Class::Lossy => write!(f, ", {loss} % lost either way")?,
            Class::Forwarded => write!(f, ", {:?}, spoofed {}", self.way, self.spoofed)?,
            _ => {}
        }
        write!(f, ", backlog {backlog}, syncookies {syncookies}, beside {crowd}/s honest")?;
        write!(f, " and {patient}/s with round trips of {from} to {to} ms")
    }
}

/// Numbers at random, a function of the seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0)
    }

    /// From `low` to `high`, both possible.
    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    /// The same as a rate; each order of magnitude is as likely as the next.
    fn rate(&mut self, low: u32, high: u32) -> u32 {
        let part = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        (f64::from(low) * (f64::from(high) / f64::from(low)).powf(part)).round() as u32
    }

    fn percent(&mut self, n: u64) -> bool {
        self.between(0, 99) < n
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.between(0, all.len() as u64 - 1)).expect("a number")]
    }
}

/// The `n`th draw of a seed. Every fourteen draws have every class once, in a drawn order.
pub(super) fn draw(seed: u64, n: u32) -> Draw {
    let round = n / 14;
    let mut order = Random(mix(mix(seed) ^ u64::from(round)));
    let mut classes = Class::ALL;
    for last in (1..classes.len()).rev() {
        let other = usize::try_from(order.between(0, last as u64)).expect("a number");
        classes.swap(last, other);
    }
    let class = classes[(n % 14) as usize];
    let mut random = Random(mix(mix(seed.wrapping_add(0x5eed)) ^ u64::from(n) << 32));
    figures(class, &mut random)
}

fn figures(class: Class, random: &mut Random) -> Draw {
    let seed = random.next();
    let v6 = class.is_flood() && random.percent(25);
    let rate = match class {
        Class::Spoofed | Class::SingleSource | Class::Prefix => random.rate(400, 30_000),
        Class::Distributed => random.rate(2_000, 30_000),
        Class::Filtered | Class::ClosedPort | Class::Backscatter => random.rate(400, 20_000),
        Class::Completing => random.rate(100, 4_000),
        // Of the step; before it, the crowd's.
        Class::FlashCrowd => random.rate(2_000, 8_000),
        Class::Forwarded => random.rate(400, 3_000),
        Class::Lossy | Class::SlowClients | Class::AcceptStalled => random.rate(100, 600),
        Class::PortScan => random.rate(80, 1_000),
    };
    let sources = match class {
        // Each sends 20 a second at the least: fewer, and they can't be told from made-up ones.
        Class::Distributed => random.rate(10, (rate / 20).min(200)),
        Class::Prefix if v6 => 0,
        Class::Prefix => random.rate(8, 256),
        Class::PortScan => rate * 4,
        _ => 0,
    };
    let noise = match class {
        Class::SingleSource | Class::Prefix => rate * random.between(0, 30) as u32 / 100,
        // The many have to be more than the noise in every respect.
        Class::Distributed => rate * random.between(0, 5) as u32 / 100,
        _ => 0,
    };
    let backlog = match class {
        Class::SlowClients | Class::AcceptStalled => random.one_of(&[8, 16, 32, 64]),
        Class::Completing | Class::FlashCrowd | Class::Lossy => random.one_of(&[1_024, 4_096]),
        _ => random.one_of(&[16, 128, 1_024, 4_096]),
    };
    // Without cookies, slow clients of a short backlog are refused, and so are no longer served.
    let syncookies = match class {
        Class::SlowClients => random.one_of(&[1, 1, 2]),
        _ => random.one_of(&[0, 1, 1, 1, 2]),
    };
    let (crowd, patient) = match class {
        Class::FlashCrowd => (rate / random.between(5, 10) as u32, random.rate(5, 100)),
        // These are themselves what connects.
        Class::Lossy | Class::SlowClients | Class::AcceptStalled => (0, 0),
        _ if random.percent(30) => (0, 0),
        _ => (random.rate(20, 1_000), random.rate(5, 200)),
    };
    let from = match class {
        Class::SlowClients => random.between(200, 500),
        _ => random.between(1, 250),
    };
    Draw {
        class,
        seed,
        v6,
        rate,
        seconds: 4,
        sources,
        noise,
        backlog,
        syncookies,
        crowd,
        patient,
        round_trip: (from, from + random.between(0, 200)),
        loss: random.between(10, 40) as u32,
        way: random.one_of(&[Way::Routed, Way::Translated, Way::TranslatedBesideListener]),
        spoofed: random.percent(50),
    }
}
