//! What makes traffic. All of it stays in namespaces of the benchmark's own, and ends by itself.

mod bulk;
mod flood;
mod held;
mod short;

pub(crate) use bulk::{Path, bulk, counted, packets, transactions};
pub(crate) use flood::Arsenal;
pub(crate) use held::Held;
pub(crate) use short::{Clients, PORT, Stage, Yield, server};
