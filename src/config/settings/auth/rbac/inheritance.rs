//! What roles have of each other.
//!
//! Owns the order in which roles can be made of those that they inherit, and what stands in the way of one: names that are
//! no role's, names that are two roles', and circles. For the check of the section and for whoever compiles it.

use std::collections::HashMap;
use std::fmt;

use aegis_schema::section::quoted;
use aegis_schema::suggest;

use super::Role;

/// Who inherits whom, by the numbers of roles.
#[derive(Clone, Debug)]
pub struct Inheritance {
    /// Every role that is not part of a circle and inherits from none that is, after those that it inherits.
    pub order: Vec<usize>,
    /// Of each role, those that it names, as far as they are known.
    pub parents: Vec<Vec<usize>>,
    /// What is wrong.
    pub faults: Vec<Fault>,
    by_name: HashMap<String, usize>,
}

/// What is wrong with a role. Displayed as what is said of the key that it stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its name is another's already.
    Duplicate {
        /// Its number.
        role: usize,
        /// The name.
        name: String,
        /// Number of the other.
        first: usize,
    },
    /// It inherits what is no role.
    Unknown {
        /// Its number.
        role: usize,
        /// Number in its `inherits`.
        parent: usize,
        /// What is written there.
        name: String,
        /// How to mend it.
        hint: String,
    },
    /// It inherits itself.
    Cycle {
        /// Its number.
        role: usize,
        /// The names on the way, from its own to its own.
        way: Vec<String>,
    },
}

impl Fault {
    /// The number of the role.
    pub fn role(&self) -> usize {
        match self {
            Self::Duplicate { role, .. } | Self::Unknown { role, .. } | Self::Cycle { role, .. } => *role,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate { name, first, .. } => {
                write!(
                    f,
                    "is the name of `roles[{first}]` already, {}: keep one, with all of its permissions",
                    quoted(name)
                )
            }
            Self::Unknown { name, hint, .. } => {
                write!(f, "names none of `roles`, found {}: {hint}", quoted(name))
            }
            Self::Cycle { way, .. } => {
                // A circle through a thousand roles is told by its beginning.
                let shown = way.iter().take(8).map(|name| quoted(name)).collect::<Vec<_>>().join(" → ");
                let more = if way.len() > 8 { " → …" } else { "" };
                write!(
                    f,
                    "leads back to the role itself, {shown}{more}: a role has what it inherits, so remove one of these"
                )
            }
        }
    }
}

impl Inheritance {
    /// Looks at all of them. Names that could not be read, and are empty, were reported.
    pub(super) fn of(roles: &[Role]) -> Self {
        let (mut by_name, mut faults) = (HashMap::new(), Vec::new());
        for (number, role) in roles.iter().enumerate().filter(|(_, role)| !role.name.is_empty()) {
            let first = *by_name.entry(role.name.clone()).or_insert(number);
            if first != number {
                faults.push(Fault::Duplicate { role: number, name: role.name.clone(), first });
            }
        }
        let mut parents = vec![Vec::new(); roles.len()];
        for (number, role) in roles.iter().enumerate() {
            for (at, name) in role.inherits.iter().enumerate() {
                match by_name.get(name) {
                    Some(parent) => parents[number].push(*parent),
                    None => {
                        let names = roles.iter().map(|role| &*role.name);
                        let hint = suggest::hint(name, names, "add it to `roles`, or remove it here");
                        faults.push(Fault::Unknown { role: number, parent: at, name: name.clone(), hint });
                    }
                }
            }
        }
        let order = order(&parents);
        let name = |number: usize| roles[number].name.clone();
        for way in cycles(&parents, &order) {
            faults.push(Fault::Cycle { role: way[0], way: way.into_iter().map(name).collect() });
        }
        Self { order, parents, faults, by_name }
    }

    /// The number of the role of this name.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The roles that a role inherits, directly or not.
    pub fn ancestors(&self, role: usize) -> Vec<usize> {
        let (mut found, mut known) = (Vec::new(), vec![false; self.parents.len()]);
        let mut open = self.parents[role].clone();
        while let Some(next) = open.pop() {
            if !std::mem::replace(&mut known[next], true) {
                found.push(next);
                open.extend(&self.parents[next]);
            }
        }
        found
    }
}

/// Roles after those that they inherit (Kahn). Without recursion: a chain may be as long as the configuration.
fn order(parents: &[Vec<usize>]) -> Vec<usize> {
    let mut children = vec![Vec::new(); parents.len()];
    let mut missing: Vec<usize> = parents.iter().map(Vec::len).collect();
    for (number, parents) in parents.iter().enumerate() {
        parents.iter().for_each(|parent| children[*parent].push(number));
    }
    let mut order: Vec<usize> = (0..parents.len()).filter(|number| missing[*number] == 0).collect();
    let mut at = 0;
    while let Some(done) = order.get(at).copied() {
        for child in &children[done] {
            missing[*child] -= 1;
            if missing[*child] == 0 {
                order.push(*child);
            }
        }
        at += 1;
    }
    order
}

/// Circles among the roles that have no place in the order, each from its lowest number back to that. Each such role
/// inherits another one, so that whoever goes on to the first of those comes to a circle in the end. One that is only found
/// over the second is found when the first is mended.
fn cycles(parents: &[Vec<usize>], order: &[usize]) -> Vec<Vec<usize>> {
    let mut ordered = vec![false; parents.len()];
    order.iter().for_each(|number| ordered[*number] = true);
    let next = |number: usize| parents[number].iter().copied().find(|parent| !ordered[*parent]);
    let (mut walked, mut found) = (vec![usize::MAX; parents.len()], Vec::new());
    for start in (0..parents.len()).filter(|number| !ordered[*number]) {
        let (mut way, mut at) = (Vec::new(), start);
        while walked[at] == usize::MAX {
            walked[at] = start;
            way.push(at);
            let Some(parent) = next(at) else { break };
            at = parent;
        }
        if walked[at] == start
            && let Some(begin) = way.iter().position(|number| *number == at)
        {
            let mut circle = way.split_off(begin);
            let lowest = (0..circle.len()).min_by_key(|at| circle[*at]).unwrap_or(0);
            circle.rotate_left(lowest);
            circle.push(circle[0]);
            found.push(circle);
        }
    }
    found
}
