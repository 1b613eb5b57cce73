//! A machine in a folder of its own, and packages for it.

use std::sync::Arc;

use countersign_policy::cold::{MachineAnswer, RequestPackage, ResponsePackage};
use countersign_policy::statement::{Authorization, SignRequest};
use countersign_policy::testing::cold::{COLD_WALLET, VAULT, cold_key};
use countersign_policy::testing::{SingleKey, TestDeployment, member, transaction};
use countersign_policy::{
    DerivationPath, Envelope, Facts, IdentityKey, KeyId, Network, Protocol, PublicKey, Signature,
    Timestamp, decode,
};
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::super::*;
use crate::gate::Released;
use crate::store::{Argon2Cost, OpenError, OpenMode, PassphraseKek, Store, StoreOptions};
use crate::threshold::Preimage;
use crate::token::{Token, TokenError, TokenKeys};

/// A deployment with a cold wallet, and the folder of its machine.
pub struct Vault {
    pub deployment: TestDeployment,
    folder: TempDir,
}

impl Vault {
    pub fn new() -> Self {
        Self::of(TestDeployment::with_cold_wallet(3, 2))
    }

    pub fn of(deployment: TestDeployment) -> Self {
        Self {
            deployment,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub fn now(&self) -> Timestamp {
        self.deployment.now()
    }

    /// The machine, as its process starts.
    pub async fn machine(&self) -> Machine {
        self.machine_at(self.now()).await
    }

    pub async fn machine_at(&self, now: Timestamp) -> Machine {
        let seed = self.deployment.identity(VAULT).to_seed();
        let identity = Arc::new(IdentityKey::from_seed(&seed));
        let options = StoreOptions {
            path: self.folder.path().join("vault.db"),
            node: member(VAULT),
            genesis: self.deployment.genesis_hash(),
            mode: OpenMode::CreateIfMissing,
        };
        let cost = Argon2Cost {
            memory_kib: 64,
            passes: 1,
            lanes: 1,
        };
        let kek = PassphraseKek::new(Zeroizing::new(b"correct horse battery staple".to_vec()));
        let kek = kek.unwrap().with_cost(cost);
        let store = loop {
            match Store::open(&options, Arc::clone(&identity), &kek).await {
                Err(OpenError::InUse(_)) => {
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
                opened => break opened.unwrap(),
            }
        };
        let parts = MachineParts {
            me: member(VAULT),
            identity,
            store,
            genesis: self.deployment.genesis_hash(),
            answers: self.folder.path().join("answers"),
        };
        Machine::open(parts, now).await.unwrap()
    }

    pub fn request(&self, external_id: &str, amount: u64, nonce: u64) -> Envelope {
        let bytes = transaction::usdt_erc20(&transaction::EXCHANGE, amount, nonce);
        self.deployment
            .request(external_id, COLD_WALLET, Network::ETHEREUM, bytes)
    }

    /// A package about a USDT withdrawal.
    pub fn usdt(&self, external_id: &str, amount: u64) -> Vec<u8> {
        self.package(&self.request(external_id, amount, 0))
    }

    pub fn package(&self, request: &Envelope) -> Vec<u8> {
        let bundle = self.deployment.bundle();
        let package = self.deployment.cold_package(&bundle, request);
        package.to_bytes().unwrap()
    }

    /// The same with another authorization or other approvals.
    pub fn package_with(
        &self,
        request: &Envelope,
        approvals: Vec<Envelope>,
        change: impl FnOnce(&mut Authorization),
    ) -> Vec<u8> {
        let bundle = self.deployment.bundle();
        let mut body = self
            .deployment
            .cold_authorization(&bundle, request, &approvals);
        change(&mut body);
        let package = self
            .deployment
            .cold_package_of(&bundle, request, approvals, body, &[]);
        package.to_bytes().unwrap()
    }

    pub fn approvals(&self, request: &Envelope) -> Vec<Envelope> {
        let bundle = self.deployment.bundle();
        self.deployment.treasury_approves(&bundle, request)
    }

    /// Whether the answer holds the pinned key's signature over the package's transaction.
    pub fn verifies(&self, package: &[u8], answer: &ResponsePackage) -> bool {
        let bundle = self.deployment.bundle();
        let package = RequestPackage::from_bytes(package).unwrap();
        let request = bundle
            .directory()
            .open::<SignRequest>(&package.request)
            .unwrap();
        let facts = Facts::establish(&bundle, request.body()).unwrap();
        match &answer.outcome {
            MachineAnswer::Signed { signature, .. } => facts
                .transaction()
                .assemble(signature, facts.public_key())
                .is_ok(),
            MachineAnswer::Refused { .. } => false,
        }
    }
}

/// Examines a package and, with a person's yes and the token, signs it.
pub async fn taken(
    vault: &Vault,
    machine: &mut Machine,
    package: &[u8],
) -> Result<ResponsePackage, Refusal> {
    let examined = machine.examine(package, vault.now())?;
    let typed = examined.package().digest().to_hex();
    let yes = Confirmed::by_typing(&examined, &typed[..8]).unwrap();
    let tokens = TokenKeys::new(Arc::new(SoftToken::honest()));
    machine.sign(examined, yes, &[], &tokens, vault.now()).await
}

/// Keys in memory in the place of a token. A lying one signs something else.
#[derive(Debug)]
pub struct SoftToken {
    key: SingleKey,
    lies: bool,
}

impl SoftToken {
    pub fn honest() -> Self {
        Self {
            key: cold_key(),
            lies: false,
        }
    }

    pub fn lying() -> Self {
        Self {
            key: cold_key(),
            lies: true,
        }
    }

    pub fn of_another_key() -> Self {
        Self {
            key: SingleKey::ecdsa(),
            lies: false,
        }
    }
}

impl Token for SoftToken {
    fn public_key(&self, _: &KeyId, _: Protocol) -> Result<PublicKey, TokenError> {
        Ok(self.key.public_key())
    }

    fn generate(&self, key: &KeyId, _: Protocol) -> Result<PublicKey, TokenError> {
        Err(TokenError::Exists(key.clone()))
    }

    fn sign(
        &self,
        _: &KeyId,
        _: Protocol,
        preimage: &Preimage,
        _: &Released,
    ) -> Result<Signature, TokenError> {
        let bytes = match self.lies {
            true => transaction::usdt_erc20(&transaction::EXCHANGE, 9, 9),
            false => preimage.bytes().to_vec(),
        };
        let decoded = decode(&Network::ETHEREUM, &bytes).unwrap();
        Ok(self.key.sign(&decoded, &DerivationPath::master()))
    }
}
