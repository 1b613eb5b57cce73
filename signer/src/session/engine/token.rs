//! Signing with a key in this machine's HSM: the same session, receipts, confirms and release as with a share, and then the
//! token in the place of the protocol.

use std::time::Duration;

use countersign_policy::bundle::KeyRecord;

use super::super::exchange::{self, Confirmed};
use super::super::table::{Session, SessionResult};
use super::{Engine, blocking, signed};
use crate::clock::now;
use crate::gate::AgreedReceipts;
use crate::token::{TokenError, TokenKeys};
use crate::wire::{Problem, ProblemCode};

impl Engine {
    fn tokens(&self) -> Result<&TokenKeys, Problem> {
        self.parts.tokens.as_ref().ok_or_else(|| {
            ProblemCode::Internal
                .problem("this node has no HSM: configure one, or name another machine")
        })
    }

    /// The token has the pinned key. A key that is missing or another one must show before anything is promised.
    pub(super) async fn token_key(&self, key: &KeyRecord) -> Result<(), Problem> {
        let (tokens, key) = (self.tokens()?.clone(), key.clone());
        let found = blocking(move || tokens.require(&key)).await?;
        found.map_err(|error| token_problem(&error))
    }

    pub(super) async fn sign_in_token(
        &self,
        session: &Session,
        agreed: &AgreedReceipts,
        timeout: Duration,
    ) -> SessionResult {
        let spend = session.spend();
        let Confirmed { confirms, .. } =
            exchange::confirm(&self.parts, session, agreed, Vec::new(), timeout).await?;
        // I5: `released` is on disk before the token is asked.
        let active = self.parts.bundle.current().digest();
        let released = spend
            .release(&self.parts.store, agreed, &confirms, active, now())
            .await?;
        let (tokens, key) = (self.tokens()?.clone(), spend.admitted().key().clone());
        let preimage = spend.preimage();
        let made = blocking(move || tokens.sign(&key, &preimage, released)).await?;
        made.map(signed).map_err(|error| token_problem(&error))
    }
}

fn token_problem(error: &TokenError) -> Problem {
    tracing::error!(error = %error, "the HSM did not do what it was asked for");
    match error {
        TokenError::Busy(_) => ProblemCode::Busy.problem(error.to_string()),
        _ => ProblemCode::Internal.problem(error.to_string()),
    }
}
