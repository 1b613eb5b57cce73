//! WebAuthn assertions in place of statement keys: how people approve, reject, freeze and unfreeze in a browser.
//!
//! The challenge is the SHA-256 of the statement's pre-authentication encoding, so an assertion is over one statement and
//! nothing else. What it must say stands in the policy bundle ([`WebAuthnPolicy`]), and so do the credentials: every signer
//! verifies an assertion by itself and trusts no server with it (Web Authentication Level 3, section 7.2, as far as it
//! applies where there is no session).
//!
//! An ECDSA signature has a twin with the negated `s`, and authenticators make either, so both verify. Nothing hangs on
//! it: statements are named by what is signed, never by their signatures.

mod authenticator_data;
mod client_data;
mod counter;
mod credential;
mod form;
#[cfg(test)]
mod tests;

pub use authenticator_data::AuthenticatorDataError;
pub use client_data::ClientDataError;
pub use counter::{CounterBook, CounterError};
pub(crate) use credential::ReadyCredential;
pub use form::{Assertion, AssertionFormError, MAX_ASSERTION};

use authenticator_data::AuthenticatorData;
use client_data::ClientData;

use crate::HexBytes;
use crate::bundle::WebAuthnPolicy;
use crate::hash::Hash;
use crate::statement::SignerKey;

/// Why an assertion does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    /// The bundle says nothing about WebAuthn, so no assertion counts.
    #[error("the bundle accepts no WebAuthn assertions")]
    NoPolicy,
    /// Not one of the member's credentials.
    #[error("{0} is no credential of this member")]
    UnknownCredential(HexBytes),
    /// The client data is not acceptable as such.
    #[error("the client data is not acceptable")]
    ClientData(#[from] ClientDataError),
    /// The authenticator data is not acceptable as such.
    #[error("the authenticator data is not acceptable")]
    AuthenticatorData(#[from] AuthenticatorDataError),
    /// Made for another ceremony.
    #[error("the client data is of type {0:?}, not webauthn.get")]
    Type(String),
    /// Made for another statement.
    #[error("the challenge is not that of this statement")]
    Challenge,
    /// Made on another page.
    #[error("{0:?} is none of the origins from which officers approve")]
    Origin(String),
    /// Made in a frame within a page of another origin.
    #[error("it was made in a frame within a page of another origin")]
    CrossOrigin,
    /// Made on a page that names a page around it, whatever else it says.
    #[error("the client data names a page around the one that asked")]
    TopOrigin,
    /// Made for another relying party.
    #[error("it was made for another relying party")]
    RelyingParty,
    /// Nobody touched the authenticator.
    #[error("the user was not present")]
    UserPresence,
    /// The authenticator did not ask who it was.
    #[error("the user was not verified")]
    UserVerification,
    /// Backed up, and said not to be eligible for it.
    #[error("the credential is said to be backed up without being eligible for it")]
    BackupFlags,
    /// The credential can be copied to other devices.
    #[error("the credential can be copied to other devices, which the bundle does not allow")]
    BackupEligible,
    /// The credential's public key in the bundle is no usable one.
    #[error("the credential's public key is not usable")]
    UnusableKey,
    /// Not in the one form of the credential's algorithm.
    #[error("the signature is not in the form of the credential's algorithm")]
    SignatureForm,
    /// Not made with the credential.
    #[error("the signature does not verify with the credential's public key")]
    Signature,
}

impl Assertion {
    /// Verifies everything but the counter, which takes a memory: see [`CounterBook`].
    ///
    /// # Errors
    /// [`AssertionError`]: the first check that failed.
    pub(crate) fn verify(
        &self,
        policy: Option<&WebAuthnPolicy>,
        credentials: &[ReadyCredential],
        challenge: &Hash,
    ) -> Result<SignerKey, AssertionError> {
        let policy = policy.ok_or(AssertionError::NoPolicy)?;
        let id = self.credential_id();
        let credential = credentials
            .iter()
            .find(|credential| credential.id() == id)
            .ok_or_else(|| AssertionError::UnknownCredential(id.clone()))?;
        ClientData::read(self.client_data_json())?.require(policy, challenge)?;
        let data = AuthenticatorData::read(self.authenticator_data())?;
        data.require(policy)?;
        credential.verify(self)?;
        Ok(SignerKey::Credential {
            id: id.clone(),
            counter: data.counter(),
        })
    }
}
