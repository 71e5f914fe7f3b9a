//! What the kernel side counts for the flood detector, read from mapped arrays without system
//! calls; and the maps that tell it who listens where.

mod counts;
mod reader;
mod tables;
mod ways;

use std::mem::offset_of;
use std::os::fd::{AsFd as _, BorrowedFd};

use anyhow::{Context as _, Result, bail};
use aya::Ebpf;
use aya::maps::{Array, HashMap, LpmTrie, Map, MapData};
use tracer_common::flood::SLOTS;
use tracer_common::flood::counts::{END_WRITERS, Ends};
use tracer_common::flood::cpu::{self, Cpu};
use tracer_common::flood::distinct::{REGISTERS, SKETCHES};
use tracer_common::flood::sources::{SOURCE_SETS, Set};

pub use self::reader::FloodReader;
pub use self::tables::FloodTables;
use super::mmap::Mmap;

/// Elements that each array has, for so many CPUs. One that comes up later and is higher counts in the
/// totals only.
pub(super) fn array_sizes(cpus: u32) -> [(&'static str, u32); 4] {
    [
        ("CPUS", cpus),
        ("ENDS", cpus * END_WRITERS * SLOTS),
        ("COMPLETERS", cpus * SOURCE_SETS),
        ("RESETTERS", cpus * SOURCE_SETS),
    ]
}

/// The mapped arrays.
struct Arrays {
    cpus: Mmap,
    ends: Mmap,
    completers: Mmap,
    resetters: Mmap,
    distinct: Mmap,
}

pub(super) fn open(ebpf: &Ebpf) -> Result<(FloodReader, FloodTables)> {
    let cpus = cpus_of(ebpf)?;
    let map = |name, size: usize| {
        Mmap::shared(descriptor(ebpf, name)?, size)
            .with_context(|| format!("cannot map the array {name}"))
    };
    let of_cpus = |each: usize| cpus as usize * each;
    let sets = |name| map(name, of_cpus(SOURCE_SETS as usize * size_of::<Set>()));
    let arrays = Arrays {
        cpus: map("CPUS", of_cpus(size_of::<Cpu>()))?,
        ends: map("ENDS", of_cpus((END_WRITERS * SLOTS) as usize * size_of::<Ends>()))?,
        completers: sets("COMPLETERS")?,
        resetters: sets("RESETTERS")?,
        distinct: map("DISTINCT", 2 * SKETCHES as usize * REGISTERS)?,
    };
    let control = Controls { elements: map("CPUS", of_cpus(size_of::<Cpu>()))?, cpus };
    let listeners = HashMap::try_from(Map::HashMap(again(ebpf, "LISTENERS")?))?;
    let ports = Array::try_from(Map::Array(again(ebpf, "LISTENED_PORTS")?))?;
    let locals = LpmTrie::try_from(Map::LpmTrie(again(ebpf, "LOCALS")?))?;
    let maps = tables::Maps { listeners, ports, locals, control };
    let reader = FloodReader::new(arrays, cpus, super::clock);
    Ok((reader, FloodTables::new(maps)))
}

/// How many SYNs all CPUs have seen.
pub(super) struct Syns {
    elements: Mmap,
    cpus: u32,
}

pub(super) fn syns(ebpf: &Ebpf) -> Result<Syns> {
    let cpus = cpus_of(ebpf)?;
    let elements = Mmap::shared(descriptor(ebpf, "CPUS")?, cpus as usize * size_of::<Cpu>())
        .context("cannot map the array CPUS")?;
    Ok(Syns { elements, cpus })
}

impl Syns {
    pub(super) fn total(&self) -> u64 {
        let at = |cpu| cpu::offset(cpu) + offset_of!(Cpu, now.syns);
        (0..self.cpus).map(|cpu| self.elements.u64(at(cpu))).sum()
    }
}

/// What the kernel side goes by: each CPU has its own copy.
struct Controls {
    elements: Mmap,
    cpus: u32,
}

impl Controls {
    fn set_generation(&mut self, generation: u32) {
        for cpu in 0..self.cpus {
            let at = cpu::offset(cpu) + offset_of!(Cpu, now.control.generation);
            self.elements.set_u32(at, generation);
        }
    }
}

/// The CPUs that the arrays were made for.
fn cpus_of(ebpf: &Ebpf) -> Result<u32> {
    match ebpf.map("CPUS") {
        Some(Map::Array(data)) => Ok(data.info()?.max_entries()),
        _ => bail!("the array CPUS is missing"),
    }
}

/// A map's descriptor.
pub(super) fn descriptor<'a>(ebpf: &'a Ebpf, name: &str) -> Result<BorrowedFd<'a>> {
    match ebpf.map(name) {
        Some(Map::Array(data) | Map::HashMap(data) | Map::LpmTrie(data)) => Ok(data.fd().as_fd()),
        _ => bail!("the map {name} is missing"),
    }
}

/// A second descriptor of a map: programs that are loaded later look for it by the first.
fn again(ebpf: &Ebpf, name: &str) -> Result<MapData> {
    let descriptor = descriptor(ebpf, name)?
        .try_clone_to_owned()
        .with_context(|| format!("cannot duplicate the descriptor of {name}"))?;
    Ok(MapData::from_fd(descriptor)?)
}
