//! What parent and worker say to each other: frames of bounded size over a socket pair that nobody else has.
//!
//! A frame is its length (4 bytes, big endian) and one postcard value; a value that does not fill its frame is refused. Both
//! programs come from one build: a version in the first frame proves it.

use std::io::{Read, Write};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::config::{CountLow, KeyAttribute, Quirks};
use crate::error::{Failure, StopReason, Trouble};
use crate::secret::{Secret32, SecretBytes};
use crate::types::{KeyId, KeyKind, Prehash};
use crate::uri::Pkcs11Uri;

/// Changes with every change of these types.
pub(crate) const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "/1");

/// The largest frame, in bytes.
pub(crate) const MAX_FRAME: usize = 1 << 20;
/// The longest message that is signed, in bytes.
pub(crate) const MAX_MESSAGE: usize = 64 << 10;

/// The parent's first frame.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub version: String,
    pub module: String,
    pub purpose: Purpose,
}

/// What the worker is started for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Purpose {
    /// Uses a token until the parent goes.
    Serve(Serve),
    /// Says what the module and its tokens are, without a login, and ends.
    Inspect,
    /// Makes a new token in a free slot, and ends.
    Provision(Provision),
}

/// How a token is used.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Serve {
    pub token: Pkcs11Uri,
    pub pin: PinForWorker,
    pub sessions: usize,
    pub count_low: CountLow,
    pub quirks: Quirks,
    /// Whether this PIN was accepted before: then an unclear answer to a login is no reason to stop.
    pub pin_accepted: bool,
}

/// Where the worker has the PIN from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum PinForWorker {
    File(std::path::PathBuf),
    Given(SecretBytes),
}

/// A new token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Provision {
    /// Its label: nobody else's in this module.
    pub label: String,
    /// A file with the PIN of its security officer, mode 0600.
    pub so_pin_file: std::path::PathBuf,
    /// A file with the PIN of its user, mode 0600.
    pub pin_file: std::path::PathBuf,
}

/// A request with what is needed to answer it in time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Request {
    pub id: u64,
    /// `CLOCK_MONOTONIC` in nanoseconds, the same in both processes.
    pub deadline: u64,
    /// An earlier answer was wrong: use another session.
    pub fresh: bool,
    pub op: Op,
}

/// What can be asked of a token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Op {
    SignPrehash {
        id: KeyId,
        prehash: Prehash,
    },
    SignMessage {
        id: KeyId,
        message: Vec<u8>,
    },
    /// The canary: the worker makes the preimage itself.
    Canary {
        challenge: [u8; 32],
    },
    Describe {
        kind: KeyKind,
        id: KeyId,
    },
    DescribeCanary,
    List,
    Generate {
        kind: KeyKind,
        id: KeyId,
        label: String,
    },
    GenerateCanary,
    GenerateKek {
        id: KeyId,
        label: String,
    },
    Wrap {
        id: KeyId,
        aad: Vec<u8>,
        key: Secret32,
    },
    Unwrap {
        id: KeyId,
        aad: Vec<u8>,
        sealed: Sealed,
    },
}

impl Op {
    /// Whether it can be done twice without harm.
    pub fn repeatable(&self) -> bool {
        !matches!(
            self,
            Self::Generate { .. } | Self::GenerateCanary | Self::GenerateKek { .. }
        )
    }
}

/// What a worker says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum FromWorker {
    /// A login begins; it ends with `LoginEnded`. A worker that dies between leaves open whether the token counted a try.
    LoginBegins,
    LoginEnded {
        accepted: bool,
    },
    /// It did not work, and is tried again.
    Problem(Trouble),
    Ready(TokenDescription),
    /// It will not work until a person has looked.
    Stopped(StopReason),
    Answer(Answer),
    Inspected(InspectedModule),
    Provisioned {
        serial: String,
    },
    Refused(Failure),
}

/// An answer with what happened on the way to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub id: u64,
    pub result: Result<Reply, Failure>,
    /// Time inside the module, in microseconds.
    pub micros: u64,
    pub incidents: Vec<Incident>,
}

/// What metrics count.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Incident {
    Trouble(Trouble),
    SessionOpened,
    SessionDropped,
    Reinitialised,
}

/// Answers, one for each kind of request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Reply {
    Signature(Vec<u8>),
    Key(RawKey),
    Keys(Vec<KeySummary>),
    Made,
    Sealed(Sealed),
    Opened(Secret32),
}

/// A key as the token tells it; the parent decodes the point.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RawKey {
    pub point: Vec<u8>,
    #[serde(deserialize_with = "crate::plain::text")]
    pub label: String,
}

/// A key in the token, checked: its public key, and that it cannot leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyDescription {
    /// The public key.
    pub public: crate::types::PublicPoint,
    /// The label, as the token has it.
    pub label: String,
}

/// One key in a list, safe or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySummary {
    /// `CKA_ID`.
    pub id: Vec<u8>,
    /// `CKA_LABEL`.
    #[serde(deserialize_with = "crate::plain::text")]
    pub label: String,
    /// `secp256k1`, `ed25519`, `aes`, or what the token says.
    #[serde(deserialize_with = "crate::plain::text")]
    pub kind: String,
    /// What is not as every key must have it.
    pub missing: Vec<KeyAttribute>,
}

/// A data key encrypted by a key in the token: AES-256-GCM, 12-byte initialization vector, 128-bit tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The initialization vector.
    pub iv: [u8; 12],
    /// Ciphertext and tag.
    pub sealed: Vec<u8>,
}

/// The token in use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenDescription {
    /// Its label.
    #[serde(deserialize_with = "crate::plain::text")]
    pub label: String,
    /// Its serial number.
    #[serde(deserialize_with = "crate::plain::text")]
    pub serial: String,
    /// Its maker.
    #[serde(deserialize_with = "crate::plain::text")]
    pub manufacturer: String,
    /// Its model.
    #[serde(deserialize_with = "crate::plain::text")]
    pub model: String,
    /// Whether wrong PINs were entered before this login.
    pub pin_count_low: bool,
}

/// A module, looked at without a login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InspectedModule {
    /// What it says of itself.
    #[serde(deserialize_with = "crate::plain::text")]
    pub library: String,
    /// Its maker.
    #[serde(deserialize_with = "crate::plain::text")]
    pub manufacturer: String,
    /// Version of PKCS#11.
    #[serde(deserialize_with = "crate::plain::text")]
    pub cryptoki: String,
    /// Its tokens.
    pub tokens: Vec<InspectedToken>,
}

/// A token, looked at without a login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InspectedToken {
    /// Who it is.
    pub token: TokenDescription,
    /// Whether it was initialized.
    pub initialized: bool,
    /// Whether it has a user PIN.
    pub user_pin: bool,
    /// One more wrong PIN locks it.
    pub final_try: bool,
    /// It is locked.
    pub locked: bool,
    /// Sessions that it allows, if it says.
    pub max_sessions: Option<u64>,
    /// The mechanisms that matter here.
    pub mechanisms: Vec<InspectedMechanism>,
}

/// A mechanism that Countersign can use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InspectedMechanism {
    /// As the standard names it.
    #[serde(deserialize_with = "crate::plain::text")]
    pub name: String,
    /// Whether the token has it.
    pub present: bool,
}

/// Why a frame cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("the other side is gone: {0}")]
    Io(#[from] std::io::Error),
    #[error("a frame of {0} bytes")]
    Size(usize),
    #[error("a frame that is not well formed")]
    Malformed,
}

/// Writes one frame with one call.
pub(crate) fn write_frame<T: Serialize>(to: &mut impl Write, value: &T) -> Result<(), FrameError> {
    let size = postcard::experimental::serialized_size(value).map_err(|_| FrameError::Malformed)?;
    if size > MAX_FRAME {
        return Err(FrameError::Size(size));
    }
    // Sized at once: secrets leave no copies behind by growing.
    let mut frame = Zeroizing::new(Vec::with_capacity(size.saturating_add(4)));
    frame.extend_from_slice(&u32::try_from(size).unwrap_or(u32::MAX).to_be_bytes());
    postcard::to_extend(value, Appending(&mut frame)).map_err(|_| FrameError::Malformed)?;
    to.write_all(&frame)?;
    Ok(())
}

struct Appending<'a>(&'a mut Vec<u8>);

impl Extend<u8> for Appending<'_> {
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        self.0.extend(bytes);
    }
}

/// Reads one frame; waits for it.
pub(crate) fn read_frame<T: DeserializeOwned>(from: &mut impl Read) -> Result<T, FrameError> {
    let mut length = [0u8; 4];
    from.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > MAX_FRAME {
        return Err(FrameError::Size(length));
    }
    let mut bytes = Zeroizing::new(vec![0u8; length]);
    from.read_exact(&mut bytes)?;
    match postcard::take_from_bytes(&bytes) {
        Ok((value, [])) => Ok(value),
        _ => Err(FrameError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request() -> Request {
        let op = Op::Wrap {
            id: KeyId::new(vec![1]).unwrap(),
            aad: vec![2; 9],
            key: Secret32::new(&[3; 32]),
        };
        Request {
            id: 7,
            deadline: 8,
            fresh: false,
            op,
        }
    }

    fn framed() -> Vec<u8> {
        let mut frame = Vec::new();
        write_frame(&mut frame, &request()).unwrap();
        frame
    }

    #[test]
    fn a_frame_is_read_back_and_a_damaged_one_is_not() {
        let frame = framed();
        let back: Request = read_frame(&mut frame.as_slice()).unwrap();
        assert_eq!(format!("{back:?}"), format!("{:?}", request()));
        assert!(
            !format!("{back:?}").contains("3, 3"),
            "a secret is not shown"
        );
        for length in 0..frame.len() {
            assert!(read_frame::<Request>(&mut &frame[..length]).is_err());
        }
        // A byte more inside the frame than the value has.
        let mut longer = frame.clone();
        longer.push(0);
        longer[3] += 1;
        assert!(matches!(
            read_frame::<Request>(&mut longer.as_slice()),
            Err(FrameError::Malformed)
        ));
    }

    #[test]
    fn a_frame_beyond_the_limit_is_neither_read_nor_written() {
        let mut huge = (MAX_FRAME as u32 + 1).to_be_bytes().to_vec();
        huge.extend([0; 8]);
        assert!(matches!(
            read_frame::<Request>(&mut huge.as_slice()),
            Err(FrameError::Size(_))
        ));
        assert!(matches!(
            write_frame(&mut Vec::new(), &vec![0u8; MAX_FRAME]),
            Err(FrameError::Size(_))
        ));
    }

    #[test]
    fn a_reserved_id_does_not_come_through_a_frame() {
        let mut frame = Vec::new();
        let id = b"csn-canary".to_vec();
        write_frame(&mut frame, &id).unwrap();
        assert!(read_frame::<KeyId>(&mut frame.as_slice()).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut frame = u32::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
            frame.extend(bytes);
            let _ = read_frame::<Request>(&mut frame.as_slice());
            let _ = read_frame::<FromWorker>(&mut frame.as_slice());
            let _ = read_frame::<Hello>(&mut frame.as_slice());
        }
    }
}
