//! What `check` says of `/x/**` where `/x` goes elsewhere: `**` takes at least one segment.

use std::ptr;

use super::hosts::HostPattern;
use super::pattern::Segment;
use super::route::CompiledRoute;
use super::table::{Found, RequestFacts, Router};

impl<T> Router<T> {
    /// Every route `/x/**` for which a request for `/x` finds no route, or one that takes it only with everything else
    /// (`/**`) and is not `alike`; with that route. Whoever has written a route for `/x` knows where it goes.
    pub fn bare(
        &self,
        alike: impl Fn(&T, &T) -> bool,
    ) -> impl Iterator<Item = (&CompiledRoute<T>, Option<&CompiledRoute<T>>)> {
        self.routes().filter_map(move |route| {
            let path = above(route.pattern().segments())?;
            let host = match route.hosts().first() {
                None => String::new(),
                Some(HostPattern::Exact(host)) => host.clone(),
                Some(HostPattern::Under(suffix)) => format!("x.{suffix}"),
            };
            let method = route.methods().first().map_or("GET", String::as_str);
            let headers = route.headers().to_vec();
            let found = self.find(&RequestFacts {
                method,
                host: &host,
                path: &path,
                trailing_slash: false,
                headers: &headers,
            });
            match found {
                Found::NoRoute => Some((route, None)),
                Found::Route(other) if ptr::eq(other, route) || alike(route.payload(), other.payload()) => {
                    None
                }
                Found::Route(other) => {
                    let catches = other.pattern().segments().contains(&Segment::Deep);
                    catches.then_some((route, Some(other)))
                }
                Found::MethodNotAllowed { .. } | Found::Ambiguous { .. } => None,
            }
        })
    }
}

/// A path right above what the pattern `/x/**` takes.
fn above(segments: &[Segment]) -> Option<String> {
    let (Segment::Deep, above) = segments.split_last()? else { return None };
    let mut path = String::new();
    for segment in above {
        path.push('/');
        match segment {
            Segment::Literal(text) => path.push_str(text),
            Segment::Parameter(_) | Segment::Any | Segment::Deep => path.push('x'),
            Segment::Glob(_) => return None,
        }
    }
    (!path.is_empty()).then_some(path)
}
