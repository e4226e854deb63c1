//! What waits one by one to be written, within bounds: the store may be away for long, or not there at all.

use std::collections::VecDeque;

/// At most `MOST` of them; the oldest make room.
#[derive(Debug)]
pub struct Waiting<T, const MOST: usize> {
    items: VecDeque<T>,
    /// How many were there once, in front of those.
    gone: u64,
}

/// The first of what waits.
#[derive(Debug)]
pub struct First<T> {
    pub items: Vec<T>,
    /// Where they end, for [`Waiting::written`].
    pub end: u64,
}

impl<T, const MOST: usize> Default for Waiting<T, MOST> {
    fn default() -> Self {
        Self { items: VecDeque::new(), gone: 0 }
    }
}

impl<T: Clone, const MOST: usize> Waiting<T, MOST> {
    /// Adds some. Answers how many had to go for them.
    pub fn add(&mut self, items: impl IntoIterator<Item = T>) -> usize {
        self.items.extend(items);
        let excess = self.items.len().saturating_sub(MOST);
        self.remove(excess);
        excess
    }

    /// The first, at most `most`; they go on waiting.
    pub fn first(&self, most: usize) -> First<T> {
        let items: Vec<T> = self.items.iter().take(most).cloned().collect();
        let end = self.gone + items.len() as u64;
        First { items, end }
    }

    /// Everything in front of `end` is written. Some may have gone meanwhile.
    pub fn written(&mut self, end: u64) {
        self.remove(usize::try_from(end.saturating_sub(self.gone)).unwrap_or(usize::MAX));
    }

    /// All of them, newest first.
    pub fn newest(&self) -> impl Iterator<Item = &T> {
        self.items.iter().rev()
    }

    fn remove(&mut self, count: usize) {
        let count = count.min(self.items.len());
        self.items.drain(..count);
        self.gone += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_goes_and_nothing_else_however_many_had_to_make_room_meanwhile() {
        let mut waiting = Waiting::<u32, 5>::default();
        assert_eq!(waiting.add(0..4), 0);
        let First { items, end } = waiting.first(3);
        assert_eq!((items, end), (vec![0, 1, 2], 3));
        assert_eq!(waiting.add(4..7), 2, "0 and 1 make room");
        waiting.written(end);
        assert_eq!(waiting.first(9).items, [3, 4, 5, 6]);
        waiting.written(end);
        assert_eq!(waiting.newest().copied().collect::<Vec<_>>(), [6, 5, 4, 3], "twice is once");
        assert_eq!(waiting.add(10..30), 19);
        waiting.written(7);
        assert_eq!(waiting.first(9).items, [25, 26, 27, 28, 29]);
    }
}
