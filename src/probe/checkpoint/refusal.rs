//! Why a pickle is refused; the machine and its calls both say it.

/// Why a pickle is refused.
#[derive(Debug, PartialEq)]
pub(super) enum Refusal {
    /// Not a pickle, or one beyond the bounds.
    Bad(String),
    /// It names what is on no list: full names, or what it tries to call.
    Unsafe(Vec<String>),
}

impl Refusal {
    pub fn bad(what: impl Into<String>) -> Self {
        Self::Bad(what.into())
    }
}

pub(super) type Result<T> = std::result::Result<T, Refusal>;
