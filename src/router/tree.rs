//! The compiled patterns: a tree of segments in one arena.
//!
//! Owns which ranks can match a path; a rank is a route's place in the match order. One arena holds many trees,
//! one root for each host a route names. Literal children are found by hash, globs by their literal ends, so a
//! search touches a handful of nodes however many routes there are. It never follows a branch that holds no better
//! rank than the one already found, and enters what lies below nested `**` once per position at most, so a hostile
//! path costs time in proportion to its length and not to a power of it. Knows no methods and no hosts. Driven by
//! [`super::Router`].

use std::collections::HashMap;

use super::glob::GlobIndex;
use super::pattern::Segment;
use super::table::RequestHeaders;

/// A node of the arena.
pub(super) type NodeId = u32;

/// The rank of no route.
pub(super) const NO_RANK: u32 = u32::MAX;

#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
}

#[derive(Debug)]
pub(super) struct Node {
    /// Best rank at or below this node.
    pub(super) best: u32,
    /// Under another `**`, so that it can be reached at more than one position of a path.
    nested: bool,
    pub(super) single: Option<NodeId>,
    /// Behind a `**` that is not the last segment.
    pub(super) deep: Option<NodeId>,
    pub(super) literals: HashMap<Box<str>, NodeId>,
    pub(super) globs: Option<Box<GlobIndex<NodeId>>>,
    /// Patterns that end here.
    pub(super) ends: Option<Box<Ends>>,
    /// Patterns that end in a `**` from here.
    pub(super) tails: Option<Box<Ends>>,
}

type RanksByValue = HashMap<Box<[u8]>, Vec<u32>>;

/// Ranks of one pattern, ascending.
#[derive(Debug, Default)]
pub(super) struct Ends {
    plain: Vec<u32>,
    /// Routes that ask for headers: the first one's name, its value, ranks. Found by value, so that one pattern
    /// may be split by header among any number of tenants.
    by_header: Vec<(String, RanksByValue)>,
}

impl Ends {
    fn add(&mut self, rank: u32, header: Option<&(String, String)>) {
        let Some((name, value)) = header else { return self.plain.push(rank) };
        let at = self.by_header.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            self.by_header.push((name.clone(), HashMap::new()));
            self.by_header.len() - 1
        });
        self.by_header[at].1.entry(value.as_bytes().into()).or_default().push(rank);
    }

    /// The ranks whose first header, if they ask for any, is among `headers`.
    pub(super) fn ranks_asking_no_more_than<'a>(
        &'a self,
        headers: &'a [(String, String)],
    ) -> impl Iterator<Item = u32> + 'a {
        let known = headers.iter().filter_map(|(name, value)| {
            let (_, values) = self.by_header.iter().find(|(known, _)| known == name)?;
            values.get(value.as_bytes())
        });
        self.plain.iter().chain(known.flatten()).copied()
    }
}

/// Takes what a search finds.
pub(super) trait Candidates {
    /// Ranks from here on are not wanted.
    fn bound(&self) -> u32;
    /// A route whose pattern matches.
    fn offer(&mut self, rank: u32);
    /// Routes whose headers the request has not are wanted too.
    fn takes_any_header(&self) -> bool {
        false
    }
}

impl Tree {
    /// A new, empty tree.
    pub(super) fn root(&mut self) -> NodeId {
        self.push(false)
    }

    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id as usize]
    }

    /// Adds a pattern. Ranks must come in ascending order.
    pub(super) fn insert(
        &mut self,
        root: NodeId,
        segments: &[Segment],
        rank: u32,
        header: Option<&(String, String)>,
    ) {
        let (way, tail) = match segments {
            [way @ .., Segment::Deep] => (way, true),
            _ => (segments, false),
        };
        let mut at = root;
        self.claim(at, rank);
        for segment in way {
            at = self.child(at, segment);
            self.claim(at, rank);
        }
        let node = &mut self.nodes[at as usize];
        let ends = if tail { &mut node.tails } else { &mut node.ends };
        ends.get_or_insert_default().add(rank, header);
    }

    fn claim(&mut self, node: NodeId, rank: u32) {
        let best = &mut self.nodes[node as usize].best;
        *best = rank.min(*best);
    }

    fn child(&mut self, parent: NodeId, segment: &Segment) -> NodeId {
        let fresh = self.nodes.len() as NodeId;
        let node = &mut self.nodes[parent as usize];
        let nested = node.nested;
        let found = match segment {
            Segment::Literal(text) => *node.literals.entry(text.as_str().into()).or_insert(fresh),
            Segment::Parameter(_) | Segment::Any => *node.single.get_or_insert(fresh),
            Segment::Glob(glob) => {
                node.globs.get_or_insert_with(|| Box::new(GlobIndex::new())).entry(glob, || fresh)
            }
            Segment::Deep => *node.deep.get_or_insert(fresh),
        };
        if found == fresh {
            self.push(nested || *segment == Segment::Deep);
        }
        found
    }

    fn push(&mut self, nested: bool) -> NodeId {
        self.nodes.push(Node {
            best: NO_RANK,
            nested,
            single: None,
            deep: None,
            literals: HashMap::new(),
            globs: None,
            ends: None,
            tails: None,
        });
        (self.nodes.len() - 1) as NodeId
    }

    /// Offers every wanted rank under `root` whose pattern matches the path, in no particular order.
    pub(super) fn search<C: Candidates>(&self, root: NodeId, path: &Path<'_>, candidates: &mut C) {
        Search { tree: self, path, candidates, entered: HashMap::new() }.visit(root, path.start());
    }
}

/// The path that is searched for, in the form in which paths are compared.
pub(super) struct Path<'a> {
    pub(super) text: &'a str,
    pub(super) trailing_slash: bool,
    pub(super) headers: &'a dyn RequestHeaders,
}

/// Position behind the last segment.
const END: usize = usize::MAX;

impl<'a> Path<'a> {
    fn start(&self) -> usize {
        if self.text.len() > 1 { 1 } else { END }
    }

    /// The segment that starts at `position`, and where the next one starts.
    fn segment(&self, position: usize) -> (&'a str, usize) {
        let rest = self.text.get(position..).unwrap_or("");
        match memchr::memchr(b'/', rest.as_bytes()) {
            Some(length) => (&rest[..length], position + length + 1),
            None => (rest, END),
        }
    }
}

struct Search<'s, C> {
    tree: &'s Tree,
    path: &'s Path<'s>,
    candidates: &'s mut C,
    /// Where each nested `**` was entered. Positions only grow: the `**` above it tries them in order, and the
    /// way between the two has a fixed number of segments. So what was entered once has seen all that a later
    /// entry could see.
    entered: HashMap<NodeId, usize>,
}

impl<C: Candidates> Search<'_, C> {
    /// Recursion is as deep as a pattern is long; the length of the path does not count.
    fn visit(&mut self, id: NodeId, position: usize) {
        let node = self.tree.node(id);
        if node.best >= self.candidates.bound() {
            return;
        }
        if position == END {
            self.offer(&node.ends);
            if self.path.trailing_slash || self.path.text == "/" {
                self.offer(&node.tails);
            }
            return;
        }
        self.offer(&node.tails);
        let (segment, next) = self.path.segment(position);
        if let Some(child) = node.literals.get(segment) {
            self.visit(*child, next);
        }
        if let Some(globs) = &node.globs {
            globs.visit(segment, |child| self.visit(child, next));
        }
        if let Some(child) = node.single {
            self.visit(child, next);
        }
        if let Some(child) = node.deep {
            self.visit_below_deep(child, node.nested, position, next);
        }
    }

    /// Tries every way to let `**` take one or more segments, the first of which starts at `position`.
    fn visit_below_deep(&mut self, child: NodeId, nested: bool, position: usize, mut next: usize) {
        if nested {
            if self.entered.get(&child).is_some_and(|first| *first <= position) {
                return;
            }
            self.entered.insert(child, position);
        }
        while self.tree.node(child).best < self.candidates.bound() {
            self.visit(child, next);
            if next == END {
                break;
            }
            next = self.path.segment(next).1;
        }
    }

    fn offer(&mut self, ends: &Option<Box<Ends>>) {
        let Some(ends) = ends else { return };
        offer_all(self.candidates, &ends.plain);
        for (name, ranks) in &ends.by_header {
            if self.candidates.takes_any_header() {
                ranks.values().for_each(|ranks| offer_all(self.candidates, ranks));
                continue;
            }
            self.path.headers.visit(name, &mut |value| {
                if let Some(ranks) = ranks.get(value) {
                    offer_all(self.candidates, ranks);
                }
            });
        }
    }
}

fn offer_all<C: Candidates>(candidates: &mut C, ranks: &[u32]) {
    for rank in ranks {
        if *rank >= candidates.bound() {
            break;
        }
        candidates.offer(*rank);
    }
}
