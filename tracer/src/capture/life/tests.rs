//! Conversations as a capture shows them, told segment by segment.

mod close;
mod copies;
mod film;
mod middle;
mod numbers;
mod open;
mod properties;
mod reset;
mod rows;
mod view;
