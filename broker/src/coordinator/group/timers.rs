//! A timer queue that is polled: it knows deadlines, not clocks.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::names::{GroupId, MemberId};

/// What a deadline is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Timer {
    /// A member was silent for its session timeout.
    Session(GroupId, MemberId),
    /// The wait for members to join is over.
    Join(GroupId),
    /// The wait for members to sync is over.
    Sync(GroupId),
    /// Time to look for expired offsets.
    Sweep,
}

struct Entry {
    due: Duration,
    /// Where the queue holds it: at or before `due`.
    queued: Duration,
}

/// Deadlines, one per [`Timer`].
///
/// A heartbeat only moves `due`; the entry in the queue stays where it is and is moved when its
/// time comes. So a heartbeat costs one look-up.
#[derive(Default)]
pub(super) struct Timers {
    entries: HashMap<Timer, Entry>,
    queue: BTreeSet<(Duration, Timer)>,
}

impl Timers {
    /// Sets or moves a deadline.
    pub(super) fn schedule(&mut self, timer: Timer, due: Duration) {
        if let Some(entry) = self.entries.get_mut(&timer) {
            entry.due = due;
            if due >= entry.queued {
                return;
            }
            self.queue.remove(&(entry.queued, timer.clone()));
            entry.queued = due;
        } else {
            self.entries
                .insert(timer.clone(), Entry { due, queued: due });
        }
        self.queue.insert((due, timer));
    }

    /// Forgets a deadline.
    pub(super) fn cancel(&mut self, timer: &Timer) {
        if let Some((timer, entry)) = self.entries.remove_entry(timer) {
            self.queue.remove(&(entry.queued, timer));
        }
    }

    /// When to look next. May be early, never late.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes one timer that is due.
    pub(super) fn pop(&mut self, now: Duration) -> Option<Timer> {
        while let Some((at, _)) = self.queue.first()
            && *at <= now
        {
            let (_, timer) = self.queue.pop_first()?;
            let entry = self.entries.get_mut(&timer)?;
            if entry.due <= now {
                self.entries.remove(&timer);
                return Some(timer);
            }
            entry.queued = entry.due;
            self.queue.insert((entry.due, timer));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    #[test]
    fn timers_fire_in_order_of_their_deadlines_and_only_when_due() {
        let mut timers = Timers::default();
        timers.schedule(Timer::Join("b".into()), ms(20));
        timers.schedule(Timer::Join("a".into()), ms(10));
        assert_eq!(timers.next_deadline(), Some(ms(10)));
        assert_eq!(timers.pop(ms(9)), None);
        assert_eq!(timers.pop(ms(30)), Some(Timer::Join("a".into())));
        assert_eq!(timers.pop(ms(30)), Some(Timer::Join("b".into())));
        assert_eq!(timers.pop(ms(30)), None);
        assert_eq!(timers.next_deadline(), None);
    }

    #[test]
    fn a_deadline_can_move_later_and_earlier() {
        let mut timers = Timers::default();
        timers.schedule(Timer::Sweep, ms(10));
        timers.schedule(Timer::Sweep, ms(50));
        assert_eq!(timers.pop(ms(20)), None);
        assert_eq!(timers.next_deadline(), Some(ms(50)));
        timers.schedule(Timer::Sweep, ms(30));
        assert_eq!(timers.pop(ms(30)), Some(Timer::Sweep));
        assert_eq!(timers.next_deadline(), None);
    }

    #[test]
    fn a_cancelled_timer_does_not_fire() {
        let mut timers = Timers::default();
        timers.schedule(Timer::Sweep, ms(10));
        timers.schedule(Timer::Sweep, ms(20));
        timers.cancel(&Timer::Sweep);
        assert_eq!(timers.pop(ms(100)), None);
        assert_eq!(timers.next_deadline(), None);
    }
}
