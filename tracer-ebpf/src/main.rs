//! The kernel side of tracer: one file per hook under [`hooks`].
//!
//! It sees, filters, stamps and counts; what it means is decided on the user side. Every program
//! lets every packet and every call through.
#![no_std]
#![no_main]

mod address;
mod config;
mod counters;
mod fetch;
mod filter;
mod flood;
mod hooks;
mod kernel;
mod lane;
mod owner;
mod ring;
mod socket;
mod syn_table;

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Never reached: the verifier rejects a program that could get here.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
