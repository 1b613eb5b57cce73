//! With what a member signed.

use crate::HexBytes;
use crate::envelope::IdentityPublicKey;

/// The key or credential that verified a member's signature: freezes can name it, and clones of it can show.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SignerKey {
    /// A statement key.
    Statement(IdentityPublicKey),
    /// A WebAuthn credential.
    Credential {
        /// Its id.
        id: HexBytes,
        /// The signature counter in the assertion; 0 where the authenticator keeps none. See
        /// [`CounterBook`](crate::webauthn::CounterBook).
        counter: u32,
    },
}
