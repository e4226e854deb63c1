//! Which client addresses may ask: `auth.ip`, and `ip` of backends and routes.
//!
//! Judges the address that the gateway has found for the client, never a header. Each place has its own rules, and a client
//! must pass those of all places that a request comes by.

use std::net::IpAddr;

use super::networks::Networks;
use crate::config::settings::auth::ip_rules as settings;

/// The rules of one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpRules {
    /// `None` = everybody.
    allow: Option<Networks>,
    deny: Networks,
}

/// Why an address is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// `deny` has it.
    Denied,
    /// There is an `allow`, and it has it not.
    NotAllowed,
}

impl IpRules {
    /// Compiles them.
    pub fn new(settings: &settings::IpRules) -> Self {
        let allow = (!settings.allow.is_empty()).then(|| Networks::new(&settings.allow));
        Self { allow, deny: Networks::new(&settings.deny) }
    }

    /// Lets a client in or not. What is denied is denied, though it is allowed too.
    ///
    /// # Errors
    /// Why not.
    pub fn judge(&self, client: IpAddr) -> Result<(), Refused> {
        if self.deny.contains(client) {
            return Err(Refused::Denied);
        }
        match &self.allow {
            Some(allow) if !allow.contains(client) => Err(Refused::NotAllowed),
            _ => Ok(()),
        }
    }

    /// Whether they let everybody in, so that nobody need ask.
    pub fn is_open(&self) -> bool {
        self.allow.is_none() && self.deny.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(allow: &[&str], deny: &[&str]) -> IpRules {
        let read = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
        IpRules::new(&settings::IpRules { allow: read(allow), deny: read(deny) })
    }

    fn judge(rules: &IpRules, client: &str) -> Result<(), Refused> {
        rules.judge(client.parse().unwrap())
    }

    #[test]
    fn without_rules_everybody_is_let_in() {
        assert!(rules(&[], &[]).is_open());
        for client in ["10.0.0.1", "::1"] {
            assert_eq!(judge(&rules(&[], &[]), client), Ok(()));
        }
    }

    #[test]
    fn whoever_is_on_the_list_is_let_in_and_nobody_else() {
        let rules = rules(&["10.0.0.0/8", "2001:db8::/32"], &[]);
        assert!(!rules.is_open());
        for client in ["10.9.9.9", "::ffff:10.9.9.9", "2001:db8::1"] {
            assert_eq!(judge(&rules, client), Ok(()), "{client}");
        }
        for client in ["11.0.0.0", "::ffff:11.0.0.0", "2001:db9::1", "::10.9.9.9"] {
            assert_eq!(judge(&rules, client), Err(Refused::NotAllowed), "{client}");
        }
    }

    #[test]
    fn deny_beats_allow_however_narrow_that_is() {
        let rules = rules(&["10.1.2.3/32", "10.0.0.0/8"], &["10.1.0.0/16"]);
        assert_eq!(judge(&rules, "10.1.2.3"), Err(Refused::Denied));
        assert_eq!(judge(&rules, "::ffff:10.1.2.3"), Err(Refused::Denied));
        assert_eq!(judge(&rules, "10.2.0.0"), Ok(()));
    }

    #[test]
    fn with_deny_alone_all_others_are_let_in() {
        let rules = rules(&[], &["192.0.2.0/24"]);
        assert_eq!(judge(&rules, "192.0.2.0"), Err(Refused::Denied));
        assert_eq!(judge(&rules, "192.0.3.0"), Ok(()));
        assert_eq!(judge(&rules, "2001:db8::1"), Ok(()));
    }
}
