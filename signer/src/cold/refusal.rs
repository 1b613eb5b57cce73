//! Why the machine does not sign.

use countersign_policy::bundle::ChainError;
use countersign_policy::cold::PackageError;
use countersign_policy::{Hash, Timestamp};

use crate::store::StoreError;
use crate::token::TokenError;
use crate::wire::{Problem, ProblemCode};

/// Why the machine does not sign, or not now.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The package is refused.
    #[error("the package is refused")]
    Package(#[from] PackageError),
    /// The clock shows less than somebody signed before.
    #[error(
        "this machine's clock shows {now}, and it has seen something signed at {floor}: the clock is behind; set it"
    )]
    Clock {
        /// The clock.
        now: Timestamp,
        /// The newest signed time that this machine has seen.
        floor: Timestamp,
    },
    /// The gate refuses, as it would on every node.
    #[error("{}: {}", .0.title, .0.detail)]
    Gate(Box<Problem>),
    /// The request was signed on this machine before, from another package.
    #[error("request {request} was signed on this machine before, from package {package}")]
    AlreadySigned {
        /// The request.
        request: Hash,
        /// The package.
        package: Hash,
    },
    /// The token refuses or fails.
    #[error("the token does not sign")]
    Token(#[from] TokenError),
    /// The chain that this machine keeps does not verify any more.
    #[error("this machine's own policy chain is refused")]
    OwnChain(#[source] ChainError),
    /// The store has a fault.
    #[error("this machine's store failed")]
    Store(#[from] StoreError),
    /// A file of this machine cannot be read or written.
    #[error("{path}: {reason}")]
    File {
        /// Which.
        path: String,
        /// Why.
        reason: String,
    },
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Gate(Box::new(problem))
    }
}

impl Refusal {
    /// A stable code, for the response and the journal.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Package(_) => "package",
            Self::Clock { .. } => "clock",
            Self::Gate(problem) => problem.code().map_or("gate", ProblemCode::code),
            Self::AlreadySigned { .. } => "already-signed",
            Self::Token(_) => "token",
            Self::OwnChain(_) | Self::Store(_) | Self::File { .. } => "machine",
        }
    }

    /// The reason with everything behind it, on one line.
    pub fn line(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        text
    }
}
