//! Where the running kernel keeps its fields, from its own BTF.
//!
//! rustc emits no CO-RE relocations; the offsets travel to the programs as frozen globals.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;

use anyhow::{Context as _, Result, bail};
use btf_rs::{Backend, Btf, BtfType, Member, Type};
use nix::sys::memfd::{MFdFlags, memfd_create};
use tracer_common::offsets::{ABSENT, Offsets};

/// Where the kernel shows its own BTF.
pub const VMLINUX_BTF: &str = "/sys/kernel/btf/vmlinux";

/// What was learnt from the kernel's BTF.
pub struct Layout {
    /// Offsets of the fields the programs read.
    pub offsets: Offsets,
    /// Parameters of `inet_csk_accept()`: 4 before Linux 6.10, 2 since; `None` if unknown.
    pub accept_parameters: Option<usize>,
}

/// Reads the running kernel's BTF.
///
/// # Errors
/// No BTF, unreadable BTF, or a kernel without a field that nothing works without.
pub fn read() -> Result<Layout> {
    from_btf(&open()?)
}

/// Opens the running kernel's BTF.
pub(super) fn open() -> Result<Btf> {
    mapped().or_else(|_| parsed()).with_context(|| {
        format!(
            "cannot read the kernel's type information ({VMLINUX_BTF}): tracer needs a kernel \
             built with CONFIG_DEBUG_INFO_BTF=y, as distributions' kernels since 5.15 are"
        )
    })
}

/// Looks only at what is asked for: to parse all of its hundred thousand types takes a tenth of a
/// second and tens of megabytes.
fn mapped() -> Result<Btf> {
    // Linux lets it be mapped since 6.16.
    if let Ok(btf) = Btf::from_file_with_backend(VMLINUX_BTF, Backend::Mmap) {
        return Ok(btf);
    }
    let mut copy = File::from(memfd_create("vmlinux-btf", MFdFlags::MFD_CLOEXEC)?);
    copy.write_all(&std::fs::read(VMLINUX_BTF)?)?;
    let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
    Ok(Btf::from_file_with_backend(path, Backend::Mmap)?)
}

/// Where nothing can be mapped.
fn parsed() -> Result<Btf> {
    // All of it first: read in place it is a system call for each type.
    Ok(Btf::from_bytes(&std::fs::read(VMLINUX_BTF)?)?)
}

fn from_btf(btf: &Btf) -> Result<Layout> {
    // To look for a name is to look at all of them.
    let mut structures = HashMap::new();
    let offsets = Offsets::resolve(|structure, path| {
        let found = structures.entry(structure).or_insert_with(|| self::structure(btf, structure));
        find(btf, found.as_ref()?, path)
    });
    let required = [
        ("skc_daddr", offsets.skc_daddr),
        ("skc_rcv_saddr", offsets.skc_rcv_saddr),
        ("skc_dport", offsets.skc_dport),
        ("skc_num", offsets.skc_num),
        ("skc_family", offsets.skc_family),
        ("skc_net", offsets.skc_net),
        ("net.ns.inum", offsets.net_inum),
        ("sk_protocol", offsets.sk_protocol),
        ("sk_err", offsets.sk_err),
        ("sk_lock.owned", offsets.sk_lock_owned),
        ("inet_sport", offsets.inet_sport),
    ];
    let missing: Vec<_> =
        required.iter().filter(|(_, offset)| *offset == ABSENT).map(|(name, _)| *name).collect();
    if !missing.is_empty() {
        bail!(
            "this kernel's type information lacks {}: its TCP sockets are laid out in a way \
             tracer does not know",
            missing.join(", ")
        );
    }
    Ok(Layout { offsets, accept_parameters: parameters(btf, "inet_csk_accept") })
}

/// A structure by its name; not one that is only declared.
fn structure(btf: &Btf, name: &str) -> Option<Type> {
    let whole = |found: &Type| matches!(found, Type::Struct(found) if !found.members.is_empty());
    btf.resolve_types_by_name(name).ok()?.into_iter().find(whole)
}

/// Byte offset of a member, or its bit offset where the path ends in `#bit`.
fn find(btf: &Btf, structure: &Type, path: &str) -> Option<u32> {
    let (path, bits) = match path.strip_suffix("#bit") {
        Some(path) => (path, true),
        None => (path, false),
    };
    let mut current = structure.clone();
    let mut offset = 0;
    for name in path.split('.') {
        let (members, next) = member(btf, &current, name)?;
        offset += members;
        current = next;
    }
    if bits {
        Some(offset)
    } else if offset % 8 == 0 {
        Some(offset / 8)
    } else {
        None
    }
}

/// Bit offset and type of a member, looked for in anonymous members too.
fn member(btf: &Btf, container: &Type, name: &str) -> Option<(u32, Type)> {
    let (Type::Struct(container) | Type::Union(container)) = container else {
        return None;
    };
    for member in &container.members {
        let own = btf.resolve_name(member).unwrap_or_default();
        if own == name {
            return Some((member.bit_offset(), member_type(btf, member)?));
        }
        if own.is_empty()
            && let Some(inner) = member_type(btf, member)
            && let Some((offset, found)) = self::member(btf, &inner, name)
        {
            return Some((member.bit_offset() + offset, found));
        }
    }
    None
}

/// A member's type without typedefs and qualifiers.
fn member_type(btf: &Btf, member: &Member) -> Option<Type> {
    let mut current = btf.resolve_chained_type(member).ok()?;
    loop {
        current = match &current {
            Type::Typedef(inner) => btf.resolve_chained_type(inner).ok()?,
            Type::Volatile(inner) | Type::Const(inner) | Type::Restrict(inner) => {
                btf.resolve_chained_type(inner).ok()?
            }
            Type::TypeTag(inner) => btf.resolve_chained_type(inner).ok()?,
            _ => return Some(current),
        };
    }
}

/// How many parameters a kernel function has.
fn parameters(btf: &Btf, function: &str) -> Option<usize> {
    btf.resolve_types_by_name(function).ok()?.into_iter().find_map(|candidate| {
        let Type::Func(function) = &candidate else {
            return None;
        };
        match btf.resolve_type_by_id(function.get_type_id()?).ok()? {
            Type::FuncProto(prototype) => Some(prototype.parameters.len()),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_is_understood() {
        let layout = read().expect("the kernel's BTF");
        let missing: Vec<_> = layout.offsets.missing().collect();
        assert!(missing.is_empty(), "{missing:?}");
        // `struct sock` begins with its sock_common, and that with the addresses.
        assert_eq!(layout.offsets.skc_daddr, 0);
        assert_eq!(layout.offsets.skc_rcv_saddr, 4);
        assert!(matches!(layout.accept_parameters, Some(2 | 4)));
    }
}
