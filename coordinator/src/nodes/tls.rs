//! The nodes over HTTP/2 and mutual TLS.

use std::collections::BTreeMap;
use std::time::Duration;

use countersign_policy::{Hash, MemberId};
use countersign_signer::net::{
    BundleHandle, CallError, ClientError, ClientLimits, NodeClient, TlsIdentity,
};
use countersign_signer::wire::{self, path};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Answer, Given, NodeApi, NodeError};
use crate::config::TimingConfig;

/// One client per node.
#[derive(Debug)]
pub struct TlsNodes {
    clients: BTreeMap<MemberId, NodeClient>,
    prepare: Duration,
    sign: Duration,
    call: Duration,
}

impl TlsNodes {
    /// Clients of the configured nodes. Nothing is connected yet.
    ///
    /// # Errors
    /// An unusable URL or certificate.
    pub fn new(
        urls: &BTreeMap<MemberId, String>,
        identity: &TlsIdentity,
        bundle: &BundleHandle,
        timing: &TimingConfig,
    ) -> Result<Self, ClientError> {
        let client = |(node, url): (&MemberId, &String)| {
            let limits = ClientLimits::default();
            NodeClient::new(node.clone(), url, identity, bundle.clone(), limits)
                .map(|client| (node.clone(), client))
        };
        Ok(Self {
            clients: urls.iter().map(client).collect::<Result<_, _>>()?,
            prepare: Duration::from_millis(timing.prepare_timeout_ms),
            sign: Duration::from_millis(timing.sign_timeout_ms),
            call: Duration::from_millis(timing.call_timeout_ms),
        })
    }

    fn post<B, T>(
        &self,
        node: &MemberId,
        path: &'static str,
        body: B,
        within: Duration,
    ) -> Answer<T>
    where
        B: Serialize + Send + Sync + 'static,
        T: DeserializeOwned + Send + 'static,
    {
        match self.clients.get(node).cloned() {
            Some(client) => Box::pin(async move {
                let answer = client.post_json(path, &body, within).await;
                answer.map_err(NodeError::from)
            }),
            None => unknown(node),
        }
    }

    fn get<T: DeserializeOwned + Send + 'static>(
        &self,
        node: &MemberId,
        path: String,
    ) -> Answer<T> {
        let within = self.call;
        match self.clients.get(node).cloned() {
            Some(client) => Box::pin(async move {
                client
                    .get_json(&path, within)
                    .await
                    .map_err(NodeError::from)
            }),
            None => unknown(node),
        }
    }
}

fn unknown<T: Send + 'static>(node: &MemberId) -> Answer<T> {
    let text = format!("the configuration has no URL for node {node}");
    Box::pin(std::future::ready(Err(NodeError::Unreachable(text))))
}

impl NodeApi for TlsNodes {
    fn prepare(&self, node: &MemberId, call: wire::Prepare) -> Answer<wire::Prepared> {
        self.post(node, path::PREPARE, call, self.prepare)
    }

    fn sign(&self, node: &MemberId, call: wire::Sign) -> Answer<wire::Signed> {
        self.post(node, path::SIGN, call, self.sign)
    }

    fn stop(&self, node: &MemberId, call: wire::Stop) -> Answer<wire::Stopped> {
        self.post(node, path::STOP, call, self.call)
    }

    fn abort(&self, node: &MemberId, call: wire::Abort) -> Answer<wire::SessionEnded> {
        self.post(node, path::ABORT, call, self.call)
    }

    fn submit_bundle(&self, node: &MemberId, call: wire::SubmitBundle) -> Answer<wire::BundleAck> {
        self.post(node, path::BUNDLES, call, self.call)
    }

    fn activate_bundle(
        &self,
        node: &MemberId,
        call: wire::ActivateBundle,
    ) -> Answer<wire::BundleAck> {
        self.post(node, path::ACTIVATE, call, self.call)
    }

    fn give(
        &self,
        node: &MemberId,
        what: Given,
        call: wire::GiveStatement,
    ) -> Answer<wire::StatementTaken> {
        let path = match what {
            Given::Freeze => path::FREEZE,
            Given::Unfreeze => path::UNFREEZE,
            Given::Veto => path::VETO,
            Given::Observation => path::OBSERVATIONS,
        };
        self.post(node, path, call, self.call)
    }

    fn freezes(&self, node: &MemberId) -> Answer<wire::Freezes> {
        self.get(node, path::FREEZES.to_owned())
    }

    fn bundles(&self, node: &MemberId) -> Answer<wire::Bundles> {
        self.get(node, path::BUNDLES.to_owned())
    }

    fn start_ceremony(
        &self,
        node: &MemberId,
        call: wire::StartCeremony,
    ) -> Answer<wire::CeremonyStatus> {
        self.post(node, path::CEREMONIES, call, self.call)
    }

    fn ceremony_status(&self, node: &MemberId, ceremony: Hash) -> Answer<wire::CeremonyStatus> {
        self.get(node, format!("{}/{ceremony}", path::CEREMONIES))
    }

    fn status(&self, node: &MemberId) -> Answer<wire::NodeStatus> {
        self.get(node, path::STATUS.to_owned())
    }

    fn pools(&self, node: &MemberId) -> Answer<wire::Pools> {
        self.get(node, path::POOLS.to_owned())
    }
}

impl From<CallError> for NodeError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Unreachable { source, .. } => Self::Unreachable(source.to_string()),
            CallError::Timeout { .. } => Self::Timeout,
            CallError::Problem(problem) => Self::Problem(problem),
            CallError::Protocol { what, .. } => Self::Protocol(what),
        }
    }
}
