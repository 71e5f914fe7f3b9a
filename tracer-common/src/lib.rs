//! What both sides of tracer's ring buffer must agree on.
//!
//! The kernel side (`tracer-ebpf`) and the user side (`tracer`) share the record layouts, the TCP
//! states, the packet parser and the arithmetic of the SYN table. Nothing here knows of aya or of
//! the standard library.
#![no_std]

pub mod addr;
pub mod control;
pub mod counters;
pub mod flood;
pub mod hash;
pub mod lane;
pub mod offsets;
pub mod packet;
pub mod record;
pub mod settings;
pub mod state;
pub mod syn_table;
