//! One file per hook.

mod accept;
mod reset;
mod state;
mod syn;
mod synack;
