//! Where is a message on its way?

use bascule_core::time::Boottime;

use super::setting::TICK;

/// A call to the arbiter: what is asked (`Q`) and what is answered (`A`).
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Call<Q, A> {
    /// None is under way.
    #[default]
    None,
    /// Sent, not yet there.
    Sent(Boottime, Q),
    /// Done there, the answer not yet heard.
    Answered(Boottime, Q, A),
    /// Lost, one way or the other; known at the next tick.
    Lost(Q),
}

impl<Q: Clone, A> Call<Q, A> {
    /// Whether nothing of it can be heard any more in this tick.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self, Self::None | Self::Lost(_))
    }

    /// When it was sent, while its answer may still come.
    pub(super) const fn sent(&self) -> Option<Boottime> {
        match self {
            Self::Sent(sent, _) | Self::Answered(sent, _, _) => Some(*sent),
            Self::None | Self::Lost(_) => None,
        }
    }

    /// It is done there, with this answer.
    pub(super) fn answered(&mut self, answer: A) {
        if let Self::Sent(sent, q) = self {
            *self = Self::Answered(*sent, q.clone(), answer);
        }
    }

    /// Nobody waits for it any more.
    pub(super) fn lose(&mut self) {
        if let Self::Sent(_, q) | Self::Answered(_, q, _) = self {
            *self = Self::Lost(q.clone());
        }
    }

    /// A tick has passed.
    pub(super) fn let_pass(&mut self) {
        if let Self::Sent(sent, _) | Self::Answered(sent, _, _) = self {
            *sent = *sent - TICK;
        }
    }
}
