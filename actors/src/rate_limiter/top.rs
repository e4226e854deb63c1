//! The clients seen most often, found in bounded memory: Space-Saving (Metwally, Agrawal, El Abbadi, 2005).
//!
//! Of everything that made up more than `1 / capacity` of the stream, nothing is missed; a count is too high by at most
//! what the entry before it in the same place had, which is kept beside it.

/// One client and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<K> {
    pub key: K,
    /// At least the true count.
    pub count: u64,
    /// By how much it may be too high.
    pub error: u64,
}

/// The most frequent of what was [noted](Top::note).
#[derive(Clone, Debug)]
pub struct Top<K> {
    capacity: usize,
    // Searched in a row: for the sizes in use that is as fast as a hash table, and smaller.
    entries: Vec<Entry<K>>,
}

impl<K: PartialEq> Top<K> {
    /// Nothing seen yet; keeps at most that many.
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), entries: Vec::new() }
    }

    /// Counts `count` more of what `is` recognises; `make` names it if it is new.
    pub fn note(&mut self, count: u64, is: impl Fn(&K) -> bool, make: impl FnOnce() -> K) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| is(&entry.key)) {
            entry.count += count;
        } else if self.entries.len() < self.capacity {
            self.entries.push(Entry { key: make(), count, error: 0 });
        } else if let Some(least) = self.entries.iter_mut().min_by_key(|entry| entry.count) {
            *least = Entry { key: make(), count: least.count + count, error: least.count };
        }
    }

    /// Counts what another has found; its errors are in the counts.
    pub fn merge(&mut self, other: impl IntoIterator<Item = Entry<K>>) {
        for entry in other {
            let Entry { key, count, error } = entry;
            if let Some(known) = self.entries.iter_mut().find(|known| known.key == key) {
                known.count += count;
                known.error += error;
            } else if self.entries.len() < self.capacity {
                self.entries.push(Entry { key, count, error });
            } else if let Some(least) = self.entries.iter_mut().min_by_key(|entry| entry.count) {
                *least = Entry { key, count: least.count + count, error: least.count + error };
            }
        }
    }

    /// Everything found, in no order; begins anew.
    pub fn take(&mut self) -> Vec<Entry<K>> {
        std::mem::take(&mut self.entries)
    }

    /// Whether nothing was noted.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The `n` most frequent, most frequent first.
    pub fn most(&self, n: usize) -> Vec<&Entry<K>> {
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.count));
        entries.truncate(n);
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frequent_are_found_among_any_number_of_rare_ones() {
        let mut top = Top::new(16);
        for i in 0..100_000_u64 {
            let key = if i % 4 == 0 { 7 } else { 1_000 + i };
            top.note(1, |k| *k == key, || key);
        }
        assert_eq!(top.entries.len(), 16);
        let first = top.most(1)[0];
        assert_eq!(first.key, 7);
        assert!(first.count >= 25_000 && first.count - first.error <= 25_000);
    }

    #[test]
    fn what_two_workers_found_adds_up() {
        let mut all = Top::new(2);
        let entry = |key, count| Entry { key, count, error: 0 };
        all.merge([entry('a', 5), entry('b', 1)]);
        all.merge([entry('c', 2), entry('a', 5)]);
        assert_eq!(all.most(9), [&entry('a', 10), &Entry { key: 'c', count: 3, error: 1 }]);
    }
}
