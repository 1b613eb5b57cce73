//! The client: what a node or a command uses a token through.

mod metrics;
mod supervisor;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use rand_core::{OsRng, RngCore as _};
use tokio::sync::oneshot;

pub use metrics::{LATENCY_STEPS, Metrics};

use crate::config::{HsmConfig, find_worker};
use crate::error::HsmError;
use crate::pin::Pin;
use crate::point;
use crate::protocol::{
    FromWorker, Hello, InspectedModule, KeyDescription, KeySummary, MAX_MESSAGE, Op, Provision,
    Purpose, RawKey, Reply, Sealed, VERSION, read_frame, write_frame,
};
use crate::secret::Secret32;
use crate::types::{CanaryId, KeyId, KeyKind, Prehash, PublicPoint, RecoverableSignature};
use supervisor::{Outcome, Shared};
use verify::Verifier;

/// A token, through a process of its own. Clones share it; when the last is dropped, the process ends.
#[derive(Clone)]
pub struct HsmClient {
    owner: Arc<Owner>,
}

struct Owner {
    shared: Arc<Shared>,
    canary: std::sync::Mutex<Option<PublicPoint>>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// A key in the token whose attributes were checked and whose public key is the pinned one. Only [`HsmClient::open_key`] makes it.
#[derive(Debug, Clone)]
pub struct KeyHandle {
    id: KeyId,
    public: PublicPoint,
    verifier: Verifier,
}

impl KeyHandle {
    /// Its id.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// Its public key: the pinned one.
    pub fn public(&self) -> &PublicPoint {
        &self.public
    }
}

/// How long the canary took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// With the way to the token and back, and verification.
    pub total: Duration,
    /// Inside the module alone.
    pub inside: Duration,
}

/// How long a start waits for a token, if its calls may not take longer anyhow.
const START: Duration = Duration::from_secs(15);
/// How long a token may take to make a key.
const GENERATION: Duration = Duration::from_secs(60);
/// Signatures asked for in place of one that does not verify.
const WRONG_SIGNATURES: u32 = 3;

impl HsmClient {
    /// Starts the process and waits until it has logged in. Blocks; the PIN comes from the configuration's file.
    ///
    /// # Errors
    /// [`HsmError::Stopped`] when a person must look (wrong PIN, last try, no module), [`HsmError::NotReady`] otherwise.
    pub fn start(config: HsmConfig) -> Result<Self, HsmError> {
        match config.pin_file.clone() {
            Some(file) => Self::start_with_pin(config, Pin::File(file)),
            None => Err(crate::config::HsmConfigError::Value(
                "pin_file is missing, and nobody is asked here",
            )
            .into()),
        }
    }

    /// The same with a PIN of the caller's choice.
    ///
    /// # Errors
    /// As [`HsmClient::start`].
    pub fn start_with_pin(config: HsmConfig, pin: Pin) -> Result<Self, HsmError> {
        config.check()?;
        let program = find_worker(config.worker.as_deref())?;
        let patience = START.max(config.hang_after());
        let shared = Shared::start(config, program, pin)?;
        let owner = Owner {
            shared,
            canary: std::sync::Mutex::new(None),
        };
        let client = Self {
            owner: Arc::new(owner),
        };
        client.shared().wait_until_ready(patience)?;
        Ok(client)
    }

    /// Looks at a module and its tokens without a login. Blocks.
    ///
    /// # Errors
    /// [`HsmError`].
    pub fn inspect(config: &HsmConfig) -> Result<InspectedModule, HsmError> {
        match converse(config, Purpose::Inspect)? {
            FromWorker::Inspected(module) => Ok(module),
            other => Err(refusal(other)),
        }
    }

    /// Makes a token in a slot whose token was never initialized, sets its PINs, and returns its serial number. Blocks.
    ///
    /// # Errors
    /// [`HsmError::Failed`] with [`crate::Failure::Exists`] when there is a token with this label.
    pub fn provision(config: &HsmConfig, wanted: Provision) -> Result<String, HsmError> {
        match converse(config, Purpose::Provision(wanted))? {
            FromWorker::Provisioned { serial } => Ok(serial),
            other => Err(refusal(other)),
        }
    }

    /// Checks a key and takes it into use: its attributes, that it is alone, and that its public key is the pinned one.
    ///
    /// # Errors
    /// [`HsmError::OtherPublicKey`], [`HsmError::Failed`].
    pub async fn open_key(&self, id: &KeyId, pinned: PublicPoint) -> Result<KeyHandle, HsmError> {
        let found = self.describe(pinned.kind(), id).await?;
        opened(id, pinned, &found)
    }

    /// [`HsmClient::open_key`], blocking.
    ///
    /// # Errors
    /// As there.
    pub fn open_key_blocking(
        &self,
        id: &KeyId,
        pinned: PublicPoint,
    ) -> Result<KeyHandle, HsmError> {
        let found = self.describe_blocking(pinned.kind(), id)?;
        opened(id, pinned, &found)
    }

    /// Signs a hash with a secp256k1 key. What is returned was verified here, under the pinned key.
    ///
    /// # Errors
    /// [`HsmError::WrongSignature`] when the token keeps giving signatures that do not verify.
    pub async fn sign_prehash(
        &self,
        key: &KeyHandle,
        prehash: Prehash,
    ) -> Result<RecoverableSignature, HsmError> {
        let mut asking = Asking::new(key.id.clone());
        loop {
            let op = Op::SignPrehash {
                id: key.id.clone(),
                prehash,
            };
            let given = self.ask(op, asking.fresh()).await;
            if let Some(signature) = asking.judge(self, prehash_check(key, &prehash, given)?)? {
                return Ok(signature);
            }
        }
    }

    /// [`HsmClient::sign_prehash`], blocking.
    ///
    /// # Errors
    /// As there.
    pub fn sign_prehash_blocking(
        &self,
        key: &KeyHandle,
        prehash: Prehash,
    ) -> Result<RecoverableSignature, HsmError> {
        let mut asking = Asking::new(key.id.clone());
        loop {
            let op = Op::SignPrehash {
                id: key.id.clone(),
                prehash,
            };
            let given = self.ask_blocking(op, asking.fresh());
            if let Some(signature) = asking.judge(self, prehash_check(key, &prehash, given)?)? {
                return Ok(signature);
            }
        }
    }

    /// Signs a message with an Ed25519 key (pure Ed25519, RFC 8032). What is returned was verified here.
    ///
    /// # Errors
    /// As [`HsmClient::sign_prehash`]; [`HsmError::TooLong`].
    pub async fn sign_ed25519(
        &self,
        key: &KeyHandle,
        message: &[u8],
    ) -> Result<[u8; 64], HsmError> {
        let mut asking = Asking::new(key.id.clone());
        loop {
            let given = self.ask(message_op(key, message)?, asking.fresh()).await;
            if let Some(signature) = asking.judge(self, message_check(key, message, given)?)? {
                return Ok(signature);
            }
        }
    }

    /// [`HsmClient::sign_ed25519`], blocking.
    ///
    /// # Errors
    /// As there.
    pub fn sign_ed25519_blocking(
        &self,
        key: &KeyHandle,
        message: &[u8],
    ) -> Result<[u8; 64], HsmError> {
        let mut asking = Asking::new(key.id.clone());
        loop {
            let given = self.ask_blocking(message_op(key, message)?, asking.fresh());
            if let Some(signature) = asking.judge(self, message_check(key, message, given)?)? {
                return Ok(signature);
            }
        }
    }

    /// Makes a key pair where there is no object with this id, and returns its public key. Never repeated by itself.
    ///
    /// # Errors
    /// [`crate::Failure::Exists`]; [`crate::Failure::Uncertain`] and [`HsmError::Interrupted`] when a key may have been made.
    pub async fn generate_key_pair(
        &self,
        kind: KeyKind,
        id: &KeyId,
        label: &str,
    ) -> Result<PublicPoint, HsmError> {
        self.ask_for(
            Op::Generate {
                kind,
                id: id.clone(),
                label: label.to_owned(),
            },
            false,
            GENERATION,
        )
        .await?;
        Ok(self.describe(kind, id).await?.public)
    }

    /// [`HsmClient::generate_key_pair`], blocking.
    ///
    /// # Errors
    /// As there.
    pub fn generate_key_pair_blocking(
        &self,
        kind: KeyKind,
        id: &KeyId,
        label: &str,
    ) -> Result<PublicPoint, HsmError> {
        let op = Op::Generate {
            kind,
            id: id.clone(),
            label: label.to_owned(),
        };
        self.wait_for(op, false, GENERATION)?;
        Ok(self.describe_blocking(kind, id)?.public)
    }

    /// Makes the canary's key. Blocks.
    ///
    /// # Errors
    /// As [`HsmClient::generate_key_pair`].
    pub fn generate_canary_blocking(&self) -> Result<(), HsmError> {
        self.wait_for(Op::GenerateCanary, false, GENERATION)
            .map(|_| ())
    }

    /// Makes an AES-256 key that seals. Blocks.
    ///
    /// # Errors
    /// As [`HsmClient::generate_key_pair`].
    pub fn generate_kek_blocking(&self, id: &KeyId, label: &str) -> Result<(), HsmError> {
        let op = Op::GenerateKek {
            id: id.clone(),
            label: label.to_owned(),
        };
        self.wait_for(op, false, GENERATION).map(|_| ())
    }

    /// A key's public key and label; its attributes were checked.
    ///
    /// # Errors
    /// [`HsmError::Failed`], [`HsmError::Point`].
    pub async fn describe(&self, kind: KeyKind, id: &KeyId) -> Result<KeyDescription, HsmError> {
        described(
            kind,
            self.ask(
                Op::Describe {
                    kind,
                    id: id.clone(),
                },
                false,
            )
            .await?,
        )
    }

    /// [`HsmClient::describe`], blocking.
    ///
    /// # Errors
    /// As there.
    pub fn describe_blocking(&self, kind: KeyKind, id: &KeyId) -> Result<KeyDescription, HsmError> {
        described(
            kind,
            self.ask_blocking(
                Op::Describe {
                    kind,
                    id: id.clone(),
                },
                false,
            )?,
        )
    }

    /// A key's public key, as [`HsmClient::describe`].
    ///
    /// # Errors
    /// As there.
    pub async fn public_key(&self, kind: KeyKind, id: &KeyId) -> Result<PublicPoint, HsmError> {
        Ok(self.describe(kind, id).await?.public)
    }

    /// All keys in the token, also unsafe ones and those of others. Blocks.
    ///
    /// # Errors
    /// [`HsmError`].
    pub fn keys_blocking(&self) -> Result<Vec<KeySummary>, HsmError> {
        match self.wait_for(Op::List, false, GENERATION)? {
            (Reply::Keys(keys), _) => Ok(keys),
            _ => Err(HsmError::Protocol),
        }
    }

    /// Makes the canary sign a fresh challenge, verifies, and says how long it took. It is the only thing that shows that a token
    /// can sign: sessions look well when the token is gone.
    ///
    /// # Errors
    /// [`HsmError::WrongCanary`], and whatever keeps the token from signing.
    pub async fn health(&self) -> Result<Health, HsmError> {
        let public = match self.known_canary() {
            Some(public) => public,
            None => self.learn_canary(self.ask(Op::DescribeCanary, false).await?)?,
        };
        let (challenge, begun) = challenge();
        let patience = self.shared().patience();
        let given = self
            .ask_for(Op::Canary { challenge }, false, patience)
            .await?;
        sung(&public, &challenge, given, begun)
    }

    /// [`HsmClient::health`], blocking.
    ///
    /// # Errors
    /// As there.
    pub fn health_blocking(&self) -> Result<Health, HsmError> {
        let public = match self.known_canary() {
            Some(public) => public,
            None => self.learn_canary(self.ask_blocking(Op::DescribeCanary, false)?)?,
        };
        let (challenge, begun) = challenge();
        let patience = self.shared().patience();
        let given = self.wait_for(Op::Canary { challenge }, false, patience)?;
        sung(&public, &challenge, given, begun)
    }

    /// Encrypts a data key with an AES key of the token; `aad` says where it belongs. Blocks.
    ///
    /// # Errors
    /// [`HsmError`].
    pub fn wrap_blocking(
        &self,
        id: &KeyId,
        aad: &[u8],
        key: &Secret32,
    ) -> Result<Sealed, HsmError> {
        let op = Op::Wrap {
            id: id.clone(),
            aad: aad.to_vec(),
            key: key.clone(),
        };
        match self.ask_blocking(op, false)? {
            Reply::Sealed(sealed) => Ok(sealed),
            _ => Err(HsmError::Protocol),
        }
    }

    /// Decrypts a data key. Blocks.
    ///
    /// # Errors
    /// [`crate::Failure::SealRefused`] when key, place or bytes are not the ones of the wrapping.
    pub fn unwrap_blocking(
        &self,
        id: &KeyId,
        aad: &[u8],
        sealed: &Sealed,
    ) -> Result<Secret32, HsmError> {
        let op = Op::Unwrap {
            id: id.clone(),
            aad: aad.to_vec(),
            sealed: sealed.clone(),
        };
        match self.ask_blocking(op, false)? {
            Reply::Opened(key) => Ok(key),
            _ => Err(HsmError::Protocol),
        }
    }

    /// What has been counted since the start.
    pub fn metrics(&self) -> Metrics {
        self.shared().metrics()
    }

    fn shared(&self) -> &Shared {
        &self.owner.shared
    }

    async fn ask(&self, op: Op, fresh: bool) -> Result<Reply, HsmError> {
        let answered = self.ask_for(op, fresh, self.shared().patience()).await;
        answered.map(|(reply, _)| reply)
    }

    async fn ask_for(&self, op: Op, fresh: bool, patience: Duration) -> Outcome {
        let (tell, told) = oneshot::channel();
        // A caller that no longer waits is no fault.
        let callback = Box::new(move |outcome| drop(tell.send(outcome)));
        self.shared().submit(op, fresh, patience, callback);
        told.await.unwrap_or(Err(HsmError::Closed))
    }

    fn ask_blocking(&self, op: Op, fresh: bool) -> Result<Reply, HsmError> {
        let answered = self.wait_for(op, fresh, self.shared().patience());
        answered.map(|(reply, _)| reply)
    }

    fn wait_for(&self, op: Op, fresh: bool, patience: Duration) -> Outcome {
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let callback = Box::new(move |outcome| drop(tell.send(outcome)));
        self.shared().submit(op, fresh, patience, callback);
        told.recv().unwrap_or(Err(HsmError::Closed))
    }

    fn known_canary(&self) -> Option<PublicPoint> {
        *self
            .owner
            .canary
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The canary's key is the one seen first: a token that was exchanged does not sing for it.
    fn learn_canary(&self, reply: Reply) -> Result<PublicPoint, HsmError> {
        let public = described(KeyKind::Secp256k1, reply)?.public;
        let mut known = self
            .owner
            .canary
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(*known.get_or_insert(public))
    }
}

impl std::fmt::Debug for HsmClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HsmClient").finish_non_exhaustive()
    }
}

/// Asks again for signatures that do not verify, on another session, a few times.
struct Asking {
    id: KeyId,
    wrong: u32,
}

impl Asking {
    fn new(id: KeyId) -> Self {
        Self { id, wrong: 0 }
    }

    fn fresh(&self) -> bool {
        self.wrong > 0
    }

    fn judge<T>(&mut self, client: &HsmClient, verified: Option<T>) -> Result<Option<T>, HsmError> {
        if verified.is_none() {
            self.wrong = self.wrong.saturating_add(1);
            client.shared().wrong_signature();
            if self.wrong >= WRONG_SIGNATURES {
                return Err(HsmError::WrongSignature(self.id.clone()));
            }
        }
        Ok(verified)
    }
}

fn prehash_check(
    key: &KeyHandle,
    prehash: &Prehash,
    given: Result<Reply, HsmError>,
) -> Result<Option<RecoverableSignature>, HsmError> {
    let Verifier::Secp256k1(verifier) = &key.verifier else {
        return Err(HsmError::Kind {
            id: key.id.clone(),
            kind: key.public.kind(),
        });
    };
    Ok(verify::recoverable(verifier, prehash, &signature(given?)?))
}

fn message_check(
    key: &KeyHandle,
    message: &[u8],
    given: Result<Reply, HsmError>,
) -> Result<Option<[u8; 64]>, HsmError> {
    let Verifier::Ed25519(verifier) = &key.verifier else {
        return Err(HsmError::Kind {
            id: key.id.clone(),
            kind: key.public.kind(),
        });
    };
    Ok(verify::ed25519(verifier, message, &signature(given?)?))
}

fn message_op(key: &KeyHandle, message: &[u8]) -> Result<Op, HsmError> {
    if message.len() > MAX_MESSAGE {
        return Err(HsmError::TooLong(message.len()));
    }
    Ok(Op::SignMessage {
        id: key.id.clone(),
        message: message.to_vec(),
    })
}

fn signature(reply: Reply) -> Result<Vec<u8>, HsmError> {
    match reply {
        Reply::Signature(bytes) => Ok(bytes),
        _ => Err(HsmError::Protocol),
    }
}

fn described(kind: KeyKind, reply: Reply) -> Result<KeyDescription, HsmError> {
    let Reply::Key(RawKey { point, label }) = reply else {
        return Err(HsmError::Protocol);
    };
    let public = point::decode(kind, &point)?;
    Ok(KeyDescription { public, label })
}

fn opened(id: &KeyId, pinned: PublicPoint, found: &KeyDescription) -> Result<KeyHandle, HsmError> {
    let verifier = Verifier::new(&pinned).filter(|_| found.public == pinned);
    let Some(verifier) = verifier else {
        return Err(HsmError::OtherPublicKey {
            id: id.clone(),
            found: found.public.to_string(),
            pinned: pinned.to_string(),
        });
    };
    Ok(KeyHandle {
        id: id.clone(),
        public: pinned,
        verifier,
    })
}

fn challenge() -> ([u8; 32], std::time::Instant) {
    let mut challenge = [0u8; 32];
    OsRng.fill_bytes(&mut challenge);
    (challenge, std::time::Instant::now())
}

fn sung(
    public: &PublicPoint,
    challenge: &[u8; 32],
    (reply, inside): (Reply, Duration),
    begun: std::time::Instant,
) -> Result<Health, HsmError> {
    let Some(Verifier::Secp256k1(verifier)) = Verifier::new(public) else {
        return Err(HsmError::WrongCanary);
    };
    let prehash = CanaryId::prehash(challenge);
    match verify::recoverable(&verifier, &prehash, &signature(reply)?) {
        Some(_) => Ok(Health {
            total: begun.elapsed(),
            inside,
        }),
        None => Err(HsmError::WrongCanary),
    }
}

/// Starts the program for one question.
fn converse(config: &HsmConfig, purpose: Purpose) -> Result<FromWorker, HsmError> {
    let program = find_worker(config.worker.as_deref())?;
    let spawned = supervisor::spawn(&program, config);
    let (mut child, mut stream) =
        spawned.map_err(|e| HsmError::Spawn(format!("{}: {e}", program.display())))?;
    let hello = Hello {
        version: VERSION.to_owned(),
        module: config.module.display().to_string(),
        purpose,
    };
    let _ = stream.set_read_timeout(Some(GENERATION));
    let answer = write_frame(&mut stream, &hello).and_then(|()| read_frame(&mut stream));
    let _ = child.kill();
    let _ = child.wait();
    answer.map_err(|e| HsmError::Spawn(format!("{}: {e}", program.display())))
}

fn refusal(frame: FromWorker) -> HsmError {
    match frame {
        FromWorker::Stopped(reason) => HsmError::Stopped(reason),
        FromWorker::Refused(failure) => HsmError::Failed(failure),
        _ => HsmError::Protocol,
    }
}
