//! Keys in the token: found by id, one object each, checked before the first use.

use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use super::seat::At;
use super::token::{HandleName, Wrong};
use crate::config::{Ed25519Params, KeyAttribute, Quirks};
use crate::error::Failure;
use crate::protocol::{KeySummary, Op, RawKey, Reply};
use crate::types::{CanaryId, KeyKind, Prehash};

/// DER of 1.3.132.0.10 (SEC 2).
const SECP256K1: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a];
/// DER of 1.3.101.112 (RFC 8410).
const ED25519_OID: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
/// DER of the PrintableString `edwards25519` (PKCS#11 3.0).
const ED25519_NAME: &[u8] = b"\x13\x0cedwards25519";
/// DER of 1.3.6.1.4.1.11591.15.1.
const ED25519_GNU: &[u8] = &[
    0x06, 0x09, 0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01,
];

/// What a key is used for: decides its class, type and permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Sign(KeyKind),
    Seal,
}

impl Use {
    fn class(self) -> ObjectClass {
        match self {
            Self::Sign(_) => ObjectClass::PRIVATE_KEY,
            Self::Seal => ObjectClass::SECRET_KEY,
        }
    }

    fn key_type(self) -> KeyType {
        match self {
            Self::Sign(KeyKind::Secp256k1) => KeyType::EC,
            Self::Sign(KeyKind::Ed25519) => KeyType::EC_EDWARDS,
            Self::Seal => KeyType::AES,
        }
    }

    fn name(self) -> String {
        match self {
            Self::Sign(kind) => kind.to_string(),
            Self::Seal => "aes-256".to_owned(),
        }
    }

    fn handle_name(self, id: &[u8]) -> HandleName {
        let number = match self {
            Self::Sign(KeyKind::Secp256k1) => 0,
            Self::Sign(KeyKind::Ed25519) => 1,
            Self::Seal => 2,
        };
        (number, id.to_vec())
    }
}

/// The key that a request is about: kind, id, and the name of its handle.
pub(super) fn named(op: &Op) -> Option<(String, String, HandleName)> {
    let (used, id): (Use, &[u8]) = match op {
        Op::SignPrehash { id, .. } => (Use::Sign(KeyKind::Secp256k1), id.as_bytes()),
        Op::SignMessage { id, .. } => (Use::Sign(KeyKind::Ed25519), id.as_bytes()),
        Op::Canary { .. } | Op::DescribeCanary => (Use::Sign(KeyKind::Secp256k1), CanaryId::BYTES),
        Op::Describe { kind, id } => (Use::Sign(*kind), id.as_bytes()),
        Op::Wrap { id, .. } | Op::Unwrap { id, .. } => (Use::Seal, id.as_bytes()),
        Op::List | Op::Generate { .. } | Op::GenerateCanary | Op::GenerateKek { .. } => {
            return None;
        }
    };
    Some((used.name(), hex::encode(id), used.handle_name(id)))
}

pub(super) fn sign_prehash(at: &At<'_>, id: &[u8], prehash: &Prehash) -> Result<Reply, Wrong> {
    let used = Use::Sign(KeyKind::Secp256k1);
    let key = find(at, used, id)?;
    let signature = at.session.sign(&Mechanism::Ecdsa, key, prehash.as_bytes());
    answered(at, used, id, signature)
}

pub(super) fn sign_canary(at: &At<'_>, challenge: &[u8; 32]) -> Result<Reply, Wrong> {
    sign_prehash(at, CanaryId::BYTES, &CanaryId::prehash(challenge))
}

pub(super) fn sign_message(at: &At<'_>, id: &[u8], message: &[u8]) -> Result<Reply, Wrong> {
    let used = Use::Sign(KeyKind::Ed25519);
    let key = find(at, used, id)?;
    let plain = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519));
    answered(at, used, id, at.session.sign(&plain, key, message))
}

fn answered(
    at: &At<'_>,
    used: Use,
    id: &[u8],
    signature: Result<Vec<u8>, cryptoki::error::Error>,
) -> Result<Reply, Wrong> {
    match signature {
        Ok(signature) if signature.len() == 64 => Ok(Reply::Signature(signature)),
        Ok(other) => Err(Wrong::Odd(format!("a signature of {} bytes", other.len()))),
        Err(error) => {
            // Whatever it was, the handle is looked up again: cheap, and right when the object changed.
            at.token.forget(&used.handle_name(id));
            Err(error.into())
        }
    }
}

/// Finds exactly one object and checks it, once for each login.
pub(super) fn find(at: &At<'_>, used: Use, id: &[u8]) -> Result<ObjectHandle, Wrong> {
    let name = used.handle_name(id);
    if let Some(handle) = at.token.cached(at.generation, &name) {
        return Ok(handle);
    }
    let handle = only(at.session, used.class(), id)?.ok_or(Wrong::NotFound)?;
    check(at, used, id, handle)?;
    at.token.remember(at.generation, name, handle);
    Ok(handle)
}

fn only(session: &Session, class: ObjectClass, id: &[u8]) -> Result<Option<ObjectHandle>, Wrong> {
    let template = [
        Attribute::Class(class),
        Attribute::Id(id.to_vec()),
        Attribute::Token(true),
    ];
    let found = session.find_objects(&template)?;
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        several => Err(Wrong::Final(Failure::Ambiguous {
            id: hex::encode(id),
            count: several.len(),
        })),
    }
}

const ASKED: &[AttributeType] = &[
    AttributeType::KeyType,
    AttributeType::Id,
    AttributeType::Sign,
    AttributeType::Encrypt,
    AttributeType::Decrypt,
    AttributeType::ValueLen,
    AttributeType::Sensitive,
    AttributeType::AlwaysSensitive,
    AttributeType::Extractable,
    AttributeType::NeverExtractable,
    AttributeType::Local,
    AttributeType::Modifiable,
    AttributeType::Copyable,
];

/// A key that could have been outside, or could get there, is not used. What the token leaves out counts as bad.
fn check(at: &At<'_>, used: Use, id: &[u8], handle: ObjectHandle) -> Result<(), Wrong> {
    let found = at.session.get_attributes(handle, ASKED)?;
    let has = |wanted: Attribute| found.contains(&wanted);
    let may = match used {
        Use::Sign(_) => has(Attribute::Sign(true)),
        Use::Seal => {
            let length = found.iter().find_map(|a| match a {
                Attribute::ValueLen(length) => Some(**length),
                _ => None,
            });
            has(Attribute::Encrypt(true)) && has(Attribute::Decrypt(true)) && length == Some(32)
        }
    };
    if !has(Attribute::KeyType(used.key_type())) || !has(Attribute::Id(id.to_vec())) || !may {
        return Err(Wrong::Final(Failure::WrongKey {
            id: hex::encode(id),
            wanted: used.name(),
        }));
    }
    let attributes = lacking(&found, at.token.quirks());
    if attributes.is_empty() {
        return Ok(());
    }
    let id = hex::encode(id);
    Err(Wrong::Final(Failure::Unsafe { id, attributes }))
}

fn lacking(found: &[Attribute], quirks: &Quirks) -> Vec<KeyAttribute> {
    use KeyAttribute as K;
    let wanted = [
        (K::Sensitive, Attribute::Sensitive(true)),
        (K::AlwaysSensitive, Attribute::AlwaysSensitive(true)),
        (K::Extractable, Attribute::Extractable(false)),
        (K::NeverExtractable, Attribute::NeverExtractable(true)),
        (K::Local, Attribute::Local(true)),
        (K::Modifiable, Attribute::Modifiable(false)),
        (K::Copyable, Attribute::Copyable(false)),
    ];
    wanted
        .into_iter()
        .filter(|(name, value)| !found.contains(value) && !quirks.unknown_attributes.contains(name))
        .map(|(name, _)| name)
        .collect()
}

pub(super) fn describe_canary(at: &At<'_>) -> Result<Reply, Wrong> {
    describe(at, KeyKind::Secp256k1, CanaryId::BYTES)
}

/// The public key as the token has it; the private key is checked. The parent compares with what is pinned.
pub(super) fn describe(at: &At<'_>, kind: KeyKind, id: &[u8]) -> Result<Reply, Wrong> {
    let private = find(at, Use::Sign(kind), id)?;
    // Some devices keep the point beside the private key and no public object.
    let holder = only(at.session, ObjectClass::PUBLIC_KEY, id)?.unwrap_or(private);
    let wanted = [AttributeType::EcPoint, AttributeType::Label];
    let mut point = None;
    let mut label = String::new();
    for attribute in at.session.get_attributes(holder, &wanted)? {
        match attribute {
            Attribute::EcPoint(bytes) if bytes.len() <= 256 => point = Some(bytes),
            Attribute::Label(bytes) => label = text(&bytes),
            _ => {}
        }
    }
    let point = point
        .ok_or_else(|| Wrong::Odd(format!("the key {} has no CKA_EC_POINT", hex::encode(id))))?;
    Ok(Reply::Key(RawKey { point, label }))
}

/// A label, short enough for a line.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(64).collect()
}

/// Keys listed at most: more than any device holds.
const MAX_KEYS: usize = 4096;

pub(super) fn list(at: &At<'_>) -> Result<Reply, Wrong> {
    let mut keys = Vec::new();
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::SECRET_KEY] {
        let template = [Attribute::Class(class), Attribute::Token(true)];
        for handle in at.session.find_objects(&template)? {
            if keys.len() >= MAX_KEYS {
                return Ok(Reply::Keys(keys));
            }
            let mut asked = ASKED.to_vec();
            asked.push(AttributeType::Label);
            let found = at.session.get_attributes(handle, &asked)?;
            let mut summary = KeySummary {
                id: Vec::new(),
                label: String::new(),
                kind: "unknown".to_owned(),
                missing: lacking(&found, at.token.quirks()),
            };
            for attribute in found {
                match attribute {
                    Attribute::Id(id) => summary.id = id.into_iter().take(64).collect(),
                    Attribute::Label(label) => summary.label = text(&label),
                    Attribute::KeyType(kind) => summary.kind = kind_name(kind),
                    _ => {}
                }
            }
            keys.push(summary);
        }
    }
    Ok(Reply::Keys(keys))
}

fn kind_name(kind: KeyType) -> String {
    match kind {
        KeyType::EC => "ec".to_owned(),
        KeyType::EC_EDWARDS => "ed25519".to_owned(),
        KeyType::AES => "aes".to_owned(),
        other => other.to_string(),
    }
}

pub(super) fn generate_canary(at: &At<'_>) -> Result<Reply, Wrong> {
    generate(
        at,
        KeyKind::Secp256k1,
        CanaryId::BYTES,
        "countersign canary",
    )
}

/// Makes a key pair where there is none. Any error after the token was told to is the caller's to look into.
pub(super) fn generate(at: &At<'_>, kind: KeyKind, id: &[u8], label: &str) -> Result<Reply, Wrong> {
    let used = Use::Sign(kind);
    let curve = match (kind, at.token.quirks().ed25519_params) {
        (KeyKind::Secp256k1, _) => SECP256K1,
        (KeyKind::Ed25519, Ed25519Params::Oid) => ED25519_OID,
        (KeyKind::Ed25519, Ed25519Params::Name) => ED25519_NAME,
        (KeyKind::Ed25519, Ed25519Params::GnuOid) => ED25519_GNU,
    };
    let mechanism = match kind {
        KeyKind::Secp256k1 => Mechanism::EccKeyPairGen,
        KeyKind::Ed25519 => Mechanism::EccEdwardsKeyPairGen,
    };
    let public = [
        Attribute::Token(true),
        Attribute::Private(false),
        Attribute::KeyType(used.key_type()),
        Attribute::Verify(true),
        Attribute::EcParams(curve.to_vec()),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Id(id.to_vec()),
    ];
    let mut private = protected(at.token.quirks());
    private.extend([
        Attribute::KeyType(used.key_type()),
        Attribute::Sign(true),
        Attribute::Derive(false),
        Attribute::Decrypt(false),
        Attribute::Unwrap(false),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Id(id.to_vec()),
    ]);
    make(at, used, id, |session| {
        session
            .generate_key_pair(&mechanism, &public, &private)
            .map(|(_, private)| private)
    })
}

/// Makes an AES-256 key that only encrypts and decrypts.
pub(super) fn generate_kek(at: &At<'_>, id: &[u8], label: &str) -> Result<Reply, Wrong> {
    let mut template = protected(at.token.quirks());
    template.extend([
        Attribute::ValueLen(32.into()),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
        Attribute::Wrap(false),
        Attribute::Unwrap(false),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Id(id.to_vec()),
    ]);
    make(at, Use::Seal, id, |session| {
        session.generate_key(&Mechanism::AesKeyGen, &template)
    })
}

/// What keeps a key in the token, as far as the device takes it in a template.
fn protected(quirks: &Quirks) -> Vec<Attribute> {
    let mut attributes = vec![Attribute::Token(true), Attribute::Private(true)];
    let settable = [
        (KeyAttribute::Sensitive, Attribute::Sensitive(true)),
        (KeyAttribute::Extractable, Attribute::Extractable(false)),
        (KeyAttribute::Modifiable, Attribute::Modifiable(false)),
        (KeyAttribute::Copyable, Attribute::Copyable(false)),
    ];
    for (name, attribute) in settable {
        if !quirks.fixed_attributes.contains(&name) && !quirks.unknown_attributes.contains(&name) {
            attributes.push(attribute);
        }
    }
    attributes
}

fn make(
    at: &At<'_>,
    used: Use,
    id: &[u8],
    generate: impl FnOnce(&Session) -> Result<ObjectHandle, cryptoki::error::Error>,
) -> Result<Reply, Wrong> {
    // No object of any class: a public key that was left behind, or a certificate, is somebody's.
    let template = [Attribute::Id(id.to_vec()), Attribute::Token(true)];
    if !at.session.find_objects(&template)?.is_empty() {
        return Err(Wrong::Final(Failure::Exists(hex::encode(id))));
    }
    let slot = at.session.get_session_info()?.slot_id();
    let writing = at.token.open(slot, true)?;
    let made = generate(&writing);
    // What was made is checked by the session that made it.
    let checked = match made {
        Ok(handle) => check(
            &At {
                session: &writing,
                ..*at
            },
            used,
            id,
            handle,
        ),
        Err(error) => Err(error.into()),
    };
    let _ = writing.close();
    match checked {
        Ok(()) => Ok(Reply::Made),
        // It was made, but could not be looked at.
        Err(Wrong::Token(code, function)) if !is_generation(function) => Err(Wrong::Final(
            Failure::Uncertain(super::trouble(code, function)),
        )),
        Err(wrong) => Err(wrong),
    }
}

fn is_generation(function: cryptoki::context::Function) -> bool {
    use cryptoki::context::Function;
    matches!(function, Function::GenerateKey | Function::GenerateKeyPair)
}
