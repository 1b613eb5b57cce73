//! Making a key in an HSM: the token makes it, signs the ceremony's own preimage, and the machine signs the transcript.

use countersign_policy::MemberId;
use countersign_policy::statement::{CeremonyTranscript, KeyCeremony, TestSignature, Verified};

use crate::gate::TestSpend;
use crate::token::{TokenError, TokenKeys};

/// Why no key was made, or none that could be pinned.
#[derive(Debug, thiserror::Error)]
pub enum InTokenError {
    /// The order is for shares.
    #[error("the order is for a key of a threshold protocol, which no token makes")]
    NotAnHsmKey,
    /// The order names others.
    #[error(
        "an HSM key is made by the one machine that the order names; it names {0:?}. Machines that share one HSM get the key's record by a bundle"
    )]
    NotMine(Vec<MemberId>),
    /// The token.
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// Makes the key of an order in this machine's token, with its test signature. Blocks. A key of that name that is there already
/// is never used for a new order: whoever made it may have used it.
///
/// # Errors
/// [`InTokenError`].
pub fn make_in_token(
    tokens: &TokenKeys,
    order: &Verified<KeyCeremony>,
    me: &MemberId,
) -> Result<CeremonyTranscript, InTokenError> {
    let body = order.body();
    if !body.protocol.is_hsm() {
        return Err(InTokenError::NotAnHsmKey);
    }
    if body.nodes.as_slice() != std::slice::from_ref(me) {
        return Err(InTokenError::NotMine(body.nodes.clone()));
    }
    let group_key = tokens.generate(&body.key, body.protocol)?;
    let spend = TestSpend::new(body.protocol, order.digest(), &body.key, &body.nodes);
    let preimage = spend.preimage().clone();
    let signature = tokens.sign_as(
        &body.key,
        body.protocol,
        &group_key,
        &preimage,
        spend.release(),
    )?;
    Ok(CeremonyTranscript {
        ceremony: order.digest(),
        order: body.clone(),
        group_key,
        chain_code: None,
        tests: vec![TestSignature {
            signers: body.nodes.clone(),
            signature,
        }],
    })
}
