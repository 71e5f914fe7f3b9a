//! One file per hook.

mod accept;
mod keep;
mod pass;
mod rescue;
mod reset;
mod state;
mod syn;
mod synack;
