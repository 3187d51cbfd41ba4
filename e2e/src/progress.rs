//! What a person sees while the sandbox works: one line per step, with the time it took, and a sign of life at
//! least every two seconds.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a step may stay without a sign of life.
const SIGN_OF_LIFE: Duration = Duration::from_millis(1500);

/// Writes steps to standard error, each with the seconds since this value was made.
#[derive(Clone, Debug)]
pub struct Progress {
    begin: Instant,
    quiet: bool,
    terminal: bool,
}

impl Progress {
    /// Steps are shown on standard error.
    pub fn shown() -> Self {
        Self { begin: Instant::now(), quiet: false, terminal: std::io::stderr().is_terminal() }
    }

    /// Nothing is shown.
    pub fn quiet() -> Self {
        Self { begin: Instant::now(), quiet: true, terminal: false }
    }

    /// Time since this value was made.
    pub fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    /// One line about something that is done.
    pub fn done(&self, what: &str) {
        if !self.quiet {
            eprintln!("{} {what}", self.stamp());
        }
    }

    /// Runs a step that may take long. While it runs, a terminal shows its seconds and the last thing the step
    /// said; anything else gets a dot every moment. Ends with one line that has the time taken.
    pub fn step<T, E: std::fmt::Display>(
        &self,
        what: &str,
        work: impl FnOnce(&Note) -> Result<T, E>,
    ) -> Result<T, E> {
        let note = Note { text: Arc::new(Mutex::new(String::new())) };
        let sign = (!self.quiet).then(|| SignOfLife::start(self.clone(), what.to_owned(), note.clone()));
        let begin = Instant::now();
        let result = work(&note);
        if let Some(sign) = sign {
            sign.stop();
            let end = match &result {
                Ok(_) => format!("{what} ({})", seconds(begin.elapsed())),
                Err(_) => format!("{what}: FAILED after {}", seconds(begin.elapsed())),
            };
            eprintln!("{}{} {end}", if self.terminal { "\r\x1b[K" } else { "\n" }, self.stamp());
        }
        result
    }

    fn stamp(&self) -> String {
        format!("{:>8}", seconds(self.begin.elapsed()))
    }
}

/// The last thing a step said about itself.
#[derive(Clone, Debug)]
pub struct Note {
    text: Arc<Mutex<String>>,
}

impl Note {
    /// Replaces what is shown beside the step.
    pub fn say(&self, text: &str) {
        if let Ok(mut held) = self.text.lock() {
            text.clone_into(&mut held);
        }
    }

    fn get(&self) -> String {
        self.text.lock().map(|held| held.clone()).unwrap_or_default()
    }
}

struct SignOfLife {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl SignOfLife {
    fn start(progress: Progress, what: String, note: Note) -> Self {
        let (stop, stopped) = channel();
        let thread = std::thread::spawn(move || Self::show(&progress, &what, &note, &stopped));
        Self { stop, thread }
    }

    fn show(progress: &Progress, what: &str, note: &Note, stopped: &Receiver<()>) {
        let begin = Instant::now();
        let mut err = std::io::stderr();
        // What cannot be shown is not worth failing a build for.
        let _ = write!(err, "{} {what} ", progress.stamp());
        let _ = err.flush();
        while stopped.recv_timeout(SIGN_OF_LIFE) == Err(RecvTimeoutError::Timeout) {
            let _ = if progress.terminal {
                let text: String = note.get().chars().take(60).collect();
                let stamp = progress.stamp();
                write!(err, "\r\x1b[K{stamp} {what} … {} {text}", seconds(begin.elapsed()))
            } else {
                write!(err, ".")
            };
            let _ = err.flush();
        }
    }

    fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

/// A duration as a person reads it: `7.2 s`.
pub fn seconds(d: Duration) -> String {
    format!("{:.1} s", d.as_secs_f64())
}
