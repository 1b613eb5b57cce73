//! Read tokens: EdDSA JWTs (RFC 7519, RFC 8037) of at most 60 s, signed with a member's API key.

use axum::extract::FromRequestParts;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use countersign_policy::access::{Action, roles_may};
use countersign_policy::bundle::{ActiveBundle, Role};
use countersign_policy::{Hash, IdentityPublicKey, MemberId, Timestamp};
use ed25519_dalek::{Signer as _, SigningKey};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::access::refusal;
use super::problem::{ApiProblem, ApiProblemCode};
use super::sight::Sight;
use crate::core::{Core, now, random_hex};

/// The longest life of a token, in seconds.
pub const MAX_TOKEN_SECONDS: i64 = 60;
const MAX_TOKEN_BYTES: usize = 4096;

/// The secret half of an API key: it signs read tokens and nothing else.
pub struct ApiSecret(SigningKey);

impl ApiSecret {
    /// A key from its 32-byte seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The public half, for the coordinator's configuration.
    pub fn public(&self) -> IdentityPublicKey {
        IdentityPublicKey::from_bytes(self.0.verifying_key().to_bytes())
    }

    /// A token for `member` that counts for 60 s from `at`.
    pub fn token(&self, member: &MemberId, genesis: Hash, at: Timestamp) -> String {
        let iat = at.as_millis().div_euclid(1000);
        let claims = Claims {
            iss: member.clone(),
            aud: genesis,
            iat,
            exp: iat.saturating_add(MAX_TOKEN_SECONDS),
            jti: random_hex(),
        };
        self.sign(&claims)
    }

    fn sign(&self, claims: &Claims) -> String {
        let header = BASE64.encode(br#"{"alg":"EdDSA","typ":"JWT"}"#);
        let claims = BASE64.encode(serde_json::to_vec(claims).unwrap_or_default());
        let message = format!("{header}.{claims}");
        let signature = BASE64.encode(self.0.sign(message.as_bytes()).to_bytes());
        format!("{message}.{signature}")
    }
}

impl std::fmt::Debug for ApiSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ApiSecret({})", self.public())
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    crit: Option<serde_json::Value>,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: MemberId,
    aud: Hash,
    iat: i64,
    exp: i64,
    jti: String,
}

/// Who reads: a member with a valid token. An extractor.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    pub(crate) member: MemberId,
    roles: BTreeSet<Role>,
}

impl Reader {
    /// Whose token comes with a call.
    pub(super) fn of(headers: &HeaderMap, core: &Core) -> Result<Self, ApiProblem> {
        let header = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok());
        let token = header
            .and_then(|h| h.strip_prefix("Bearer "))
            .unwrap_or_default();
        let bundle = core.bundle.current();
        let member = verify_token(token, &bundle, &core.api_keys, now())
            .map_err(|what| ApiProblemCode::Unauthenticated.problem(what))?;
        let roles = bundle
            .member(&member)
            .map(|m| m.roles.clone())
            .unwrap_or_default();
        Ok(Self { member, roles })
    }

    /// Whether one of the member's roles may do it.
    pub(crate) fn may(&self, action: Action) -> bool {
        roles_may(&self.roles, action)
    }

    /// Requires it.
    pub(crate) fn require(&self, action: Action) -> Result<(), ApiProblem> {
        if self.may(action) {
            return Ok(());
        }
        Err(ApiProblemCode::Forbidden.problem(refusal(&self.member, action)))
    }

    /// Whether requests of `initiator` may be read.
    pub(crate) fn may_read(&self, initiator: &MemberId) -> bool {
        self.reads_all() || (self.member == *initiator && self.may(Action::ReadOwnRequests))
    }

    /// Whether everybody's requests may be read.
    pub(crate) fn reads_all(&self) -> bool {
        self.may(Action::ReadAllRequests)
    }

    /// How much of a decision is shown.
    pub(crate) fn sight(&self) -> Sight {
        if self.may(Action::ReadLimitNumbers) {
            Sight::Numbers
        } else {
            Sight::NamesOnly
        }
    }
}

impl FromRequestParts<Arc<Core>> for Reader {
    type Rejection = ApiProblem;

    async fn from_request_parts(parts: &mut Parts, core: &Arc<Core>) -> Result<Self, ApiProblem> {
        Self::of(&parts.headers, core)
    }
}

/// Who a read token is from.
///
/// # Errors
/// What is wrong with it, in words for whoever sent it.
pub fn verify_token(
    token: &str,
    bundle: &ActiveBundle,
    keys: &BTreeMap<MemberId, Vec<IdentityPublicKey>>,
    at: Timestamp,
) -> Result<MemberId, &'static str> {
    if token.is_empty() {
        return Err("send Authorization: Bearer with an EdDSA JWT; docs/api.md shows how");
    }
    if token.len() > MAX_TOKEN_BYTES {
        return Err("the token is too long");
    }
    let (message, signature) = token.rsplit_once('.').ok_or("the token is no JWT")?;
    let (header, claims) = message.split_once('.').ok_or("the token is no JWT")?;
    let part = |text: &str| BASE64.decode(text).map_err(|_| "the token is no JWT");
    let header: Header =
        serde_json::from_slice(&part(header)?).map_err(|_| "the token is no JWT")?;
    // The algorithm is fixed by the key's kind, never chosen by the token.
    if header.alg != "EdDSA" || header.crit.is_some() {
        return Err("the token's algorithm must be EdDSA, without critical extensions");
    }
    let claims: Claims = serde_json::from_slice(&part(claims)?)
        .map_err(|_| "the token needs the claims iss, aud, iat, exp and jti")?;
    let signature: [u8; 64] = part(signature)?
        .try_into()
        .map_err(|_| "the signature has no 64 bytes")?;
    let own = keys
        .get(&claims.iss)
        .ok_or("the issuer has no API key here")?;
    if !own
        .iter()
        .any(|key| key.verify(message.as_bytes(), signature))
    {
        return Err("no API key of the issuer verifies the signature");
    }
    let statement_keys = bundle.content().members.iter().flat_map(|m| &m.keys);
    if statement_keys
        .into_iter()
        .any(|k| own.contains(&k.public_key))
    {
        return Err("the API key is also a statement key: one key, one use");
    }
    if claims.aud != bundle.directory().genesis() {
        return Err("the token is for another deployment");
    }
    if claims.jti.is_empty() || claims.jti.len() > 64 {
        return Err("jti must have 1 to 64 characters");
    }
    let skew = i64::try_from(bundle.skew_seconds()).unwrap_or(0);
    let now = at.as_millis().div_euclid(1000);
    if claims.exp <= claims.iat || claims.exp.saturating_sub(claims.iat) > MAX_TOKEN_SECONDS {
        return Err("a token lives at most 60 s");
    }
    if claims.iat > now.saturating_add(skew) || claims.exp <= now.saturating_sub(skew) {
        return Err("the token is not valid now: check the clocks");
    }
    if bundle.member(&claims.iss).is_none() {
        return Err("the issuer is no member");
    }
    Ok(claims.iss)
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_policy::testing::{AUDITOR, PAYMENTS, TestDeployment, member};

    #[test]
    fn a_token_is_accepted_only_when_everything_about_it_is_right() {
        let deployment = TestDeployment::with_single_keys(3, 2);
        let bundle = deployment.bundle();
        let (at, genesis) = (deployment.now(), deployment.genesis_hash());
        let secret = ApiSecret::from_seed(&[5; 32]);
        let keys = BTreeMap::from([(member(PAYMENTS), vec![secret.public()])]);
        let check = |token: &str, at| verify_token(token, &bundle, &keys, at);
        let good = secret.token(&member(PAYMENTS), genesis, at);
        assert_eq!(check(&good, at), Ok(member(PAYMENTS)));
        assert_eq!(check(&good, at.plus_seconds(64)), Ok(member(PAYMENTS)));
        assert!(check(&good, at.plus_seconds(65)).is_err(), "expired");
        assert!(check(&good, at.minus_seconds(6)).is_err(), "not yet");
        assert!(check("", at).is_err());
        assert!(check("a.b", at).is_err());
        assert!(check(&good.replacen('.', ".A", 1), at).is_err());
        assert!(
            check(&secret.token(&member(AUDITOR), genesis, at), at).is_err(),
            "no key"
        );
        assert!(
            check(&secret.token(&member(PAYMENTS), Hash::ZERO, at), at).is_err(),
            "audience"
        );
        let other = ApiSecret::from_seed(&[6; 32]);
        assert!(
            check(&other.token(&member(PAYMENTS), genesis, at), at).is_err(),
            "key"
        );
        let claims = |change: &dyn Fn(&mut Claims)| {
            let iat = at.as_millis() / 1000;
            let mut claims = Claims {
                iss: member(PAYMENTS),
                aud: genesis,
                iat,
                exp: iat + 60,
                jti: "x".into(),
            };
            change(&mut claims);
            secret.sign(&claims)
        };
        assert!(check(&claims(&|_| {}), at).is_ok());
        assert!(check(&claims(&|c| c.exp += 1), at).is_err(), "61 s");
        assert!(check(&claims(&|c| c.exp = c.iat), at).is_err());
        assert!(check(&claims(&|c| c.jti.clear()), at).is_err());
    }

    #[test]
    fn another_algorithm_is_refused_whatever_is_signed() {
        let deployment = TestDeployment::new(3, 2);
        let bundle = deployment.bundle();
        let secret = ApiSecret::from_seed(&[5; 32]);
        let keys = BTreeMap::from([(member(PAYMENTS), vec![secret.public()])]);
        let good = secret.token(
            &member(PAYMENTS),
            deployment.genesis_hash(),
            deployment.now(),
        );
        let claims = good.split('.').nth(1).unwrap();
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"HS256"}"#,
            r#"{"alg":"EdDSA","crit":["x"]}"#,
        ] {
            let message = format!("{}.{claims}", BASE64.encode(header));
            let signature = BASE64.encode(secret.0.sign(message.as_bytes()).to_bytes());
            let token = format!("{message}.{signature}");
            assert!(
                verify_token(&token, &bundle, &keys, deployment.now()).is_err(),
                "{header}"
            );
        }
    }

    #[test]
    fn a_statement_key_is_no_api_key() {
        let deployment = TestDeployment::new(3, 2);
        let seed = deployment.identity(PAYMENTS).to_seed();
        let secret = ApiSecret::from_seed(&seed);
        let keys = BTreeMap::from([(member(PAYMENTS), vec![secret.public()])]);
        let token = secret.token(
            &member(PAYMENTS),
            deployment.genesis_hash(),
            deployment.now(),
        );
        let error =
            verify_token(&token, &deployment.bundle(), &keys, deployment.now()).unwrap_err();
        assert!(error.contains("one key, one use"), "{error}");
    }
}
