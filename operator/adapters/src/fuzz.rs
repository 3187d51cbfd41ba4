//! Where the fuzz targets come in: the code that reads what came from outside, without the connection it came by.

pub use crate::dns::fuzz::answer as dns_answer;
pub use crate::guards::fuzz::said as guard_said;
pub use crate::postgres::fuzz::asked as postgres_asked;
