//! Segments with `*` inside, such as `v*` or `*.json`, and an index over many of them.
//!
//! Owns the matching of one such segment in linear time and [`GlobIndex`], which finds the fitting ones among any
//! number by their literal beginning and end, so that its cost follows the number of different *lengths* in the
//! configuration and not the number of globs. Knows nothing of paths. Driven by [`super::tree`].

use std::collections::HashMap;

/// A segment pattern with at least one `*`, each standing for any number of characters, none included.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Glob {
    prefix: String,
    middles: Vec<String>,
    suffix: String,
}

impl Glob {
    /// `parts` are the literal texts between the stars: one more than there are stars, so at least two.
    pub fn new(parts: Vec<String>) -> Self {
        let mut parts = parts.into_iter();
        let prefix = parts.next().unwrap_or_default();
        let suffix = parts.next_back().unwrap_or_default();
        Self { prefix, middles: parts.collect(), suffix }
    }

    /// Whether the whole segment fits.
    pub fn fits(&self, segment: &str) -> bool {
        segment.len() >= self.prefix.len() + self.suffix.len()
            && segment.starts_with(&self.prefix)
            && segment.ends_with(&self.suffix)
            && self.middles_fit(segment)
    }

    /// Prefix and suffix are known to fit. The first occurrence of each middle is as good as any other, so one
    /// pass decides.
    fn middles_fit(&self, segment: &str) -> bool {
        let mut rest = segment.get(self.prefix.len()..segment.len() - self.suffix.len()).unwrap_or("");
        self.middles.iter().all(|middle| match rest.find(middle.as_str()) {
            Some(at) => {
                rest = &rest[at + middle.len()..];
                true
            }
            None => false,
        })
    }

    /// Bytes of literal text around the stars.
    pub(super) fn literal_characters(&self) -> usize {
        self.prefix.len() + self.suffix.len() + self.middles.iter().map(String::len).sum::<usize>()
    }

    /// Whether some segment may fit both; never false when one does.
    pub(super) fn may_meet(&self, other: &Self) -> bool {
        let agree = |a: &str, b: &str| a.starts_with(b) || b.starts_with(a);
        let agree_at_end = |a: &str, b: &str| a.ends_with(b) || b.ends_with(a);
        agree(&self.prefix, &other.prefix) && agree_at_end(&self.suffix, &other.suffix)
    }
}

/// Any number of globs, each with a value, searched by segment.
#[derive(Debug)]
pub(super) struct GlobIndex<V> {
    by_prefix: ByLength<ByLength<Vec<(Glob, V)>>>,
}

/// Literal texts by their length in bytes, shortest first. Byte keys: a length may fall inside a character.
type ByLength<V> = Vec<(usize, HashMap<Box<[u8]>, V>)>;

impl<V: Copy> GlobIndex<V> {
    pub(super) fn new() -> Self {
        Self { by_prefix: Vec::new() }
    }

    /// The value of this very glob, made by `value` when it is new.
    pub(super) fn entry(&mut self, glob: &Glob, value: impl FnOnce() -> V) -> V {
        let by_suffix = slot(&mut self.by_prefix, glob.prefix.as_bytes());
        let globs = slot(by_suffix, glob.suffix.as_bytes());
        if let Some((_, found)) = globs.iter().find(|(known, _)| known == glob) {
            return *found;
        }
        let made = value();
        globs.push((glob.clone(), made));
        made
    }

    /// Calls `visit` with the value of every glob that fits the segment.
    pub(super) fn visit(&self, segment: &str, mut visit: impl FnMut(V)) {
        let bytes = segment.as_bytes();
        for (prefix, by_prefix) in &self.by_prefix {
            let Some(rest) = bytes.len().checked_sub(*prefix) else { break };
            let Some(by_suffix) = by_prefix.get(&bytes[..*prefix]) else { continue };
            for (suffix, globs) in by_suffix {
                let Some(start) = rest.checked_sub(*suffix) else { break };
                let Some(globs) = globs.get(&bytes[prefix + start..]) else { continue };
                globs
                    .iter()
                    .filter(|(glob, _)| glob.middles_fit(segment))
                    .for_each(|(_, value)| visit(*value));
            }
        }
    }

    /// The value of this very glob, if it is in the index.
    pub(super) fn get(&self, glob: &Glob) -> Option<V> {
        let by_suffix = peek(&self.by_prefix, glob.prefix.as_bytes())?;
        let globs = peek(by_suffix, glob.suffix.as_bytes())?;
        globs.iter().find(|(known, _)| known == glob).map(|(_, value)| *value)
    }
}

fn slot<'a, V: Default>(index: &'a mut ByLength<V>, text: &[u8]) -> &'a mut V {
    let at = match index.binary_search_by_key(&text.len(), |(length, _)| *length) {
        Ok(at) => at,
        Err(at) => {
            index.insert(at, (text.len(), HashMap::new()));
            at
        }
    };
    index[at].1.entry(text.into()).or_default()
}

fn peek<'a, V>(index: &'a ByLength<V>, text: &[u8]) -> Option<&'a V> {
    let at = index.binary_search_by_key(&text.len(), |(length, _)| *length).ok()?;
    index[at].1.get(text)
}
