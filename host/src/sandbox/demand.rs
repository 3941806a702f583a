//! How many instances of a registration are to be ready, by how it was called lately.
//!
//! Two calls that come soon after one another ask for a first one. Each call that finds none asks for one
//! more, and what lay there unused for a whole span is not asked for any longer. Who is called very often has so
//! many that they can be made a number at a time, as somebody has to be woken for it. A call pays for one
//! instance, and very many calls for some more: however calls come, not many more are made ahead than there
//! were calls.

use std::time::Duration;

use tokio::time::Instant;

/// So many calls within two spans are a reason to have something ready.
const CALLS: u32 = 2;
/// Whoever lacks room has that of others of its tenant that are called so many times more seldom.
const MORE_OFTEN: u32 = 8;
/// So many calls in a span are the most that are asked for: nobody who is called as often gives way.
const OFTEN: u32 = 16;
/// So many calls in a span for each that is ready are a reason to have twice as many.
const CALLS_FOR_EACH: u32 = 64;
/// From so many on, half of them are made, and cleared away, at a time.
const MANY: u32 = 8;
/// A span of time is no longer than this.
const LONGEST_SPAN: Duration = Duration::from_secs(1);
/// How long nothing is made after an instance could not be; twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// How long nothing is made where there was no room, twice as long each time: whoever has it gives it up at times.
pub(super) const PAUSE_WITHOUT_ROOM: Duration = Duration::from_millis(5);
/// So often it is twice as long.
const MOST_DOUBLINGS: u32 = 6;

/// What is known of the calls of one registration.
#[derive(Debug)]
pub(super) struct Demand {
    last_call: Instant,
    /// Calls in this span, and in the one before.
    present: u32,
    previous: u32,
    /// How many are to be ready.
    target: u32,
    /// The fewest that were ready in this span.
    least: u32,
    /// How many were paid for and not made.
    paid: u32,
    failures: u32,
    /// How often there was no room since one was made.
    shortages: u32,
    /// Calls in a span that are asked for, as others of its tenant lack room, or did in the span before.
    asked: Option<u32>,
    paused_until: Option<Instant>,
}

/// What a look at the end of a span comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outlook {
    /// So many are to be ready at most.
    Keep(u32),
    /// Nobody has called for long.
    Idle,
}

/// How often it is to be looked at, where whatever nobody calls for `idle` is given up.
pub(super) fn span(idle: Duration) -> Duration {
    (idle / 2).min(LONGEST_SPAN).max(Duration::from_millis(1))
}

impl Demand {
    pub(super) fn new(now: Instant) -> Self {
        Demand {
            last_call: now,
            present: 0,
            previous: 0,
            target: 0,
            least: 0,
            paid: 0,
            failures: 0,
            shortages: 0,
            asked: None,
            paused_until: None,
        }
    }

    /// A call comes, and finds so many ready. No more than `most` are ever to be.
    pub(super) fn call(&mut self, now: Instant, ready: u32, most: u32) {
        self.last_call = now;
        self.present = self.present.saturating_add(1);
        self.least = self.least.min(ready.saturating_sub(1));
        self.target = self.target.min(most);
        if ready == 0 && !self.is_seldom() {
            self.target = self.target.saturating_add(1).min(most);
        }
        self.paid = self.paid.saturating_add(1);
        if self.present >= self.target.saturating_mul(CALLS_FOR_EACH) {
            let more = self.target.min(most.saturating_sub(self.target));
            self.target += more;
            self.paid = self.paid.saturating_add(more);
        }
        self.paid = self.paid.min(most);
    }

    /// Whether one is to be made, where so many are ready.
    pub(super) fn wants(&self, now: Instant, ready: u32) -> bool {
        let is_paused = self.paused_until.is_some_and(|until| now < until);
        ready < self.target && self.paid > 0 && !is_paused
    }

    /// Whether it is time to make some: none is there, or as many are lacking and paid for as are made at a time.
    pub(super) fn is_due(&self, now: Instant, ready: u32) -> bool {
        let at_a_time = self.at_a_time();
        let is_low = ready <= self.target.saturating_sub(at_a_time);
        self.wants(now, ready) && is_low && (ready == 0 || self.paid >= at_a_time)
    }

    /// Whether it is called so often that something is to be ready.
    pub(super) fn is_frequent(&self) -> bool {
        self.target > 0
    }

    /// How many are made, and cleared away, at a time.
    pub(super) fn at_a_time(&self) -> u32 {
        match self.target {
            MANY.. => self.target / 2,
            _ => 1,
        }
    }

    /// One is being made.
    pub(super) fn begun(&mut self) {
        self.paid = self.paid.saturating_sub(1);
    }

    /// It was made.
    pub(super) fn made(&mut self) {
        self.failures = 0;
        self.shortages = 0;
        self.paused_until = None;
    }

    /// It could not be made.
    pub(super) fn failed(&mut self, now: Instant) {
        self.paused_until = Some(now + doubled(FIRST_PAUSE, &mut self.failures));
    }

    /// There is no room for one. Tells how many calls in a span are to be asked of others; nothing if it is called seldom
    /// itself.
    pub(super) fn lacks_room(&mut self, now: Instant) -> Option<u32> {
        self.paused_until = Some(now + doubled(PAUSE_WITHOUT_ROOM, &mut self.shortages));
        let calls = self.present.max(self.previous);
        (calls >= CALLS).then(|| (calls / MORE_OFTEN).clamp(CALLS, OFTEN))
    }

    /// Others of its tenant lack room. From now on nothing is kept for fewer calls in a span, this one and the one before:
    /// calls that come one by one do not have those do without that come often.
    pub(super) fn others_lack_room(&mut self, asked: u32) {
        self.asked = Some(asked);
        if self.is_seldom() {
            self.target = 0;
        }
    }

    /// A span is over, and so many are ready. As others of its tenant lacked room in it, so many calls are asked for.
    pub(super) fn look(
        &mut self,
        now: Instant,
        ready: u32,
        (idle, asked): (Duration, Option<u32>),
    ) -> Outlook {
        if now.saturating_duration_since(self.last_call) >= idle {
            return Outlook::Idle;
        }
        match asked {
            Some(asked) => self.others_lack_room(asked),
            None => self.asked = None,
        }
        // One is kept as long as there are calls at all, and those for which it is not time yet.
        let unused = self.least.saturating_sub(self.at_a_time() - 1);
        let unused = unused.min(self.target.saturating_sub(1));
        self.target = self.target.saturating_sub(unused);
        self.least = ready.min(self.target);
        (self.previous, self.present) = (self.present, 0);
        Outlook::Keep(self.target)
    }

    /// Whether too few calls have come for something to be ready.
    fn is_seldom(&self) -> bool {
        match self.asked {
            Some(asked) => self.present.max(self.previous) < asked,
            None => self.present.saturating_add(self.previous) < CALLS,
        }
    }
}

/// A pause, twice as long each time.
fn doubled(first: Duration, times: &mut u32) -> Duration {
    let doublings = (*times).min(MOST_DOUBLINGS);
    *times = times.saturating_add(1);
    first * 2_u32.pow(doublings)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u32 = 4;
    const IDLE: Duration = Duration::from_secs(5);

    /// What is called and made by the clock of the test.
    struct Calls {
        demand: Demand,
        now: Instant,
        ready: u32,
        calls: u32,
        made: u32,
        asked: Option<u32>,
    }

    impl Calls {
        fn new() -> Self {
            let now = Instant::now();
            Calls {
                demand: Demand::new(now),
                now,
                ready: 0,
                calls: 0,
                made: 0,
                asked: None,
            }
        }

        /// So many calls at once. Tells how many found something.
        fn burst(&mut self, calls: u32) -> u32 {
            let mut hits = 0;
            for _ in 0..calls {
                self.calls += 1;
                self.demand.call(self.now, self.ready, MOST);
                hits += u32::from(self.ready > 0);
                self.ready = self.ready.saturating_sub(1);
            }
            self.fill();
            hits
        }

        fn fill(&mut self) {
            while self.demand.wants(self.now, self.ready) {
                self.demand.begun();
                self.demand.made();
                self.ready += 1;
                self.made += 1;
            }
            assert!(self.ready <= MOST && self.made <= self.calls);
        }

        fn end_of_span(&mut self) -> Outlook {
            self.now += span(IDLE);
            let outlook = self.demand.look(self.now, self.ready, (IDLE, self.asked));
            match outlook {
                Outlook::Keep(most) => self.ready = self.ready.min(most),
                Outlook::Idle => self.ready = 0,
            }
            outlook
        }
    }

    #[test]
    fn a_single_call_asks_for_nothing_and_the_third_of_several_finds_one() {
        let mut calls = Calls::new();
        assert_eq!((calls.burst(1), calls.ready), (0, 0));
        assert_eq!((calls.burst(1), calls.ready), (0, 1));
        for _ in 0..50 {
            assert_eq!((calls.burst(1), calls.ready), (1, 1));
        }
    }

    #[test]
    fn calls_that_come_seldom_have_nothing_made_ahead() {
        let mut calls = Calls::new();
        for _ in 0..100 {
            assert_eq!(calls.burst(1), 0);
            for _ in 0..2 {
                assert_eq!(calls.end_of_span(), Outlook::Keep(0));
            }
        }
        assert_eq!(calls.made, 0);
    }

    #[test]
    fn bursts_have_as_many_ready_as_they_need_up_to_the_limit() {
        let mut calls = Calls::new();
        for _ in 0..10 {
            calls.burst(3);
        }
        assert_eq!(calls.burst(3), 3);
        for _ in 0..10 {
            calls.burst(100);
        }
        assert_eq!((calls.ready, calls.burst(100)), (MOST, MOST));
    }

    #[test]
    fn what_was_not_needed_in_a_span_goes_but_for_one() {
        let mut calls = Calls::new();
        for _ in 0..10 {
            calls.burst(100);
        }
        assert_eq!(calls.end_of_span(), Outlook::Keep(MOST));
        for _ in 0..10 {
            calls.burst(1);
        }
        assert_eq!(calls.end_of_span(), Outlook::Keep(1));
        assert_eq!(calls.burst(1), 1);
        assert_eq!(calls.end_of_span(), Outlook::Keep(1));
    }

    #[test]
    fn where_others_lack_room_nothing_is_kept_for_calls_that_come_one_by_one() {
        let mut calls = Calls::new();
        calls.burst(2);
        assert_eq!(calls.end_of_span(), Outlook::Keep(1));
        assert_eq!(calls.burst(1), 1);
        assert_eq!(calls.end_of_span(), Outlook::Keep(1));
        calls.asked = Some(2);
        assert_eq!(calls.burst(2), 1);
        assert_eq!(calls.end_of_span(), Outlook::Keep(2));
        assert_eq!(calls.burst(1), 1);
        assert_eq!(calls.end_of_span(), Outlook::Keep(1));
        assert_eq!(calls.burst(1), 1);
        assert_eq!(calls.end_of_span(), Outlook::Keep(0));
        // In the span that follows, too.
        calls.asked = None;
        assert_eq!(calls.burst(1), 0);
        assert_eq!(calls.end_of_span(), Outlook::Keep(0));
        assert_eq!(calls.burst(1), 0);
        assert_eq!(calls.end_of_span(), Outlook::Keep(1));
    }

    #[test]
    fn where_others_begin_to_lack_room_what_is_called_often_keeps_its_own() {
        let [mut seldom, mut often] = [Calls::new(), Calls::new()];
        for _ in 0..2 {
            seldom.burst(1);
            often.burst(3);
            seldom.end_of_span();
            often.end_of_span();
        }
        for calls in [&mut seldom, &mut often] {
            assert!(calls.demand.is_frequent());
            calls.demand.others_lack_room(2);
        }
        assert!(!seldom.demand.is_frequent() && often.demand.is_frequent());
        assert_eq!(seldom.burst(1), 1, "which is given up by whoever holds it");
        assert_eq!(seldom.ready, 0);
    }

    #[test]
    fn who_lacks_room_asks_others_for_an_eighth_of_its_own_calls_within_bounds() {
        let now = Instant::now();
        let mut demand = Demand::new(now);
        let mut asked = Vec::new();
        for calls in 1..400 {
            demand.call(now, 0, MOST);
            if [1, 2, 17, 40, 127, 399].contains(&calls) {
                asked.push(demand.lacks_room(now));
            }
        }
        let expected = [None, Some(2), Some(2), Some(5), Some(15), Some(16)];
        assert_eq!(asked, expected);
    }

    #[test]
    fn nobody_calls_and_nothing_is_kept() {
        let mut calls = Calls::new();
        calls.burst(2);
        let mut spans = 0;
        while calls.end_of_span() != Outlook::Idle {
            spans += 1;
        }
        assert_eq!(span(IDLE) * (spans + 1), IDLE);
        assert_eq!(calls.ready, 0);
    }

    #[test]
    fn whoever_cannot_be_made_is_tried_ever_more_seldom() {
        let now = Instant::now();
        let mut demand = Demand::new(now);
        demand.call(now, 0, MOST);
        demand.call(now, 0, MOST);
        let mut pauses = Vec::new();
        let mut at = now;
        for _ in 0..9 {
            assert!(demand.wants(at, 0));
            demand.failed(at);
            let pause = (1..100).find(|s| demand.wants(at + Duration::from_secs(*s), 0));
            at += Duration::from_secs(pause.unwrap());
            pauses.push(pause.unwrap());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 64, 64]);
        demand.made();
        assert!(demand.wants(at, 0));
    }

    #[test]
    fn a_lower_limit_holds_from_the_next_call_on() {
        let mut calls = Calls::new();
        for _ in 0..10 {
            calls.burst(100);
        }
        calls.demand.call(calls.now, 0, 1);
        assert!(calls.demand.wants(calls.now, 0) && !calls.demand.wants(calls.now, 1));
    }

    #[test]
    fn of_what_is_called_very_often_many_are_made_at_a_time() {
        const MANY_AT_MOST: u32 = 64;
        let now = Instant::now();
        let (mut demand, mut ready, mut woken) = (Demand::new(now), 0, 0);
        for _ in 0..10_000 {
            demand.call(now, ready, MANY_AT_MOST);
            ready = ready.saturating_sub(1);
            if demand.is_due(now, ready) {
                woken += 1;
                while demand.wants(now, ready) {
                    demand.begun();
                    demand.made();
                    ready += 1;
                }
            }
        }
        assert_eq!(demand.at_a_time(), MANY_AT_MOST / 2);
        assert!(woken < 1_500, "{woken} times, {ready} ready");
        // Whatever comes at times only has few.
        for _ in 0..10 {
            let later = now + span(IDLE);
            demand.call(later, ready, MANY_AT_MOST);
            ready = ready.saturating_sub(1);
            if let Outlook::Keep(most) = demand.look(later, ready, (IDLE, None)) {
                ready = ready.min(most);
            }
        }
        assert!(ready <= MANY, "{ready}");
    }
}
