//! The supervisor beside a database.
