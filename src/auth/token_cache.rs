//! Tokens that were verified, so that the same one costs no signature again.
//!
//! One for each worker, so it takes no lock. A token is found by a keyed hash, and then compared as a whole: another token,
//! were it valid ten times over, is another. What is kept is who somebody is; whether that suffices is judged for every
//! request. Sets of a few places, of which the clock algorithm frees one: a flood of tokens that are used once goes by those
//! that are used again and again.

use std::hash::BuildHasher as _;
use std::rc::Rc;

use foldhash::quality::RandomState;

use super::identity::Identity;

/// Longer tokens are verified each time; nearly all are shorter.
const LONGEST: usize = 4096;
/// Places of a set.
const WAYS: usize = 8;

/// See the module.
pub struct TokenCache {
    sets: Box<[Set]>,
    secret: RandomState,
    /// Of the configuration under which all of it was verified.
    generation: u64,
}

#[derive(Default)]
struct Set {
    places: Vec<Place>,
    /// The place that is looked at next for being freed.
    hand: usize,
}

struct Place {
    hash: u64,
    token: Box<str>,
    /// Used since the hand came by.
    used: bool,
    found: Verified,
}

/// What is known of a token.
#[derive(Clone)]
pub struct Verified {
    /// The number of its entry in `auth.issuers`.
    pub entry: usize,
    pub identity: Rc<Identity>,
    /// Not to be used from then on, in seconds since the Unix epoch.
    pub until: u64,
    /// Which state of the entry's keys has verified it.
    pub keys: u64,
}

impl TokenCache {
    /// One for so many tokens; none are kept with 0.
    pub fn new(entries: usize) -> Self {
        let sets = entries.div_ceil(WAYS);
        let sets = (0..sets).map(|_| Set::default()).collect();
        Self { sets, secret: RandomState::default(), generation: 0 }
    }

    /// Forgets everything where another configuration holds now, and has room for so many.
    pub fn enter(&mut self, generation: u64, entries: usize) {
        if self.generation != generation {
            *self = Self { generation, ..Self::new(entries) };
        }
    }

    /// What is known of this token, now and with the keys that its entry has.
    pub fn find(&mut self, token: &str, now: u64, keys_of: impl Fn(usize) -> u64) -> Option<Verified> {
        let hash = self.hash(token);
        let set = set(&mut self.sets, hash)?;
        let at = set.places.iter().position(|place| place.hash == hash && *place.token == *token)?;
        let place = &mut set.places[at];
        if now >= place.found.until || place.found.keys != keys_of(place.found.entry) {
            set.places.swap_remove(at);
            return None;
        }
        place.used = true;
        Some(place.found.clone())
    }

    /// Keeps what was found out of a token.
    pub fn keep(&mut self, token: &str, found: Verified) {
        let hash = self.hash(token);
        let Some(set) = set(&mut self.sets, hash).filter(|_| token.len() <= LONGEST) else { return };
        let place = Place { hash, token: token.into(), used: false, found };
        if let Some(same) = set.places.iter_mut().find(|place| place.hash == hash && *place.token == *token) {
            *same = place;
        } else if set.places.len() < WAYS {
            set.places.push(place);
        } else {
            let at = set.free();
            set.places[at] = place;
        }
    }

    fn hash(&self, token: &str) -> u64 {
        self.secret.hash_one(token)
    }
}

fn set(sets: &mut [Set], hash: u64) -> Option<&mut Set> {
    let at = (u128::from(hash) * sets.len() as u128) >> 64;
    sets.get_mut(at as usize)
}

impl Set {
    /// A place whose token was not used since the hand came by last.
    fn free(&mut self) -> usize {
        loop {
            let at = self.hand;
            self.hand = (self.hand + 1) % WAYS;
            if !std::mem::take(&mut self.places[at].used) {
                return at;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Kind;

    fn verified(user: &str, until: u64) -> Verified {
        let identity = Identity { user: user.into(), ..Identity::nobody(Kind::Jwt) };
        Verified { entry: 0, identity: Rc::new(identity), until, keys: 1 }
    }

    fn user(cache: &mut TokenCache, token: &str, now: u64) -> Option<String> {
        cache.find(token, now, |_| 1).map(|found| found.identity.user.to_string())
    }

    #[test]
    fn a_token_is_found_until_its_end_and_with_the_keys_that_have_verified_it() {
        let mut cache = TokenCache::new(100);
        cache.keep("a.b.c", verified("ann", 10));
        assert_eq!(user(&mut cache, "a.b.c", 9).as_deref(), Some("ann"));
        for other in ["a.b.", "a.b.cc", "a.b.d", ""] {
            assert_eq!(user(&mut cache, other, 9), None);
        }
        assert_eq!(user(&mut cache, "a.b.c", 10), None, "its end has come");
        assert_eq!(user(&mut cache, "a.b.c", 9), None, "and it is forgotten, should the clock be set back");
        cache.keep("a.b.c", verified("ann", 10));
        assert!(cache.find("a.b.c", 1, |_| 2).is_none(), "the keys have changed");
        cache.keep("a.b.c", verified("ann", 10));
        cache.enter(7, 100);
        assert_eq!(user(&mut cache, "a.b.c", 1), None, "another configuration holds");
    }

    #[test]
    fn a_flood_of_tokens_that_are_used_once_does_not_drive_out_one_that_is_used() {
        let mut cache = TokenCache::new(64);
        cache.keep("hot", verified("hot", 10));
        let mut missed = 0;
        for n in 0..100_000 {
            cache.keep(&format!("token {n}"), verified("x", 10));
            if n % 4 == 0 && user(&mut cache, "hot", 1).is_none() {
                missed += 1;
                cache.keep("hot", verified("hot", 10));
            }
        }
        assert!(missed <= 1, "missed {missed} times");
        assert!(cache.sets.iter().map(|set| set.places.len()).sum::<usize>() <= 64);
    }

    #[test]
    fn nothing_is_kept_of_none_and_of_long_ones() {
        let mut none = TokenCache::new(0);
        none.keep("a", verified("a", 10));
        assert_eq!(user(&mut none, "a", 1), None);
        let (mut cache, long) = (TokenCache::new(8), "a".repeat(LONGEST + 1));
        cache.keep(&long, verified("a", 10));
        assert_eq!(user(&mut cache, &long, 1), None);
    }
}
