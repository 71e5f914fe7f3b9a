//! Stories in simulated time: a host with a SYN queue, its clients, and who attacks it.

mod host;
mod notices;
mod stories;
