//! One file per hook.

mod accept;
mod keep;
mod pass;
mod rescue;
mod reserve;
mod reset;
mod state;
mod syn;
mod synack;
