//! Takes out of the kernel side's object what only a debugger wants: DWARF is three quarters of it, and
//! every start would look at its relocations. The BTF, which comes from it, stays.

use std::path::Path;

use anyhow::Context as _;
use object::build::elf::{Builder, SectionData};
use object::elf::SHT_STRTAB;

/// Rewrites the object file without its DWARF.
///
/// # Errors
/// It can't be read, understood or written.
pub(crate) fn strip(file: &Path) -> anyhow::Result<()> {
    let object = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let stripped =
        without_dwarf(&object).with_context(|| format!("cannot strip {}", file.display()))?;
    std::fs::write(file, stripped).with_context(|| format!("cannot write {}", file.display()))
}

fn without_dwarf(object: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut builder = Builder::read(object)?;
    for section in &mut builder.sections {
        let name = section.name.as_slice();
        if name.starts_with(b".debug_") || name.starts_with(b".rel.debug_") {
            section.delete = true;
        }
    }
    builder.delete_orphans();
    // LLVM keeps the sections' names with the symbols'; the writer wants them apart.
    let names = builder.sections.add();
    names.name = b".shstrtab"[..].into();
    names.sh_type = SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = SectionData::SectionString;
    let mut out = Vec::new();
    builder.write(&mut out)?;
    Ok(out)
}
