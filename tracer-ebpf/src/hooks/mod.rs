//! One file per hook.

mod accept;
mod rescue;
mod reset;
mod state;
mod syn;
mod synack;
