//! A set of patterns, asked which of them match a path: what permissions and anonymous paths are written in.
//!
//! Owns the search for all matches, by the same grammar and the same tree as the route table, so that a pattern means the
//! same wherever it is written. Such a set grants something, so it refuses to match by one reading of a path alone: see
//! [`PatternSet::find`]. Knows no methods, hosts and headers. Built with each configuration, shared read-only by all workers.

use super::pattern::Pattern;
use super::pattern_error::PatternError;
use super::readings::{readings, routing_form};
use super::tree::{Candidates, NO_RANK, NodeId, Path, Tree};

/// Patterns, each known by its index among those that the set was made of.
#[derive(Debug)]
pub struct PatternSet {
    patterns: Vec<Pattern>,
    tree: Tree,
    root: NodeId,
}

impl PatternSet {
    /// Compiles patterns.
    ///
    /// # Errors
    /// What is wrong with each bad one, by its index.
    pub fn new(texts: &[String]) -> Result<Self, Vec<(usize, PatternError)>> {
        let mut patterns = Vec::with_capacity(texts.len());
        let mut errors = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            match Pattern::parse(text) {
                Ok(pattern) => patterns.push(pattern),
                Err(error) => errors.push((index, error)),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut tree = Tree::default();
        let root = tree.root();
        for (index, pattern) in patterns.iter().enumerate() {
            tree.insert(root, pattern.segments(), index as u32, None);
        }
        Ok(Self { patterns, tree, root })
    }

    /// The patterns, in the order in which they were given.
    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// Calls `visit` with the index of every pattern that matches, in no particular order; with one that holds a `**`
    /// before its last segment perhaps more than once. `path` and `trailing_slash` are [`super::Canonical`]'s.
    pub fn matching(&self, path: &str, trailing_slash: bool, visit: &mut dyn FnMut(usize)) {
        self.find(path, trailing_slash, &mut |index| {
            visit(index);
            false
        });
    }

    /// Whether some pattern matches.
    pub fn any(&self, path: &str, trailing_slash: bool) -> bool {
        self.find(path, trailing_slash, &mut |_| true).is_some()
    }

    /// The first pattern found to match that is `wanted`, which is asked as [`PatternSet::matching`] visits.
    ///
    /// A path with parameters or kept separators has several [`readings()`]. A pattern matches it only where it matches
    /// every one of them, those too that take `%2F` for a slash. Here this set differs from [`super::Router::find`], which
    /// lets such a reading lead nowhere: there no upstream is then known that would take the path so, while here the route
    /// is chosen already, and what lies behind it may decode before it looks. `/public/:file` does not let
    /// `/public/a%2Fb` in; `/public/**` does.
    ///
    /// The cost does not grow with the number of patterns, only with that of matches, and nothing is allocated unless the
    /// path has a `;` or `%` in it, or patterns with two `**` before their last segment come into play.
    pub fn find(
        &self,
        path: &str,
        trailing_slash: bool,
        wanted: &mut dyn FnMut(usize) -> bool,
    ) -> Option<usize> {
        if memchr::memchr2(b';', b'%', path.as_bytes()).is_none() {
            return self.search(path, trailing_slash, wanted);
        }
        let other = readings(path);
        let path = routing_form(path);
        if other.is_empty() {
            return self.search(&path, trailing_slash, wanted);
        }
        let mut matching = self.all(&path, trailing_slash);
        for reading in other {
            if matching.is_empty() {
                break;
            }
            let also = self.all(&routing_form(&reading.path), reading.trailing_slash || trailing_slash);
            matching.retain(|index| also.binary_search(index).is_ok());
        }
        matching.into_iter().find(|index| wanted(*index))
    }

    /// What matches this one reading, ascending, each once.
    fn all(&self, path: &str, trailing_slash: bool) -> Vec<usize> {
        let mut all = Vec::new();
        self.search(path, trailing_slash, &mut |index| {
            all.push(index);
            false
        });
        all.sort_unstable();
        all.dedup();
        all
    }

    fn search(
        &self,
        text: &str,
        trailing_slash: bool,
        wanted: &mut dyn FnMut(usize) -> bool,
    ) -> Option<usize> {
        let mut first = First { wanted, found: None };
        self.tree.search(self.root, &Path { text, trailing_slash, headers: &() }, &mut first);
        first.found
    }
}

/// Keeps the first that is wanted, and wants no more then.
struct First<'w> {
    wanted: &'w mut dyn FnMut(usize) -> bool,
    found: Option<usize>,
}

impl Candidates for First<'_> {
    fn bound(&self) -> u32 {
        if self.found.is_some() { 0 } else { NO_RANK }
    }

    fn offer(&mut self, rank: u32) {
        // The tree goes on to the next list of ranks before it asks for the bound again.
        if self.found.is_none() && (self.wanted)(rank as usize) {
            self.found = Some(rank as usize);
        }
    }
}
