//! A set of roles, by their numbers.

use smallvec::SmallVec;

const BITS: u32 = u64::BITS;

/// One bit for each role. Up to 128 roles it allocates nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleSet(SmallVec<[u64; 2]>);

impl RoleSet {
    /// This role alone.
    pub fn of(role: u32) -> Self {
        let mut set = Self::default();
        set.insert(role);
        set
    }

    /// Adds a role.
    pub fn insert(&mut self, role: u32) {
        let word = (role / BITS) as usize;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (role % BITS);
    }

    /// Adds all of another set.
    pub fn extend(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        self.0.iter_mut().zip(&other.0).for_each(|(own, others)| *own |= others);
    }

    /// Whether it has this role.
    pub fn contains(&self, role: u32) -> bool {
        self.0.get((role / BITS) as usize).is_some_and(|word| word & 1 << (role % BITS) != 0)
    }

    /// Whether some role is in both.
    pub fn meets(&self, other: &Self) -> bool {
        self.first_common(other).is_some()
    }

    /// The lowest role that is in both.
    pub fn first_common(&self, other: &Self) -> Option<u32> {
        let mut words = self.0.iter().zip(&other.0).map(|(a, b)| a & b).enumerate();
        words.find(|(_, common)| *common != 0).map(|(at, common)| at as u32 * BITS + common.trailing_zeros())
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The roles, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.0.len() as u32 * BITS).filter(|role| self.contains(*role))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(roles: &[u32]) -> RoleSet {
        let mut set = RoleSet::default();
        roles.iter().for_each(|role| set.insert(*role));
        set
    }

    #[test]
    fn sets_of_different_lengths_are_compared_by_their_roles() {
        let (few, many) = (set(&[0, 63]), set(&[63, 64, 127, 128, 1_000]));
        assert_eq!((few.first_common(&many), many.first_common(&few)), (Some(63), Some(63)));
        assert!(!set(&[1]).meets(&many) && !many.meets(&set(&[])));
        assert_eq!(set(&[1_000]).first_common(&many), Some(1_000));
        assert!(many.contains(128) && !few.contains(128) && !few.contains(u32::MAX));
        assert_eq!(many.iter().collect::<Vec<_>>(), [63, 64, 127, 128, 1_000]);
        let (mut one, mut other) = (few.clone(), many.clone());
        one.extend(&many);
        other.extend(&few);
        assert_eq!(one, other);
        assert_eq!(one, set(&[0, 63, 64, 127, 128, 1_000]));
    }

    #[test]
    fn a_hundred_and_twenty_eight_roles_lie_in_place() {
        assert!(!set(&[127]).0.spilled() && set(&[128]).0.spilled());
    }
}
