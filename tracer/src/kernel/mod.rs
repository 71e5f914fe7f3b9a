//! The live source: loads and attaches the kernel side and reads what it sends.
//!
//! aya stays behind this module.

pub mod decode;
pub mod hooks;
pub mod layout;
pub mod load;
pub mod measure;
pub mod syn_hook;
mod tracefs;

pub use hooks::HookStatus;
pub use load::{Kernel, LoadConfig};
