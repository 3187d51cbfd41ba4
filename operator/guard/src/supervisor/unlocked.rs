//! A person's word beside the data: looked for all the time, told loudly while it is in force. And what a person finds
//! there who is left without an operator.

use std::time::Duration;

use bascule_core::guard::action::Event;
use bascule_core::guard::unlocked::Unlocked;
use bascule_core::guard::wire::Instruction;
use bascule_core::time::Boottime;
use jiff::Timestamp;

use super::Supervisor;
use crate::store::{HEARD, UNLOCKED};
use crate::unlock::Heard;

/// How often the word is looked for.
const LOOK: Duration = Duration::from_millis(500);
/// How often the guard says that its server is unlocked, and notes at the latest that it still hears its operator.
const MINUTE: Duration = Duration::from_mins(1);

/// What is known of the word, and of the operator's last.
#[derive(Default)]
pub(super) struct Word {
    looked: Option<Boottime>,
    said: Option<Boottime>,
    unread: Option<String>,
    heard: Option<Heard>,
    noted: Option<(Heard, Boottime)>,
}

impl Word {
    /// The operator has spoken.
    pub(super) fn heard(&mut self, ins: &Instruction) {
        self.heard = Some(Heard {
            at: Timestamp::now(),
            role: ins.role.name().to_owned(),
            epoch: ins.epoch,
            serial: ins.serial,
            strayed: false,
        });
    }
}

impl Supervisor {
    pub(super) fn look_at_word(&mut self, now: Boottime) {
        if self.state.word.looked.is_none_or(|at| now.since(at) >= LOOK) {
            self.state.word.looked = Some(now);
            match self.server.store.read(UNLOCKED) {
                Ok(word) => {
                    self.state.word.unread = None;
                    if word != self.rules.memory().unlocked {
                        let said = word
                            .as_ref()
                            .map_or_else(|| "a person's word is gone".to_owned(), Unlocked::words);
                        self.journal.observed(self.marks(), &said);
                        self.apply(Event::Unlocked(word));
                        self.state.word.said = None;
                    }
                }
                // What was said before stands: neither does a disk that fails stop a server nor free one.
                Err(e) => {
                    let why = crate::link::in_full(&e);
                    if self.state.word.unread.as_ref() != Some(&why) {
                        self.trouble(&e);
                        self.state.word.unread = Some(why);
                    }
                }
            }
        }
        let due = self.state.word.said.is_none_or(|at| now.since(at) >= MINUTE);
        if let Some(word) = self.rules.unlocked().filter(|_| due) {
            tracing::error!(
                since = %word.since,
                reason = word.reason,
                "UNLOCKED by a person: no deadline and no operator stops this server until `bascule guard lock`"
            );
            self.state.word.said = Some(now);
        }
    }

    /// Writes down what the operator said last, when it is another thing and once a minute.
    pub(super) fn note_operator(&mut self, now: Boottime) {
        let Some(mut heard) = self.state.word.heard.clone() else { return };
        heard.strayed = self.server.strayed();
        let same =
            |old: &Heard| (&old.role, old.epoch, old.strayed) == (&heard.role, heard.epoch, heard.strayed);
        let noted = self.state.word.noted.as_ref();
        if noted.is_some_and(|(old, at)| same(old) && (now.since(*at) < MINUTE || old.at == heard.at)) {
            return;
        }
        if let Err(e) = self.server.store.note(HEARD, &heard) {
            self.trouble(&e);
        }
        self.state.word.noted = Some((heard, now));
    }
}
