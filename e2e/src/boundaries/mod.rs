//! Every process killed at every boundary of every effect, on real parts.
//!
//! A [`Flow`] is played once to learn which boundaries each operator and each guard passes in it; then again for each of
//! them, and the process dies there, by its own hand and at once, in the same running world. Whoever runs the process
//! starts it again. The world must settle where the flow leads, and the torture's checker looks at the clients' record.
//! The names are the programs' own ([`bascule_boundary::Effect`]): one that no flow passes and no reason
//! [excuses](excuse) fails the suite.

mod case;
mod excuse;
mod flow;
mod post;
mod session;

pub use case::{Case, Part, Who};
pub use excuse::excuse;
pub use flow::Flow;
pub use session::{Chosen, session};
