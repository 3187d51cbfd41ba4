//! The client that the outside world would be: it writes and reads all the time, remembers what it was told, and
//! judges the history from that record alone.

pub mod dns;
