//! What can go wrong, told apart: the token's word, the worker's death, and answers that are wrong.

use serde::{Deserialize, Serialize};

use crate::config::{HsmConfigError, KeyAttribute};
use crate::point::PointError;
use crate::types::{KeyId, KeyKind};

/// A PKCS#11 function's answer that is not `CKR_OK`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{function} answered {code}")]
pub struct Trouble {
    /// The return value, as the standard names it.
    #[serde(deserialize_with = "crate::plain::text")]
    pub code: String,
    /// The function.
    #[serde(deserialize_with = "crate::plain::text")]
    pub function: String,
}

/// Why nothing more is asked of a token until a person has looked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum StopReason {
    /// The token refused the PIN. It is never tried again.
    #[error(
        "the token refused the PIN ({0}); it is not tried again, since tokens lock: mend the PIN file, then start anew"
    )]
    PinRefused(#[serde(deserialize_with = "crate::plain::text")] String),
    /// Another wrong PIN would lock the token.
    #[error(
        "the token says that one more wrong PIN locks it: log in once by hand with the right PIN, then start anew"
    )]
    FinalTry,
    /// The token is locked.
    #[error("the token's user PIN is locked: its security officer must unlock it")]
    PinLocked,
    /// Wrong PINs were entered, and the configuration says to stop then.
    #[error(
        "the token says that wrong PINs were entered since the last login (pin_count_low = \"refuse\"): log in once by hand"
    )]
    CountLow,
    /// The PIN was never set, or must be changed first.
    #[error("the token's user PIN {0}")]
    PinNotReady(#[serde(deserialize_with = "crate::plain::text")] String),
    /// It is not known whether the token counted a wrong PIN.
    #[error(
        "the first login did not end with a clear answer ({0}); it is not tried again, so that no token locks"
    )]
    LoginUncertain(#[serde(deserialize_with = "crate::plain::text")] String),
    /// The PIN file cannot be used.
    #[error("the PIN cannot be had: {0}")]
    PinFile(#[serde(deserialize_with = "crate::plain::text")] String),
    /// The module cannot be loaded or used.
    #[error("the PKCS#11 module cannot be used: {0}")]
    Module(#[serde(deserialize_with = "crate::plain::text")] String),
    /// Several tokens fit.
    #[error("{0} tokens fit the URI: add serial=")]
    TokenAmbiguous(usize),
    /// Parent and worker are of different versions.
    #[error("the worker program is of another version: {0}")]
    Version(#[serde(deserialize_with = "crate::plain::text")] String),
}

/// Why one request failed, as the worker tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Failure {
    /// Time is over; the last trouble before that, if any.
    #[error("not done in time{}", shown(.0))]
    Deadline(Option<Trouble>),
    /// The token said no, or failed again and again while others worked.
    #[error("the token refused: {0}")]
    Refused(Trouble),
    /// No such key, by a session that is logged in. Never a reason to make one.
    #[error("there is no key {id} of kind {kind} in the token")]
    Missing {
        /// Which.
        #[serde(deserialize_with = "crate::plain::text")]
        id: String,
        /// Of which kind.
        #[serde(deserialize_with = "crate::plain::text")]
        kind: String,
    },
    /// More than one object has the id.
    #[error("{count} objects have the id {id}: exactly one may")]
    Ambiguous {
        /// Which.
        #[serde(deserialize_with = "crate::plain::text")]
        id: String,
        /// How many.
        count: usize,
    },
    /// There is one already; nothing is ever overwritten or made twice.
    #[error("the token has an object with the id {0} already")]
    Exists(#[serde(deserialize_with = "crate::plain::text")] String),
    /// The key does not have the attributes that every key must have.
    #[error("the key {id} is not safe: {} {} not as demanded", list(.attributes), if .attributes.len() == 1 { "is" } else { "are" })]
    Unsafe {
        /// Which.
        #[serde(deserialize_with = "crate::plain::text")]
        id: String,
        /// What is not as demanded.
        attributes: Vec<KeyAttribute>,
    },
    /// The key is of another kind, or may not do what was asked.
    #[error("the key {id} is no {wanted} key that may be used so")]
    WrongKey {
        /// Which.
        #[serde(deserialize_with = "crate::plain::text")]
        id: String,
        /// What was wanted.
        #[serde(deserialize_with = "crate::plain::text")]
        wanted: String,
    },
    /// A key may or may not have been made: nobody tries again before a person looked.
    #[error(
        "{0}; a key may have been made nevertheless: look with `countersign hsm keys` before trying again"
    )]
    Uncertain(Trouble),
    /// Authentication failed: other key, other place, or changed bytes. The token itself works.
    #[error("the sealed bytes do not open with this key in this place")]
    SealRefused,
    /// The token gave something impossible.
    #[error("the token's answer is wrong: {0}")]
    BadAnswer(#[serde(deserialize_with = "crate::plain::text")] String),
    /// A person must look.
    #[error(transparent)]
    Stopped(StopReason),
}

fn shown(last: &Option<Trouble>) -> String {
    last.as_ref()
        .map_or_else(String::new, |t| format!(" (last: {t})"))
}

fn list(attributes: &[KeyAttribute]) -> String {
    let names: Vec<String> = attributes.iter().map(|a| format!("{a:?}")).collect();
    names.join(", ")
}

/// Why a call of [`crate::HsmClient`] failed.
#[derive(Debug, thiserror::Error)]
pub enum HsmError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] HsmConfigError),
    /// The token is not ready within the time for it.
    #[error("the token was not ready within {seconds} s{}", shown(.last))]
    NotReady {
        /// The time given.
        seconds: u64,
        /// The last trouble.
        last: Option<Trouble>,
    },
    /// Too many requests wait.
    #[error("{0} requests wait for the token: no more are taken")]
    Busy(usize),
    /// Not answered in time. A signature may have been made, and nobody has seen it.
    #[error("the token did not answer in time")]
    Deadline,
    /// Nothing more is asked of the token.
    #[error(transparent)]
    Stopped(StopReason),
    /// The request failed.
    #[error(transparent)]
    Failed(Failure),
    /// The worker died under this request as often as it was tried.
    #[error("the program that uses the token died {0} times under this request")]
    WorkerDied(u32),
    /// The worker died under a request that is not repeated.
    #[error(
        "the program that uses the token died while it made a key: look with `countersign hsm keys` before trying again"
    )]
    Interrupted,
    /// The token's signatures do not verify: nothing left this process.
    #[error("the signatures of key {0} do not verify under its pinned public key; none was used")]
    WrongSignature(KeyId),
    /// The canary's signatures do not verify.
    #[error("the canary's signatures do not verify")]
    WrongCanary,
    /// The token's key is not the pinned one.
    #[error("the key {id} in the token has the public key {found}, pinned is {pinned}")]
    OtherPublicKey {
        /// Which.
        id: KeyId,
        /// In the token.
        found: String,
        /// Expected.
        pinned: String,
    },
    /// A key handle of another kind.
    #[error("the key {id} is a {kind} key and signs nothing else")]
    Kind {
        /// Which.
        id: KeyId,
        /// Its kind.
        kind: KeyKind,
    },
    /// The public key in the token cannot be read.
    #[error(transparent)]
    Point(#[from] PointError),
    /// Too long to sign.
    #[error("a message of {0} bytes is too long for the token")]
    TooLong(usize),
    /// The worker cannot be started.
    #[error("cannot start the program that uses the token: {0}")]
    Spawn(String),
    /// The worker's answer fits no request.
    #[error("the program that uses the token gave an answer of another kind")]
    Protocol,
    /// The client was closed.
    #[error("the connection to the token was closed")]
    Closed,
}
