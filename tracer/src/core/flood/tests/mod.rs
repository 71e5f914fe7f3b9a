//! Stories in simulated time.
