//! Connections of those who have not shown who they are.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// Room for so many of them. When it is full and another one comes, the one that has been there the longest goes:
/// whoever has a reason to be there is done within milliseconds, and a crowd that only stands about keeps nobody out.
#[derive(Debug)]
pub struct Strangers {
    most: usize,
    present: Mutex<Present>,
}

#[derive(Debug, Default)]
struct Present {
    last: u64,
    /// The oldest first.
    all: BTreeMap<u64, CancellationToken>,
}

/// A place in the room, free again when it is dropped.
#[derive(Debug)]
pub struct Stranger {
    room: Arc<Strangers>,
    number: u64,
    away: CancellationToken,
}

impl Strangers {
    /// Room for `most` of them.
    pub fn room_for(most: usize) -> Arc<Self> {
        Arc::new(Self { most, present: Mutex::default() })
    }

    /// Lets another one in.
    pub fn enter(self: &Arc<Self>) -> Stranger {
        let away = CancellationToken::new();
        let mut present = self.present();
        present.last += 1;
        let number = present.last;
        while present.all.len() >= self.most {
            let Some((_, oldest)) = present.all.pop_first() else { break };
            oldest.cancel();
        }
        present.all.insert(number, away.clone());
        drop(present);
        Stranger { room: Arc::clone(self), number, away }
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        // Every change is one call: a panic elsewhere leaves it right.
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stranger {
    /// Returns when the place is needed by a newer one: the connection is to be closed.
    pub async fn sent_away(&self) {
        self.away.cancelled().await;
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.room.present().all.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_the_room_is_full_the_oldest_goes_and_whoever_left_by_himself_made_room() {
        let room = Strangers::room_for(2);
        let (first, second) = (room.enter(), room.enter());
        assert!(!first.away.is_cancelled());
        let third = room.enter();
        assert!(first.away.is_cancelled() && !second.away.is_cancelled());
        drop(second);
        let fourth = room.enter();
        assert!(!third.away.is_cancelled() && !fourth.away.is_cancelled());
    }
}
