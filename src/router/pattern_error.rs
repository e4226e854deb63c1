//! What can be wrong with a route's pattern or host, said so that the reader can fix it.

/// Why a route cannot be compiled. The message says what is wrong and how to fix it; where it is (file, line,
/// route) is for the caller to say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// No leading slash.
    #[error("pattern `{0}` does not start with a slash; write `/{0}`")]
    NotAbsolute(String),
    /// `//` inside.
    #[error("pattern `{0}` has an empty segment, which no canonical path has; drop the doubled slash")]
    EmptySegment(String),
    /// A slash at the end of more than the root.
    #[error(
        "pattern `{0}/` ends in a slash, which is removed from every path; write `{0}`, or `{0}/**` for all below"
    )]
    TrailingSlash(String),
    /// `.` or `..`, escaped or not.
    #[error(
        "pattern segment `{0}` is a dot segment, which is resolved or refused in every path; write the path it leads to"
    )]
    DotSegment(String),
    /// `:` alone.
    #[error("a `:` stands without a name; write `:id`, or `%3A` for a literal colon")]
    UnnamedParameter,
    /// A parameter's name with something other than letters, digits, `_` and `-`.
    #[error(
        "parameter `:{name}` has `{found}` in its name; use letters, digits, `_` and `-`, or `*` to match a part of a segment"
    )]
    ParameterName {
        /// The name as written, without its colon.
        name: String,
        /// The first character that may not be in it.
        found: char,
    },
    /// One name twice in a pattern.
    #[error("parameter `:{0}` is named twice; rename one")]
    DuplicateParameter(String),
    /// `**` that is not a whole segment.
    #[error("`**` stands inside the segment `{0}`; make it a segment of its own, or use a single `*`")]
    DeepInsideSegment(String),
    /// A character that a canonical path only has escaped.
    #[error("`{found}` never occurs in a canonical path; write {instead}")]
    Character {
        /// The character.
        found: char,
        /// What to write, with backquotes where it is text.
        instead: String,
    },
    /// A path parameter, raw or escaped.
    #[error(
        "`{0}` starts a path parameter, which takes no part in routing; leave it out, or use `*` for the segment"
    )]
    PathParameter(&'static str),
    /// `%2F` or `%5C`.
    #[error(
        "`{0}` in a pattern would match a path that has two readings, which is always refused; use `*` or `:name` for the segment"
    )]
    EscapedSeparator(&'static str),
    /// A percent sign without two hex digits, or escapes that are not UTF-8 or control characters.
    #[error("segment `{segment}`: {cause}; escape each byte of a UTF-8 character as `%` and two hex digits")]
    Escape {
        /// The segment as written.
        segment: String,
        /// The cause, in the words used for paths.
        cause: super::BadPath,
    },
    /// More segments than [`super::Pattern::MAX_SEGMENTS`].
    #[error("the pattern has {0} segments; at most {max} are allowed", max = super::Pattern::MAX_SEGMENTS)]
    TooManySegments(usize),
    /// A host that is empty or has an empty label.
    #[error("host `{0}` has an empty name; write a host such as `api.example.com`")]
    EmptyHost(String),
    /// A port or a scheme with the host.
    #[error("host `{0}` has a scheme or port; write the name alone, since a route holds for every port")]
    HostPort(String),
    /// `*` anywhere but in a leading `*.`.
    #[error(
        "host `{0}` has `*` in a place other than a leading `*.`; write `*.example.com`, or no host for every host"
    )]
    HostWildcard(String),
    /// Something that is no host name character.
    #[error("host `{host}` has `{found}` in it; write an ASCII name (punycode, `xn--…`, for others)")]
    HostCharacter {
        /// The host as written.
        host: String,
        /// The first character that may not be in it.
        found: char,
    },
}
