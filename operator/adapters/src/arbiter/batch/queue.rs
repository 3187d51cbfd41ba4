//! Which of the calls that wait travel in the next request.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::MOST;
use crate::arbiter::failure::{Cause, Failure, Failures};

/// How many requests of one kind are under way at once.
const REQUESTS: usize = 8;

/// The most that a request holds, in bytes, beside a first call of any size. etcd takes a mebibyte and a half unless
/// `--max-request-bytes` says otherwise, and the largest value is a quarter of one.
const BYTES: usize = 512 << 10;

/// How many calls wait at most: far more than the engine makes at once.
const WAITING: usize = 16 << 10;

/// How long who has given up waits for the word of its own request, which has the same deadline and says more.
const LAST_WORD: Duration = Duration::from_millis(50);

/// How calls of one kind are asked and answered.
#[async_trait]
pub(super) trait Carrier: Send + Sync + 'static {
    type Question: Send + Sync + 'static;
    type Answer: Send + 'static;

    /// What no two in one request may share.
    fn name(question: &Self::Question) -> Option<&str>;

    /// How large it is in a request.
    fn bytes(question: &Self::Question) -> usize;

    /// Sends one request with these, once, and brings as many answers, in the same order. An error is that of all of them.
    async fn carry(&self, questions: &[Self::Question], tq: Duration) -> Result<Vec<Self::Answer>, Failures>;
}

/// The answers, when there are as many as questions.
pub(super) fn whole<T>(answers: Option<Vec<T>>, questions: usize) -> Result<Vec<T>, Failures> {
    answers
        .filter(|answers| answers.len() == questions)
        .ok_or_else(|| nowhere(Cause::Lost("the answer is one to something else".to_owned())))
}

fn nowhere(cause: Cause) -> Failures {
    Failure { endpoint: String::new(), cause }.into()
}

/// Who waits for an answer, and until when.
struct Caller<A> {
    id: u64,
    tq: Duration,
    until: Instant,
    answer: oneshot::Sender<Result<A, Failures>>,
}

struct Waiting<C: Carrier> {
    question: C::Question,
    caller: Caller<C::Answer>,
    /// It was refused together with others.
    alone: bool,
}

/// What travels in one request.
struct Batch<C: Carrier> {
    questions: Vec<C::Question>,
    callers: Vec<Caller<C::Answer>>,
}

struct State<C: Carrier> {
    /// By their numbers: the first come first.
    waiting: BTreeMap<u64, Waiting<C>>,
    last: u64,
    /// How many requests are under way, or about to be.
    under_way: usize,
    /// How many calls travel in one: fewer after an answer was lost, for a slow arbiter answers small requests sooner.
    most: usize,
}

impl<C: Carrier> State<C> {
    /// Takes out what travels next.
    fn next(&mut self, now: Instant) -> Option<Batch<C>> {
        let (mut questions, mut callers) = (Vec::new(), Vec::new());
        for id in self.due(now) {
            if let Some(waiting) = self.waiting.remove(&id) {
                questions.push(waiting.question);
                callers.push(waiting.caller);
            }
        }
        (!questions.is_empty()).then_some(Batch { questions, callers })
    }

    fn due(&self, now: Instant) -> Vec<u64> {
        let (mut due, mut bytes, mut names) = (Vec::new(), 0, BTreeSet::new());
        for (id, waiting) in &self.waiting {
            // Its caller gives up just now, and takes it out.
            if waiting.caller.until <= now || (waiting.alone && !due.is_empty()) {
                continue;
            }
            let size = C::bytes(&waiting.question);
            if !due.is_empty() && bytes + size > BYTES {
                break;
            }
            if C::name(&waiting.question).is_some_and(|name| !names.insert(name)) {
                continue;
            }
            due.push(*id);
            bytes += size;
            if waiting.alone || due.len() >= self.most {
                break;
            }
        }
        due
    }
}

/// Calls of one kind.
pub(super) struct Queue<C: Carrier> {
    carrier: C,
    state: Mutex<State<C>>,
}

impl<C: Carrier> fmt::Debug for Queue<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

/// A caller's place among those that wait. Who goes away leaves none.
struct Place<'a, C: Carrier> {
    queue: &'a Queue<C>,
    id: u64,
}

impl<C: Carrier> Drop for Place<'_, C> {
    fn drop(&mut self) {
        self.queue.leave(self.id);
    }
}

impl<C: Carrier> Queue<C> {
    pub(super) fn new(carrier: C) -> Self {
        let state = State { waiting: BTreeMap::new(), last: 0, under_way: 0, most: MOST };
        Self { carrier, state: Mutex::new(state) }
    }

    fn with<T>(&self, f: impl FnOnce(&mut State<C>) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks, alone or together with others. The answer comes within `tq`, or there is none.
    pub(super) async fn call(
        self: &Arc<Self>,
        question: C::Question,
        tq: Duration,
    ) -> Result<C::Answer, Failures> {
        let until = Instant::now() + tq;
        let (answer, answered) = oneshot::channel();
        let id = self.with(|state| {
            if state.waiting.len() >= WAITING {
                return None;
            }
            state.last += 1;
            let caller = Caller { id: state.last, tq, until, answer };
            state.waiting.insert(state.last, Waiting { question, caller, alone: false });
            Some(state.last)
        });
        let Some(id) = id else {
            return Err(Failures::local(format!("not sent: {WAITING} others wait for the arbiter")));
        };
        let _place = Place { queue: self, id };
        // Goes before its place does: what was refused is not put back for somebody who has gone.
        let mut answered = answered;
        self.start(1);
        let told = match timeout_at(until, &mut answered).await {
            Ok(told) => told,
            Err(_) if self.leave(id) => {
                let why = format!("not sent: what was sent before took longer than {tq:?}");
                return Err(Failures::local(why));
            }
            Err(_) => match timeout_at(until + LAST_WORD, &mut answered).await {
                Ok(told) => told,
                Err(_) => return Err(nowhere(Cause::TimedOut(tq))),
            },
        };
        told.unwrap_or_else(|_| Err(nowhere(Cause::Lost("its request was broken off".to_owned()))))
    }

    /// Takes the call out; whether it was still waiting, and was not sent.
    fn leave(&self, id: u64) -> bool {
        self.with(|state| state.waiting.remove(&id)).is_some()
    }

    /// So many more requests may be made of what waits.
    fn start(self: &Arc<Self>, more: usize) {
        let more = self.with(|state| {
            let more = more.min(REQUESTS.saturating_sub(state.under_way));
            state.under_way += more;
            more
        });
        for _ in 0..more {
            tokio::spawn(Arc::clone(self).run());
        }
    }

    /// One request after the other, until nothing waits.
    async fn run(self: Arc<Self>) {
        while let Some(batch) = self.take() {
            let tq = batch.callers.iter().map(|caller| caller.tq).max().unwrap_or_default();
            let answers = self.carrier.carry(&batch.questions, tq).await;
            self.tell(batch, answers);
        }
    }

    /// What travels next. When there is nothing, the request that would have been made is not under way any more.
    fn take(&self) -> Option<Batch<C>> {
        self.with(|state| {
            let batch = state.next(Instant::now());
            if batch.is_none() {
                state.under_way = state.under_way.saturating_sub(1);
            }
            batch
        })
    }

    fn tell(self: &Arc<Self>, batch: Batch<C>, answers: Result<Vec<C::Answer>, Failures>) {
        let Batch { questions, callers } = batch;
        match answers {
            Ok(answers) => {
                self.with(|state| {
                    if questions.len() >= state.most {
                        state.most = (state.most + 1).min(MOST);
                    }
                });
                for (caller, answer) in callers.into_iter().zip(answers) {
                    // Who has gone needs no answer; so everywhere below.
                    let _ = caller.answer.send(Ok(answer));
                }
            }
            Err(why) if questions.len() > 1 && is_refused(&why) => self.each_alone(questions, callers, &why),
            Err(why) => {
                if !why.is_without_effect() {
                    self.with(|state| state.most = (state.most / 2).max(1));
                }
                for caller in callers {
                    let _ = caller.answer.send(Err(why.clone()));
                }
            }
        }
    }

    /// A request was refused for what is in it: which of them it was for is found by asking each alone. None was done.
    fn each_alone(
        self: &Arc<Self>,
        questions: Vec<C::Question>,
        callers: Vec<Caller<C::Answer>>,
        why: &Failures,
    ) {
        let (now, more) = (Instant::now(), questions.len());
        self.with(|state| {
            for (question, caller) in questions.into_iter().zip(callers) {
                if caller.until <= now {
                    let _ = caller.answer.send(Err(why.clone()));
                } else if !caller.answer.is_closed() {
                    state.waiting.insert(caller.id, Waiting { question, caller, alone: true });
                }
            }
        });
        self.start(more);
    }
}

/// Whether every member that was asked has understood the request and refused it.
fn is_refused(why: &Failures) -> bool {
    why.0.iter().all(|failure| matches!(failure.cause, Cause::Refused(_) | Cause::Denied(_)))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::sync::Semaphore;
    use tokio::task::JoinHandle;

    use super::*;

    /// Longer than any test takes.
    const TQ: Duration = Duration::from_secs(30);
    /// The patience of who gives up.
    const SOON: Duration = Duration::from_millis(500);
    /// What may not be done.
    const BAD: &str = "bad";

    /// Answers each question with itself, when it is let.
    struct Fake {
        sent: Mutex<Vec<Vec<String>>>,
        lets: Semaphore,
        loses: AtomicBool,
    }

    #[async_trait]
    impl Carrier for Fake {
        type Question = String;
        type Answer = String;

        fn name(question: &String) -> Option<&str> {
            Some(question)
        }

        fn bytes(question: &String) -> usize {
            if question.starts_with("large") { BYTES / 2 + 1 } else { 1 }
        }

        async fn carry(&self, questions: &[String], _: Duration) -> Result<Vec<String>, Failures> {
            self.sent.lock().unwrap().push(questions.to_vec());
            self.lets.acquire().await.unwrap().forget();
            if questions.iter().any(|question| question == BAD) {
                return Err(Failures::local("it may not be done"));
            }
            if self.loses.load(Ordering::Relaxed) {
                return Err(nowhere(Cause::Lost("no answer came".to_owned())));
            }
            Ok(questions.to_vec())
        }
    }

    type Ended = Result<String, Failures>;

    fn queue() -> Arc<Queue<Fake>> {
        let carrier = Fake { sent: Mutex::default(), lets: Semaphore::new(0), loses: AtomicBool::new(false) };
        Arc::new(Queue::new(carrier))
    }

    impl Queue<Fake> {
        fn sent(&self) -> Vec<Vec<String>> {
            self.carrier.sent.lock().unwrap().clone()
        }

        fn waiting(&self) -> usize {
            self.with(|state| state.waiting.len())
        }

        fn ask(self: &Arc<Self>, question: &str) -> JoinHandle<Ended> {
            let (queue, question) = (Arc::clone(self), question.to_owned());
            tokio::spawn(async move { queue.call(question, TQ).await })
        }

        /// All requests are under way, each with one call.
        async fn busy(self: &Arc<Self>) -> Vec<JoinHandle<Ended>> {
            let mut asked = Vec::new();
            for n in 0..REQUESTS {
                asked.push(self.ask(&format!("first {n}")));
                until(|| self.sent().len() > n).await;
            }
            asked
        }

        /// Asks while all requests are under way.
        async fn ask_all(self: &Arc<Self>, questions: &[&str]) -> Vec<JoinHandle<Ended>> {
            let mut asked = Vec::new();
            for question in questions {
                let before = self.waiting();
                asked.push(self.ask(question));
                until(|| self.waiting() > before).await;
            }
            asked
        }

        fn lets(&self, requests: usize) {
            self.carrier.lets.add_permits(requests);
        }

        /// Lets one request after the other be answered until so many were sent.
        async fn lets_until_sent(&self, requests: usize) {
            while self.sent().len() < requests {
                let before = self.sent().len();
                self.lets(1);
                until(|| self.sent().len() > before).await;
            }
        }
    }

    async fn until(holds: impl Fn() -> bool) {
        let wait = async {
            while !holds() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(TQ, wait).await.expect("it never holds");
    }

    async fn ended(asked: Vec<JoinHandle<Ended>>) -> Vec<Ended> {
        let mut all = Vec::new();
        for one in asked {
            all.push(one.await.unwrap());
        }
        all
    }

    #[tokio::test]
    async fn who_comes_while_a_request_is_free_goes_at_once_and_alone() {
        let queue = queue();
        queue.lets(2);
        assert_eq!(queue.call("a".to_owned(), TQ).await, Ok("a".to_owned()));
        assert_eq!(queue.call("b".to_owned(), TQ).await, Ok("b".to_owned()));
        assert_eq!(queue.sent(), [["a"], ["b"]]);
    }

    #[tokio::test]
    async fn what_waits_while_all_requests_are_under_way_travels_together_in_the_order_it_came() {
        let queue = queue();
        let first = queue.busy().await;
        let names: Vec<String> = (0..MOST + 10).map(|n| format!("{n:03}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let asked = queue.ask_all(&names).await;
        queue.lets_until_sent(REQUESTS + 2).await;
        assert_eq!(queue.sent()[REQUESTS], names[..MOST]);
        assert_eq!(queue.sent()[REQUESTS + 1], names[MOST..]);
        queue.lets(REQUESTS + 2);
        let answers: Vec<String> = ended(asked).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers, names, "each has its own answer");
        assert!(ended(first).await.iter().all(Result::is_ok));
        assert_eq!(queue.sent().len(), REQUESTS + 2);
    }

    #[tokio::test]
    async fn no_two_of_one_name_travel_together() {
        let queue = queue();
        let _first = queue.busy().await;
        let asked = queue.ask_all(&["k", "k", "x"]).await;
        queue.lets_until_sent(REQUESTS + 2).await;
        assert_eq!(queue.sent()[REQUESTS..], [vec!["k", "x"], vec!["k"]]);
        queue.lets(REQUESTS + 2);
        assert!(ended(asked).await.iter().all(Result::is_ok));
    }

    #[tokio::test]
    async fn large_ones_travel_apart() {
        let queue = queue();
        let _first = queue.busy().await;
        let asked = queue.ask_all(&["large 1", "small", "large 2", "last"]).await;
        queue.lets_until_sent(REQUESTS + 2).await;
        assert_eq!(queue.sent()[REQUESTS..], [vec!["large 1", "small"], vec!["large 2", "last"]]);
        queue.lets(REQUESTS + 2);
        assert!(ended(asked).await.iter().all(Result::is_ok));
    }

    #[tokio::test]
    async fn who_gives_up_while_it_waits_is_not_sent_and_knows_it() {
        let queue = queue();
        let first = queue.busy().await;
        let why = queue.call("late".to_owned(), SOON).await.unwrap_err();
        assert!(why.is_without_effect() && why.to_string().contains("not sent"), "{why}");
        assert_eq!(queue.waiting(), 0);
        queue.lets(REQUESTS);
        assert!(ended(first).await.iter().all(Result::is_ok));
        assert_eq!(queue.sent().len(), REQUESTS);
    }

    #[tokio::test]
    async fn who_gives_up_while_its_request_is_under_way_does_not_know_and_nobody_else_suffers() {
        let queue = queue();
        let _first = queue.busy().await;
        let patient = queue.ask_all(&["patient"]).await;
        let (slow, ()) = tokio::join!(queue.call("slow".to_owned(), SOON), async {
            until(|| queue.waiting() == 2).await;
            queue.lets(1);
        });
        let why = slow.unwrap_err();
        assert!(!why.is_without_effect() && why.to_string().contains("no answer within"), "{why}");
        assert_eq!(queue.sent()[REQUESTS], ["patient", "slow"]);
        queue.lets(REQUESTS);
        assert_eq!(ended(patient).await, [Ok("patient".to_owned())]);
    }

    #[tokio::test]
    async fn who_goes_away_while_it_waits_leaves_nothing_behind() {
        let queue = queue();
        let _first = queue.busy().await;
        let asked = queue.ask_all(&["a", "gone"]).await;
        asked[1].abort();
        until(|| queue.waiting() == 1).await;
        queue.lets_until_sent(REQUESTS + 1).await;
        assert_eq!(queue.sent()[REQUESTS], ["a"]);
    }

    #[tokio::test]
    async fn of_those_that_are_refused_together_each_is_asked_alone_and_only_what_may_not_be_is_refused() {
        let queue = queue();
        let _first = queue.busy().await;
        let asked = queue.ask_all(&["a", BAD, "b"]).await;
        queue.lets_until_sent(REQUESTS + 1).await;
        queue.lets(REQUESTS + 4);
        let answers = ended(asked).await;
        assert_eq!((&answers[0], &answers[2]), (&Ok("a".to_owned()), &Ok("b".to_owned())));
        let why = answers[1].as_ref().unwrap_err();
        assert!(why.is_without_effect() && why.to_string().contains("may not be done"), "{why}");
        let mut alone = queue.sent().split_off(REQUESTS + 1);
        alone.sort();
        assert_eq!(queue.sent()[REQUESTS], ["a", BAD, "b"]);
        assert_eq!(alone, [["a"], ["b"], [BAD]]);
    }

    #[tokio::test]
    async fn when_the_answer_is_lost_nobody_knows_nothing_is_sent_again_and_fewer_travel_together() {
        let queue = queue();
        let _first = queue.busy().await;
        let asked = queue.ask_all(&["a", "b", "c"]).await;
        queue.lets_until_sent(REQUESTS + 1).await;
        queue.carrier.loses.store(true, Ordering::Relaxed);
        queue.lets(REQUESTS);
        for answer in ended(asked).await {
            assert!(!answer.unwrap_err().is_without_effect());
        }
        assert_eq!(queue.sent().len(), REQUESTS + 1);
        until(|| queue.with(|state| state.under_way) == 0).await;
        assert_eq!(queue.with(|state| state.most), 1);
        queue.carrier.loses.store(false, Ordering::Relaxed);
        for _ in 0..3 {
            queue.lets(1);
            assert!(queue.call("again".to_owned(), TQ).await.is_ok());
            // One alone says nothing of three.
            assert_eq!(queue.with(|state| state.most), 2);
        }
    }

    #[test]
    fn an_answer_to_something_else_is_no_answer() {
        assert_eq!(whole(Some(vec![1, 2]), 2), Ok(vec![1, 2]));
        for other in [None, Some(vec![1]), Some(vec![1, 2, 3])] {
            assert!(!whole(other, 2).unwrap_err().is_without_effect());
        }
    }
}
