//! Why somebody with a browser is let in nowhere, or not there.

use axum::http::StatusCode;

use crate::manager::SignInError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Access {
    /// The cookie is no session of ours any more.
    SignedOut,
    SignIn(SignInError),
    /// The session is a viewer's.
    OnlyLooks,
    /// A page of another origin is behind the request.
    CrossSite,
}

impl Access {
    pub(super) fn status_and_detail(self) -> (StatusCode, &'static str) {
        match self {
            Self::SignedOut => (StatusCode::UNAUTHORIZED, "Signed Out: sign in again"),
            Self::SignIn(SignInError::WrongSecret) => (StatusCode::UNAUTHORIZED, "Wrong Secret"),
            Self::SignIn(SignInError::WrongShare) => (
                StatusCode::UNAUTHORIZED,
                "This link is not valid, or not any more: ask for a new one",
            ),
            Self::SignIn(SignInError::NotAnOperator) => (
                StatusCode::UNAUTHORIZED,
                "This is the workers' secret: sign in with OPERATOR_SECRET",
            ),
            Self::SignIn(SignInError::TooMany { .. }) => (
                StatusCode::TOO_MANY_REQUESTS,
                "Too Many Wrong Tries: wait a moment",
            ),
            Self::OnlyLooks => (
                StatusCode::FORBIDDEN,
                "Viewers Only Look: sign in with the operator's secret",
            ),
            Self::CrossSite => (
                StatusCode::FORBIDDEN,
                "Other Origin: a session counts only on the manager's own pages",
            ),
        }
    }

    /// Seconds after which to try again.
    pub(super) fn retry_seconds(self) -> Option<u64> {
        match self {
            Self::SignIn(SignInError::TooMany { retry_seconds }) => Some(retry_seconds),
            Self::SignIn(_) | Self::SignedOut | Self::OnlyLooks | Self::CrossSite => None,
        }
    }
}
