//! Whether two routes can match the same request, and whether one matches all that another does.
//!
//! Pure comparisons of two routes; which pairs are worth comparing is decided in [`super::conflicts`] and
//! [`super::ties`].

use super::pattern::Segment;
use super::route::CompiledRoute;

/// Whether some request is matched by both routes. May say yes for two globs that share no segment; never says no
/// for routes that do meet. A request that repeats a header with several values is left out of account.
pub(super) fn meet<T>(a: &CompiledRoute<T>, b: &CompiledRoute<T>) -> bool {
    a.methods.meets(&b.methods)
        && patterns_meet(a.pattern().segments(), b.pattern().segments())
        && a.headers()
            .iter()
            .all(|(name, value)| b.headers().iter().all(|(other, wanted)| name != other || value == wanted))
}

/// Whether `wide` accepts every host, method and header that `narrow` does. Patterns are not compared.
pub(super) fn conditions_cover<T>(wide: &CompiledRoute<T>, narrow: &CompiledRoute<T>) -> bool {
    let hosts = wide.hosts().is_empty()
        || (!narrow.hosts().is_empty()
            && narrow.hosts().iter().all(|host| wide.hosts().iter().any(|known| known.covers(host))));
    hosts
        && wide.methods.covers(&narrow.methods)
        && wide.headers().iter().all(|header| narrow.headers().contains(header))
}

fn patterns_meet(a: &[Segment], b: &[Segment]) -> bool {
    if a.contains(&Segment::Deep) || b.contains(&Segment::Deep) {
        return expansions_meet(&expanded(a), &expanded(b));
    }
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| segments_meet(a, b))
}

fn segments_meet(a: &Segment, b: &Segment) -> bool {
    match (a, b) {
        (Segment::Literal(a), Segment::Literal(b)) => a == b,
        (Segment::Literal(text), Segment::Glob(glob)) | (Segment::Glob(glob), Segment::Literal(text)) => {
            glob.fits(text)
        }
        (Segment::Glob(a), Segment::Glob(b)) => a.may_meet(b),
        _ => true,
    }
}

/// A pattern in which `Deep` means any number of segments, none included.
///
/// In the middle `**` takes at least one segment, so it becomes `*` and that. At the end it may take none if the
/// path has a trailing slash, which does not keep any other pattern from matching.
fn expanded(segments: &[Segment]) -> Vec<&Segment> {
    let mut out = Vec::with_capacity(segments.len() + 1);
    for (at, segment) in segments.iter().enumerate() {
        if *segment == Segment::Deep && at + 1 < segments.len() {
            out.push(&Segment::Any);
        }
        out.push(segment);
    }
    out
}

/// Whether the languages of two expansions share a word: row by row from the end, so in time of the product.
fn expansions_meet(a: &[&Segment], b: &[&Segment]) -> bool {
    // below[j]: what follows a[i + 1..] meets b[j..].
    let mut below = vec![false; b.len() + 1];
    for i in (0..=a.len()).rev() {
        let mut row = vec![false; b.len() + 1];
        for j in (0..=b.len()).rev() {
            row[j] = match (a.get(i), b.get(j)) {
                (None, None) => true,
                (Some(Segment::Deep), _) => below[j] || (j < b.len() && row[j + 1]),
                (Some(_), Some(Segment::Deep)) => row[j + 1] || below[j],
                (None, Some(Segment::Deep)) => row[j + 1],
                (Some(a), Some(b)) => below[j + 1] && segments_meet(a, b),
                _ => false,
            };
        }
        below = row;
    }
    below[0]
}
