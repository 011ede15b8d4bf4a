//! A bounded queue of messages between threads that counts what went in and what found no room.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_queue::ArrayQueue;

/// The queue. Anybody may write and read.
#[derive(Debug)]
pub struct Mailbox<T> {
    messages: ArrayQueue<T>,
    pushes: AtomicU64,
    failures: AtomicU64,
}

/// How full a [`Mailbox`] is and has been.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailboxStats {
    /// Messages in it.
    pub length: usize,
    /// Messages it has room for.
    pub limit: usize,
    /// Messages taken in since the start.
    pub pushes: u64,
    /// Messages refused since the start because it was full.
    pub failures: u64,
}

impl<T> Mailbox<T> {
    /// An empty one with room for `limit` messages.
    pub fn new(limit: usize) -> Self {
        Mailbox { messages: ArrayQueue::new(limit), pushes: AtomicU64::new(0), failures: AtomicU64::new(0) }
    }

    /// Puts a message in.
    ///
    /// # Errors
    /// The message, if it is full.
    pub fn push(&self, message: T) -> Result<(), T> {
        let result = self.messages.push(message);
        let counter = if result.is_ok() { &self.pushes } else { &self.failures };
        counter.fetch_add(1, Ordering::Relaxed);
        result
    }

    /// Takes the oldest message out.
    #[inline]
    pub fn pop(&self) -> Option<T> {
        if self.messages.is_empty() { None } else { self.messages.pop() }
    }

    /// Messages in it.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// True without messages.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// How full it is and has been.
    pub fn stats(&self) -> MailboxStats {
        MailboxStats {
            length: self.messages.len(),
            limit: self.messages.capacity(),
            pushes: self.pushes.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_and_what_finds_no_room_is_counted() {
        let mailbox = Mailbox::new(2);
        assert_eq!((mailbox.push(1), mailbox.push(2), mailbox.push(3)), (Ok(()), Ok(()), Err(3)));
        assert_eq!(mailbox.pop(), Some(1));
        let expected = MailboxStats { length: 1, limit: 2, pushes: 2, failures: 1 };
        assert_eq!(mailbox.stats(), expected);
    }
}
