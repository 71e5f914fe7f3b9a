//! The rules of the core, told as stories in simulated time.

mod close;
mod hosts;
mod loss;
mod open;
mod outcome;
mod owner;
mod properties;
mod requests;
mod reset;
mod selection;
mod snapshot;
mod states;
mod stuck;
mod syns;
mod truth;
mod world;
