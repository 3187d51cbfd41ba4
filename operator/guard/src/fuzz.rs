//! Where the fuzz targets come in: the code that reads what came from outside, without the connection it came by.

pub use crate::link::fuzz::said as operator_said;
pub use crate::session::fuzz::asked as postgres_asked;
