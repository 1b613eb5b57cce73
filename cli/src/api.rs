//! The client of the coordinator's API.

use std::time::Duration;

use countersign_coordinator::ApiSecret;
use countersign_policy::{Hash, MemberId};
use countersign_signer::files::read_secret_file;
use http::{Method, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::clock;
use crate::failure::{Exit, OrFail as _, Outcome};
use crate::https::{Answer, Call, Https};
use crate::profile::Profile;

pub use crate::https::read_json;

/// A coordinator.
pub struct Api {
    https: Https,
    member: MemberId,
    genesis: Hash,
    key: ApiSecret,
}

impl Api {
    /// The coordinator of a profile. Nothing is connected yet.
    pub fn new(profile: &Profile) -> Outcome<Self> {
        Ok(Self {
            https: Https::new(&profile.coordinator, &profile.ca_file, "coordinator")?,
            member: profile.member.clone(),
            genesis: profile.genesis_hash,
            key: read_api_key(profile)?,
        })
    }

    /// A fresh token with which the profile's member reads.
    pub fn token(&self) -> String {
        self.key.token(&self.member, self.genesis, clock::now())
    }

    /// GETs `path` and reads the answer as JSON.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Outcome<T> {
        let answer = self
            .call(Method::GET, path, &[], None, Duration::ZERO)
            .await?;
        read_json(&answer.body)
    }

    /// POSTs JSON and reads the answer as JSON.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Outcome<T> {
        let answer = self.post_with(path, body, &[], Duration::ZERO).await?;
        read_json(&answer.body)
    }

    /// POSTs JSON with headers; the answer may take `patience` longer than usual.
    pub async fn post_with(
        &self,
        path: &str,
        body: &impl Serialize,
        headers: &[(&str, String)],
        patience: Duration,
    ) -> Outcome<Answer> {
        let body = serde_json::to_vec(body).or_broken("cannot write JSON")?;
        self.call(Method::POST, path, headers, Some(body), patience)
            .await
    }

    /// Sends one request as the profile's member.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, String)],
        body: Option<Vec<u8>>,
        patience: Duration,
    ) -> Outcome<Answer> {
        let bearer = (
            header::AUTHORIZATION.as_str(),
            format!("Bearer {}", self.token()),
        );
        let headers = [&[bearer], headers].concat();
        let call = Call {
            method,
            path,
            headers: &headers,
            body,
            patience,
        };
        self.https.call(call).await
    }
}

fn read_api_key(profile: &Profile) -> Outcome<ApiSecret> {
    let file = &profile.api_key_file;
    let bytes = read_secret_file(file).or_fail(Exit::Usage, "cannot use the API key")?;
    let mut seed = Zeroizing::new([0u8; 32]);
    hex::decode_to_slice(bytes.trim_ascii(), seed.as_mut_slice())
        .or_fail(Exit::Usage, format!("{} is no key", file.display()))?;
    Ok(ApiSecret::from_seed(&seed))
}
