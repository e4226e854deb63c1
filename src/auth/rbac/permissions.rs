//! Permissions that a key or a token carries beside its roles: patterns, and the methods that each grants.

use super::{Access, Problem, compiled, methods};
use crate::router::{Method, MethodSet, Pattern, PatternSet};

/// Some permissions without conditions.
#[derive(Debug)]
pub struct Permissions {
    patterns: PatternSet,
    /// By the number of the pattern.
    methods: Vec<Option<MethodSet>>,
}

impl Permissions {
    /// Compiles patterns with their methods, of which `*` is every one, as in `auth.rbac`. A pattern without methods grants
    /// nothing.
    ///
    /// # Errors
    /// Patterns that do not parse; the path of such a problem is the pattern.
    pub fn build(permissions: &[(String, Vec<String>)]) -> Result<Self, Vec<Problem>> {
        let texts: Vec<String> = permissions.iter().map(|(pattern, _)| pattern.clone()).collect();
        let patterns = compiled(&texts)?;
        Ok(Self { patterns, methods: permissions.iter().map(|(_, actions)| methods(actions)).collect() })
    }

    /// The pattern that lets it pass, if one does.
    pub fn permits(&self, access: &Access<'_>) -> Option<&Pattern> {
        let method = Method::new(access.method);
        let wanted = &mut |at: usize| self.methods[at].as_ref().is_some_and(|methods| methods.has(method));
        let found = self.patterns.find(access.path, access.trailing_slash, wanted)?;
        self.patterns.patterns().get(found)
    }
}
