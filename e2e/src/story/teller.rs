//! How the story looks: plain lines with the time, readable without colour.

use std::time::{Duration, Instant};

use crate::progress::seconds;

/// Says things on standard output.
#[derive(Clone, Copy, Debug)]
pub struct Teller {
    begin: Instant,
}

impl Teller {
    /// The clock starts now.
    pub fn new() -> Self {
        Self { begin: Instant::now() }
    }

    /// Time since the story's clock started.
    pub fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    /// A chapter's title.
    pub fn chapter(&self, title: &str) {
        println!("\n=== {title}");
    }

    /// Something that happened, with the time.
    pub fn say(&self, what: &str) {
        println!("{:>8}  {what}", seconds(self.elapsed()));
    }

    /// What belongs to the line before.
    pub fn detail(&self, what: &str) {
        for line in what.lines() {
            println!("{:>8}    {line}", "");
        }
    }
}

impl Default for Teller {
    fn default() -> Self {
        Self::new()
    }
}
