//! From the bytes of an unsigned transaction to what they mean, and from a signature to the signed transaction.
//!
//! I4, what is checked is what is signed: [`decode`] decodes, encodes again, requires equal bytes, and hashes those same
//! bytes. A [`DecodedTransaction`] can be made in no other way, and it is the only thing that has a digest.

mod abi;
mod error;
mod evm;
mod solana;
mod tron;

#[cfg(test)]
mod tests;

use sha2::{Digest, Sha256};
use sha3::Keccak256;

use crate::caip::Network;
use crate::intent::{HexBytes, Intent, SenderMismatch};
use crate::key::{PublicKey, Signature};
use crate::text::serde_as_text;

pub use error::{AssembleError, CallError, DecodeError, EvmError, SolanaError, TronError};
pub use tron::{MAX_FEE_LIMIT_SUN, MAX_LIFETIME_MS};

/// The most bytes that an unsigned transaction may have: 128 KiB, the limit of Ethereum's transaction pool.
pub const MAX_TRANSACTION_BYTES: usize = 128 * 1024;

/// An unsigned transaction whose meaning is known and whose bytes are the canonical encoding of that meaning.
#[derive(Clone, Debug)]
pub struct DecodedTransaction {
    intent: Intent,
    preimage: Vec<u8>,
    digest: SigningDigest,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Evm(evm::Unsigned),
    Tron,
    Solana,
}

/// What a signature is made over: the hash of the preimage by [`DecodedTransaction::hash_algorithm`]. Text form `0x` and 64
/// hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SigningDigest([u8; 32]);

/// How the preimage becomes what the key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashAlgorithm {
    /// ECDSA over keccak-256 of the preimage (EVM).
    Keccak256,
    /// ECDSA over SHA-256 of the preimage (Tron).
    Sha256,
    /// Ed25519 over the preimage itself (Solana). The [`SigningDigest`] is its SHA-256 and only a name.
    Ed25519Message,
}

/// A transaction ready for broadcast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedTransaction {
    /// What a node of the network accepts: EIP-2718 bytes, a Tron `Transaction` message, a Solana transaction.
    pub bytes: Vec<u8>,
    /// As the network's explorers write it: `0x` hex (EVM), hex (Tron), base58 of the signature (Solana).
    pub tx_id: String,
}

/// Decodes an unsigned transaction of `network`: RLP for EVM (legacy with EIP-155, EIP-2930, EIP-1559), the protobuf
/// `raw_data` for Tron, the message for Solana.
///
/// ```
/// use countersign_policy::{Network, decode};
/// // The example of EIP-155.
/// let bytes = hex::decode("ec098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a764000080018080")?;
/// let transaction = decode(&Network::ETHEREUM, &bytes)?;
/// assert_eq!(transaction.intent().kind.name(), "native-transfer");
/// assert_eq!(
///     transaction.digest().to_string(),
///     "0xdaf5a779ae972f972197303d7b574746c7ef83eadac0f2791ad23db92e4c8e53"
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`DecodeError`] for everything that is not the one canonical encoding of a transaction that may be signed.
pub fn decode(network: &Network, bytes: &[u8]) -> Result<DecodedTransaction, DecodeError> {
    if bytes.is_empty() {
        return Err(DecodeError::Empty);
    }
    if bytes.len() > MAX_TRANSACTION_BYTES {
        return Err(DecodeError::TooLarge {
            found: bytes.len(),
            max: MAX_TRANSACTION_BYTES,
        });
    }
    // I4: each decoder returns what it encoded again from the decoded fields, never a copy of its input.
    let (mut intent, preimage, form) = match network {
        Network::Evm { chain_id } => {
            let (intent, preimage, unsigned) = evm::decode(network, chain_id.get(), bytes)?;
            (intent, preimage, Form::Evm(unsigned))
        }
        Network::Tron(_) => {
            let (intent, preimage) = tron::decode(network, bytes)?;
            (intent, preimage, Form::Tron)
        }
        Network::Solana(_) => {
            let (intent, preimage) = solana::decode(network, bytes)?;
            (intent, preimage, Form::Solana)
        }
    };
    if preimage != bytes {
        return Err(DecodeError::NotCanonical {
            what: "transaction",
        });
    }
    intent.warnings.sort();
    intent.warnings.dedup();
    let digest = SigningDigest(form.algorithm().digest(&preimage));
    Ok(DecodedTransaction {
        intent,
        preimage,
        digest,
        form,
    })
}

impl DecodedTransaction {
    /// What it means.
    #[must_use]
    pub const fn intent(&self) -> &Intent {
        &self.intent
    }

    /// The bytes that the digest is of, equal to those given to [`decode`].
    #[must_use]
    pub fn preimage(&self) -> &[u8] {
        &self.preimage
    }

    /// The hash of [`DecodedTransaction::preimage`] that names this transaction in statements and ledgers.
    #[must_use]
    pub const fn digest(&self) -> SigningDigest {
        self.digest
    }

    /// How the key signs the preimage.
    #[must_use]
    pub const fn hash_algorithm(&self) -> HashAlgorithm {
        self.form.algorithm()
    }

    /// Puts signature and transaction together, after verifying the signature against `public_key` and the preimage.
    ///
    /// The recovery id is found by trial. On Tron and Solana, whose bytes name the signing account, the key must be that
    /// account's (on Tron unless another `Permission_id` is named, whose keys only the chain knows).
    ///
    /// # Errors
    /// [`AssembleError`]: wrong curve, high s, a signature that does not hold, another sender.
    pub fn assemble(
        &self,
        signature: &Signature,
        public_key: &PublicKey,
    ) -> Result<SignedTransaction, AssembleError> {
        self.check_sender(public_key)?;
        match (&self.form, signature, public_key) {
            (Form::Evm(unsigned), Signature::Secp256k1 { r, s }, PublicKey::Secp256k1(_)) => {
                let recovery_id = self.recovery_id(signature, public_key)?;
                Ok(unsigned.assemble(r, s, recovery_id))
            }
            (Form::Tron, Signature::Secp256k1 { r, s }, PublicKey::Secp256k1(_)) => {
                let recovery_id = self.recovery_id(signature, public_key)?;
                Ok(tron::assemble(
                    &self.preimage,
                    &self.digest,
                    r,
                    s,
                    recovery_id,
                ))
            }
            (Form::Solana, Signature::Ed25519(bytes), PublicKey::Ed25519(_)) => {
                self.verify(signature, public_key)?;
                Ok(solana::assemble(&self.preimage, bytes))
            }
            _ => Err(AssembleError::WrongCurve {
                network: self.intent.network,
            }),
        }
    }

    fn check_sender(&self, public_key: &PublicKey) -> Result<(), AssembleError> {
        let signer = public_key.address(&self.intent.network)?;
        match self.intent.from {
            Some(stated) if stated != signer && self.intent.permission_id.is_none() => {
                Err(SenderMismatch { stated, signer }.into())
            }
            _ => Ok(()),
        }
    }

    fn verify(&self, signature: &Signature, public_key: &PublicKey) -> Result<(), AssembleError> {
        if signature.is_high_s() {
            return Err(AssembleError::HighS);
        }
        if public_key.verifies(signature, &self.preimage, &self.digest.0) {
            Ok(())
        } else {
            Err(AssembleError::Invalid)
        }
    }

    fn recovery_id(
        &self,
        signature: &Signature,
        public_key: &PublicKey,
    ) -> Result<u8, AssembleError> {
        if signature.is_high_s() {
            return Err(AssembleError::HighS);
        }
        signature
            .recovery_id(public_key, &self.digest.0)
            .ok_or(AssembleError::Invalid)
    }
}

impl Form {
    const fn algorithm(&self) -> HashAlgorithm {
        match self {
            Self::Evm(_) => HashAlgorithm::Keccak256,
            Self::Tron => HashAlgorithm::Sha256,
            Self::Solana => HashAlgorithm::Ed25519Message,
        }
    }
}

impl HashAlgorithm {
    fn digest(self, preimage: &[u8]) -> [u8; 32] {
        match self {
            Self::Keccak256 => Keccak256::digest(preimage).into(),
            Self::Sha256 | Self::Ed25519Message => Sha256::digest(preimage).into(),
        }
    }
}

impl SigningDigest {
    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Display for SigningDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

impl std::fmt::Debug for SigningDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// A statement may quote a digest; only [`decode`] makes one that is signed.
impl std::str::FromStr for SigningDigest {
    type Err = crate::intent::HexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes: HexBytes = text.parse()?;
        bytes
            .0
            .try_into()
            .map(Self)
            .map_err(|_| crate::intent::HexError)
    }
}

serde_as_text!(SigningDigest, "0x and 64 hex digits");

/// keccak-256 of call data, for intents that name it exactly.
fn data_hash(data: &[u8]) -> HexBytes {
    HexBytes(Keccak256::digest(data).to_vec())
}
