//! Pairs of routes that only the order in the file decides between.
//!
//! Owns the narrowing down: routes of one rank are split by whatever two of them could only share if it were the
//! same (host, a literal segment, the number of segments, a header's value), and compared pair by pair only when
//! nothing splits them further.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::overlap::meet;
use super::pattern::Segment;
use super::route::CompiledRoute;

/// Most ties that are reported.
pub(super) const MOST: usize = 1_000;

/// Most pairs that are compared, half a second's worth; a table that needs more than that consists of
/// thousands of routes with wildcards in the same places, and the ties found by then show it.
const MOST_COMPARISONS: usize = 5_000_000;

/// Groups as small as this are compared at once.
const SMALL: usize = 16;

/// Something that two routes which match the same request must agree on if both have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Trait<'a> {
    Length,
    Segment(usize),
    Header(&'a str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Value<'a> {
    Count(usize),
    Text(&'a str),
}

struct Member<'r, T> {
    rank: usize,
    route: &'r CompiledRoute<T>,
    traits: Vec<(Trait<'r>, Value<'r>)>,
}

/// Ties among `routes`, which are given in match order: the winner and the loser of each.
pub(super) fn ties<'r, T>(
    routes: &[&'r CompiledRoute<T>],
) -> Vec<(&'r CompiledRoute<T>, &'r CompiledRoute<T>)> {
    let mut search = Search { found: HashSet::new(), comparisons: 0 };
    let members: Vec<Member<'_, T>> = routes
        .iter()
        .enumerate()
        .map(|(rank, route)| Member { rank, route, traits: traits(route) })
        .collect();
    for group in members.chunk_by(|a, b| a.route.order() == b.route.order()) {
        // Within a group either all routes name hosts or none does. Two that meet under a common host almost
        // always name the very same one, since their narrowest hosts are of equal length.
        let mut by_host: HashMap<_, Vec<&Member<'_, T>>> = HashMap::new();
        for member in group {
            if member.route.hosts().is_empty() {
                by_host.entry(None).or_default().push(member);
            }
            for host in member.route.hosts() {
                by_host.entry(Some(host)).or_default().push(member);
            }
        }
        by_host.into_values().for_each(|members| search.split(members, &mut Vec::new()));
    }
    let mut found: Vec<_> = search.found.into_iter().collect();
    found.sort_unstable();
    found.into_iter().map(|(winner, loser)| (routes[winner], routes[loser])).collect()
}

fn traits<T>(route: &CompiledRoute<T>) -> Vec<(Trait<'_>, Value<'_>)> {
    let segments = route.pattern().segments();
    let mut found = Vec::with_capacity(segments.len() + 1);
    if !segments.contains(&Segment::Deep) {
        found.push((Trait::Length, Value::Count(segments.len())));
    }
    // Behind a `**` a segment has no fixed place.
    for (at, segment) in segments.iter().take_while(|segment| **segment != Segment::Deep).enumerate() {
        if let Segment::Literal(text) = segment {
            found.push((Trait::Segment(at), Value::Text(text)));
        }
    }
    found.extend(route.headers().iter().map(|(name, value)| (Trait::Header(name), Value::Text(value))));
    found
}

struct Search {
    found: HashSet<(usize, usize)>,
    comparisons: usize,
}

impl Search {
    fn split<'m, T>(&mut self, members: Vec<&'m Member<'m, T>>, used: &mut Vec<Trait<'m>>) {
        let splitter = if members.len() > SMALL { best_splitter(&members, used) } else { None };
        let Some(splitter) = splitter else {
            for (at, member) in members.iter().enumerate() {
                members[at + 1..].iter().for_each(|other| self.compare(member, other));
            }
            return;
        };
        let mut buckets: HashMap<Value<'m>, Vec<&'m Member<'m, T>>> = HashMap::new();
        let mut open = Vec::new();
        for member in members {
            match value(member, splitter) {
                Some(value) => buckets.entry(value).or_default().push(member),
                None => open.push(member),
            }
        }
        for member in &open {
            buckets.values().flatten().for_each(|other| self.compare(member, other));
        }
        used.push(splitter);
        for bucket in buckets.into_values().chain([open]) {
            self.split(bucket, used);
        }
        used.pop();
    }

    fn compare<T>(&mut self, a: &Member<'_, T>, b: &Member<'_, T>) {
        if self.comparisons >= MOST_COMPARISONS || self.found.len() >= MOST {
            return;
        }
        self.comparisons += 1;
        if meet(a.route, b.route) {
            self.found.insert((a.rank.min(b.rank), a.rank.max(b.rank)));
        }
    }
}

fn value<'m, T>(member: &'m Member<'m, T>, wanted: Trait<'m>) -> Option<Value<'m>> {
    member.traits.iter().find(|(known, _)| *known == wanted).map(|(_, value)| *value)
}

/// The trait with the most values among the members, if it has two or more.
fn best_splitter<'m, T>(members: &[&'m Member<'m, T>], used: &[Trait<'m>]) -> Option<Trait<'m>> {
    let mut values: BTreeMap<Trait<'m>, HashSet<Value<'m>>> = BTreeMap::new();
    for (known, value) in members.iter().flat_map(|member| &member.traits) {
        if !used.contains(known) {
            values.entry(*known).or_default().insert(*value);
        }
    }
    let (best, values) = values.into_iter().max_by_key(|(_, values)| values.len())?;
    (values.len() > 1).then_some(best)
}
