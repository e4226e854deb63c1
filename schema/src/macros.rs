//! The two declarations: sections and words; and the rule that a text must keep.

/// Declares a section: its struct, and by [`Describe`](crate::Describe) all that follows from each key.
///
/// ```text
/// section! {
///     /// `server`: what it is.
///     pub struct Server, check consistent {
///         /// What the key means, for the reference and the schema.
///         port: u16 = 8080, "port" int(0..=65_535), restart;
///     }
/// }
/// ```
///
/// `field: Type [= default], "key" form [, reload];` where the forms are [`form`](crate::form)'s and the words for a reload
/// [`reload`](crate::reload)'s, without one [`live`](crate::reload::live). `check` names a `fn(&mut Self, &Section<'_>)` for
/// what spans keys; `later` names a list of `("key", "what it arrives with")`: keys to come, which are refused.
#[macro_export]
macro_rules! section {
    (
        $(#[doc = $about:literal])* $(#[derive($($derive:ident),*)])?
        $vis:vis struct $name:ident $(, check $check:ident)? $(, later $later:ident)? {
            $($(#[doc = $doc:literal])+ $field:ident : $ty:ty $(= $default:expr)?, $key:literal $form:expr $(, $reload:expr)?;)*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, PartialEq $($(, $derive)*)?)]
        $vis struct $name { $($(#[doc = $doc])+ pub $field: $ty,)* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $crate::section!(@or Default::default() $(, $default)?),)* }
            }
        }

        impl $crate::Describe for $name {
            const DOC: &'static str = concat!($($about),*);
            const LATER: &'static [(&'static str, &'static str)] = $crate::section!(@or &[] $(, $later)?);

            fn keys() -> Vec<$crate::Key<Self>> {
                #[allow(unused_imports)]
                use $crate::{form::*, reload::*};
                [$($crate::key(
                    $key,
                    concat!($($doc),*),
                    $form,
                    $crate::section!(@or live $(, $reload)?),
                    |settings: &Self| &settings.$field,
                    |settings: &mut Self| &mut settings.$field,
                )),*].into_iter().flatten().collect()
            }

            #[allow(unused_variables)]
            fn check(&mut self, section: &$crate::Section<'_>) {
                $($check(self, section);)?
            }
        }
    };
    (@or $default:expr, $written:expr) => { $written };
    (@or $default:expr) => { $default };
}

/// Declares an enum of the configuration: one word each, the first one its default where none is marked `#[default]`.
///
/// ```text
/// choice! {
///     /// What it is.
///     pub enum Via { #[default] Both = "both", Response = "response", Off = "off" | "none" }
/// }
/// ```
///
/// What follows a `|` is understood too, but not offered.
#[macro_export]
macro_rules! choice {
    ($(#[$about:meta])* $vis:vis enum $name:ident {
        $($(#[$of:meta])* $variant:ident = $word:literal $(| $alias:literal)*),* $(,)?
    }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        $vis enum $name { $($(#[$of])* $variant),* }

        impl $crate::form::Words for $name {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$variant)),*];
            const ALIASES: &'static [(&'static str, Self)] = &[$($(($alias, Self::$variant),)*)*];
        }

        impl $name {
            /// As it is written in the configuration.
            #[allow(dead_code)]
            $vis fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }
    };
}

/// Leaves the function with an error that says `why` where something does not hold.
#[macro_export]
macro_rules! ensure {
    ($holds:expr, $why:expr) => {
        if !$holds {
            return Err($why.into());
        }
    };
}
