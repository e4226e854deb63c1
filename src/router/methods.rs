//! Sets of request methods.

/// The methods of a route; empty = every method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MethodSet {
    names: Vec<String>,
    known: u16,
}

/// A request's method, looked up once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Method<'a> {
    name: &'a str,
    bit: u16,
}

const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"];
const GET: u16 = 1;
const HEAD: u16 = 2;

fn bit(name: &str) -> u16 {
    KNOWN.iter().position(|known| *known == name).map_or(0, |at| 1 << at)
}

impl<'a> Method<'a> {
    pub(crate) fn new(name: &'a str) -> Self {
        Self { name, bit: bit(name) }
    }
}

impl MethodSet {
    /// Names are case-sensitive (RFC 9110 section 9.1) and kept in their order, each once.
    pub(crate) fn new(names: Vec<String>) -> Self {
        let mut kept: Vec<String> = Vec::with_capacity(names.len());
        for name in names {
            if !kept.contains(&name) {
                kept.push(name);
            }
        }
        let mut known = kept.iter().fold(0, |bits, name| bits | bit(name));
        // A server that answers GET answers HEAD (RFC 9110 section 9.1), so a route for GET takes HEAD along.
        if known & GET != 0 {
            known |= HEAD;
        }
        Self { names: kept, known }
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    pub(crate) fn has(&self, method: Method<'_>) -> bool {
        self.names.is_empty()
            || self.known & method.bit != 0
            || (method.bit == 0 && self.names.iter().any(|name| name == method.name))
    }

    /// Whether every method of `other` is in this set.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.names.is_empty()
            || (!other.names.is_empty() && other.names.iter().all(|n| self.has(Method::new(n))))
    }

    /// Whether some method is in both.
    pub(super) fn meets(&self, other: &Self) -> bool {
        self.names.is_empty()
            || other.names.is_empty()
            || self.known & other.known != 0
            || other.names.iter().any(|name| self.has(Method::new(name)))
    }
}
