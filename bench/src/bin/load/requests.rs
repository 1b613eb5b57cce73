//! Requests: signed by the payment service, and authorized as the coordinator would.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use countersign_policy::bundle::ActiveBundle;
use countersign_policy::statement::{
    Authorization, SignRequest, StatedIntent, Statement, TransactionHex,
};
use countersign_policy::testing::transaction::{sol, usdt_erc20};
use countersign_policy::{
    Envelope, ExternalId, Facts, Hash, MemberId, Network, Protocol, Signature, decode,
};
use countersign_signer::clock::now;
use rand_core::{OsRng, RngCore as _};

use crate::deployment::{COORDINATOR, Deployment, Outcome};
use crate::policy;

/// The destination in the policy.
const EXCHANGE: [u8; 20] = [0xe1; 20];

/// A signed request and what it takes to check its signature.
pub struct Request {
    pub envelope: Envelope,
    facts: Facts,
}

/// Makes requests that no run before made.
pub struct Requests {
    deployment: Arc<Deployment>,
    protocol: Protocol,
    next: AtomicU64,
}

impl Requests {
    pub fn new(deployment: Arc<Deployment>, protocol: Protocol) -> Self {
        Self {
            deployment,
            protocol,
            next: AtomicU64::new(u64::from(OsRng.next_u32())),
        }
    }

    /// The next one.
    pub fn make(&self) -> Outcome<Request> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let bundle = self.deployment.bundle.current();
        let network = policy::network(self.protocol);
        let wallet = bundle
            .wallet(&self.protocol.as_str().parse()?)
            .ok_or("the policy has no wallet for this protocol")?;
        let bytes = match network {
            Network::Solana(_) => {
                let key = bundle.key(&wallet.key).ok_or("no key")?;
                let mut message = sol(&EXCHANGE, number);
                // Legacy message: header (3), count (1), then the first account is the payer.
                message[4..36].copy_from_slice(key.group_key.as_bytes());
                message
            }
            _ => usdt_erc20(&EXCHANGE, 1_000_000, number),
        };
        let transaction = decode(&network, &bytes)?;
        let body = SignRequest {
            wallet: wallet.id.clone(),
            key: wallet.key.clone(),
            path: wallet.path.clone(),
            network,
            external_id: ExternalId::new(format!("load-{}-{number}", self.protocol))?,
            intent: StatedIntent::of(transaction.intent()),
            transaction: TransactionHex::new(bytes),
        };
        let facts = Facts::establish(&bundle, &body)?;
        let issued = now();
        let statement = Statement::new(
            bundle.directory().genesis(),
            "payments".parse()?,
            issued,
            issued.plus_seconds(600),
            body,
            &mut OsRng,
        );
        Ok(Request {
            envelope: statement.sign(&self.deployment.payments_key)?,
            facts,
        })
    }

    /// The coordinator's authorization of one.
    pub fn authorize(
        &self,
        request: &Request,
        participants: &[MemberId],
        presignature: Option<Hash>,
    ) -> Outcome<Envelope> {
        let bundle: &ActiveBundle = &self.deployment.bundle.current();
        let mut nonce = [0; 32];
        OsRng.fill_bytes(&mut nonce);
        let digest = *request.facts.transaction().digest().as_bytes();
        let body = Authorization {
            request: request.envelope.digest(),
            approvals: Vec::new(),
            bundle: bundle.digest(),
            digests: vec![Hash::from_bytes(digest)],
            participants: participants.to_vec(),
            witnesses: Vec::new(),
            attempt: 1,
            nonce: Hash::from_bytes(nonce),
            presignature,
        };
        let issued = now();
        let statement = Statement::new(
            bundle.directory().genesis(),
            COORDINATOR.parse()?,
            issued,
            issued.plus_seconds(60),
            body,
            &mut OsRng,
        );
        Ok(statement.sign(&self.deployment.coordinator_key)?)
    }
}

impl Request {
    /// The signature is one of the pinned key over these bytes.
    pub fn check(&self, signature: &Signature) -> Outcome<()> {
        let transaction = self.facts.transaction();
        transaction.assemble(signature, self.facts.public_key())?;
        Ok(())
    }
}
