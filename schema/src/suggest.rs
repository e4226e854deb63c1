//! "Did you mean": the known word nearest to one that is not known.

/// The candidate that `word` was probably meant to be.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = fold(word);
    // A third of the letters may be wrong: more, and every short key would resemble every other.
    let limit = (folded.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .filter(|candidate| !candidate.is_empty())
        .filter_map(|candidate| {
            let other = fold(candidate);
            let distance = strsim::damerau_levenshtein(&folded, &other);
            let near = distance <= limit || strsim::jaro_winkler(&folded, &other) >= 0.93;
            near.then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// "did you mean `x`?", or what `otherwise` says.
pub fn hint<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>, otherwise: &str) -> String {
    closest(word, candidates).map_or(otherwise.to_owned(), |candidate| format!("did you mean `{candidate}`?"))
}

/// `header_timeout_ms`, `header-timeout-ms` and `headertimeoutms` all mean `headerTimeoutMs`.
fn fold(word: &str) -> String {
    word.chars().take(64).filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect()
}
