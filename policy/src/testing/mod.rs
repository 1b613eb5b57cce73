//! A deployment in memory for tests: members with fixed keys, a genesis bundle, and signed statements of every kind.
//!
//! Behind the cargo feature `testing`, for dev-dependencies only. Every key in here is public knowledge.
//!
//! ```
//! use countersign_policy::testing::TestDeployment;
//! use countersign_policy::{Facts, Outcome, Standing, decide};
//!
//! let deployment = TestDeployment::with_single_keys(3, 2);
//! let bundle = deployment.bundle();
//! let request = deployment.usdt_request("payment-1", 1_000_000);
//! let request = bundle.directory().open(&request).unwrap();
//! let facts = Facts::establish(&bundle, request.body()).unwrap();
//! let decision = decide(&bundle, &request, &facts, &Standing::unencumbered(), deployment.now());
//! assert_eq!(decision.outcome, Outcome::Allow);
//! ```
#![allow(
    clippy::expect_used,
    reason = "what fails here fails the test that called it"
)]

mod authenticator;
pub mod cold;
mod content;
mod officers;
mod samples;
mod single_key;
#[cfg(test)]
mod tests;
pub mod transaction;

use std::collections::BTreeMap;

use rand_core::OsRng;

pub use authenticator::{AssertionDraft, TestAuthenticator};
pub use officers::{LEDGERS, SECURITY, TREASURY, USDT, USDT_LIMIT, usdt};
pub use samples::{Sample, open_as, samples};
pub use single_key::SingleKey;

use crate::bundle::{ActiveBundle, AddressBookEntry, BundleChain, KeyRecord, PolicyBundle, Wallet};
use crate::statement::{
    Authorization, Body, Cancel, CancelReason, KeyCeremony, SignRequest, StatedIntent, Statement,
    TransactionHex,
};
use crate::{
    DerivationPath, Envelope, ExternalId, Hash, IdentityKey, KeyId, MemberId, Network, StatementId,
    Timestamp, WalletId, decode,
};

/// The policy author.
pub const AUTHOR: &str = "author";
/// The policy approvers; both must sign what follows the genesis.
pub const APPROVERS: [&str; 2] = ["approver-1", "approver-2"];
/// A third approver, so that a quorum has a choice.
pub const SPARE_APPROVER: &str = "approver-3";
/// The payment service that the rules name.
pub const PAYMENTS: &str = "payments";
/// A payment service that no rule names.
pub const OTHER_PAYMENTS: &str = "payments-2";
/// The coordinator.
pub const COORDINATOR: &str = "coordinator-1";
/// A second coordinator.
pub const OTHER_COORDINATOR: &str = "coordinator-2";
/// A security officer.
pub const OFFICER: &str = "officer";
/// Two more security officers.
pub const OTHER_OFFICERS: [&str; 2] = ["officer-2", "officer-3"];
/// A chain observer.
pub const OBSERVER: &str = "observer";
/// A second chain observer.
pub const OTHER_OBSERVER: &str = "observer-2";
/// An operator.
pub const OPERATOR: &str = "operator";
/// An auditor.
pub const AUDITOR: &str = "auditor";
/// The secp256k1 key of [`TestDeployment::with_single_keys`].
pub const ECDSA_KEY: &str = "hot-ecdsa";
/// The Ed25519 key of [`TestDeployment::with_single_keys`].
pub const EDDSA_KEY: &str = "hot-eddsa";
/// The wallet of a secp256k1 key: Ethereum, BSC and Tron.
pub const WALLET: &str = "hot";
/// The wallet of an Ed25519 key: Solana.
pub const SOLANA_WALLET: &str = "hot-solana";
/// The label of the destination that is listed on every network, see [`transaction::EXCHANGE`].
pub const EXCHANGE_LABEL: &str = "exchange";
/// When everything here happens unless a test says otherwise: 2026-01-01T00:00:00Z.
pub const NOW_MILLIS: i64 = 1_767_225_600_000;

/// Members, their secret keys, and the content of the genesis bundle. See the module's documentation.
#[derive(Debug)]
pub struct TestDeployment {
    content: PolicyBundle,
    identities: BTreeMap<MemberId, IdentityKey>,
    threshold: u16,
    founded: Timestamp,
    now: Timestamp,
}

impl TestDeployment {
    /// Members, `nodes` nodes (`node-1`, `node-2`, ...) and an address book; no keys, wallets or rules yet. Everything
    /// happens at [`NOW_MILLIS`].
    pub fn new(nodes: usize, threshold: u16) -> Self {
        Self::at(nodes, threshold, Timestamp::from_millis(NOW_MILLIS))
    }

    /// The same at another time: statements are issued at `now`, the genesis a minute before it. For tests of programs
    /// that read the real clock.
    pub fn at(nodes: usize, threshold: u16, now: Timestamp) -> Self {
        let identities = content::identities(nodes);
        Self {
            content: content::without_keys(&identities),
            identities,
            threshold,
            founded: now,
            now,
        }
    }

    /// A deployment with one secp256k1 and one Ed25519 key that are in truth held whole ([`SingleKey`]), their wallets
    /// and rules: for everything that needs no threshold protocol.
    pub fn with_single_keys(nodes: usize, threshold: u16) -> Self {
        let mut deployment = Self::new(nodes, threshold);
        deployment.add_single_keys();
        deployment
    }

    /// What [`TestDeployment::with_single_keys`] adds.
    pub fn add_single_keys(&mut self) {
        let ecdsa = self.key_record(ECDSA_KEY, &SingleKey::ecdsa());
        let eddsa = self.key_record(EDDSA_KEY, &SingleKey::eddsa());
        self.add_key_with_wallet(ecdsa);
        self.add_key_with_wallet(eddsa);
    }

    /// The record of a single key, held by all nodes of the deployment.
    pub fn key_record(&self, id: &str, key: &SingleKey) -> KeyRecord {
        content::key_record(key_id(id), key, self.nodes(), self.threshold)
    }

    /// Pins a key in the genesis and gives it the standard wallet and rules: a secp256k1 key gets [`WALLET`] (or
    /// `hot-2`, ... when that exists) on Ethereum, BSC and Tron with USDT and native coins, an Ed25519 key
    /// [`SOLANA_WALLET`] with SOL. Returns the wallet.
    pub fn add_key_with_wallet(&mut self, record: KeyRecord) -> WalletId {
        content::add_key_with_wallet(&mut self.content, record)
    }

    /// The same for a successor's content: see [`TestDeployment::successor`].
    pub fn add_key_to(content: &mut PolicyBundle, record: KeyRecord) -> WalletId {
        content::add_key_with_wallet(content, record)
    }

    /// The content of the genesis, to change before anything is signed.
    pub fn content_mut(&mut self) -> &mut PolicyBundle {
        &mut self.content
    }

    /// The content of the genesis.
    pub fn content(&self) -> &PolicyBundle {
        &self.content
    }

    /// The time at which statements are issued.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Lets time pass: statements are issued at `now` from here on. The genesis stays as it is.
    pub fn set_now(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// All nodes in ascending order.
    pub fn nodes(&self) -> Vec<MemberId> {
        content::nodes(&self.content)
    }

    /// The secret statement key of a member.
    pub fn identity(&self, id: &str) -> &IdentityKey {
        self.identities
            .get(&member(id))
            .expect("a member of the test deployment")
    }

    /// The genesis bundle, signed by the author and both [`APPROVERS`]. The same content gives the same bytes.
    pub fn genesis(&self) -> Envelope {
        let issued_at = self.founded.minus_seconds(60);
        let statement = Statement {
            kind: PolicyBundle::KIND,
            genesis: Hash::ZERO,
            id: statement_id("genesis"),
            issuer: member(AUTHOR),
            issued_at,
            expires_at: issued_at.plus_seconds(365 * 86_400),
            body: self.content.clone(),
        };
        self.sign_by(&statement, &APPROVERS)
    }

    /// The hash that nodes pin.
    pub fn genesis_hash(&self) -> Hash {
        self.genesis().digest()
    }

    /// The chain that consists of the genesis.
    pub fn chain(&self) -> BundleChain {
        BundleChain::from_genesis(&self.genesis(), self.genesis_hash())
            .expect("the test deployment's genesis is valid")
    }

    /// The genesis, verified.
    pub fn bundle(&self) -> ActiveBundle {
        self.chain().active().clone()
    }

    /// A successor of `active` with `edit` applied to its content, signed by the author and both [`APPROVERS`].
    pub fn successor(
        &self,
        active: &ActiveBundle,
        edit: impl FnOnce(&mut PolicyBundle),
    ) -> Envelope {
        let mut content = active.content().clone();
        content.version = content.version.saturating_add(1);
        content.predecessor = Some(active.digest());
        edit(&mut content);
        let id = format!("bundle-{}", content.version);
        let statement = self.statement(AUTHOR, &id, 365 * 86_400, content);
        self.sign_by(&statement, &APPROVERS)
    }

    /// A statement by `issuer`, issued now, that counts for `life_seconds`. The same arguments give the same bytes.
    pub fn statement<B: Body>(
        &self,
        issuer: &str,
        id: &str,
        life_seconds: u64,
        body: B,
    ) -> Statement<B> {
        Statement {
            kind: B::KIND,
            genesis: self.genesis_hash(),
            id: statement_id(id),
            issuer: member(issuer),
            issued_at: self.now,
            expires_at: self.now.plus_seconds(life_seconds),
            body,
        }
    }

    /// Issues and signs a statement with a random id that counts for `life_seconds`.
    pub fn sign<B: Body>(&self, issuer: &str, life_seconds: u64, body: B) -> Envelope {
        let id = StatementId::random(&mut OsRng);
        let statement = self.statement(issuer, id.as_str(), life_seconds, body);
        self.sign_by(&statement, &[])
    }

    /// Signs a statement as its issuer and then as `others`.
    pub fn sign_by<B: Body>(&self, statement: &Statement<B>, others: &[&str]) -> Envelope {
        let mut envelope = statement
            .sign(self.identity(statement.issuer.as_str()))
            .expect("the statement can be written");
        for other in others {
            envelope
                .add_signature(other, self.identity(other))
                .expect("room for a signature");
        }
        envelope
    }

    /// A key ceremony order by the author and both [`APPROVERS`].
    pub fn ceremony(&self, order: KeyCeremony) -> Envelope {
        let id = format!("ceremony-{}", order.key);
        let statement = self.statement(AUTHOR, &id, 600, order);
        self.sign_by(&statement, &APPROVERS)
    }

    /// What a payment service would ask for `transaction`, with the intent stated as decoded.
    ///
    /// # Panics
    /// When the transaction is refused by the decoder: state such an intent by hand.
    pub fn sign_request(
        &self,
        external_id: &str,
        wallet: &Wallet,
        path: &DerivationPath,
        network: Network,
        transaction: Vec<u8>,
    ) -> SignRequest {
        let decoded = decode(&network, &transaction).expect("a transaction that can be decoded");
        SignRequest {
            wallet: wallet.id.clone(),
            key: wallet.key.clone(),
            path: path.clone(),
            network,
            external_id: ExternalId::new(external_id).expect("an external id"),
            intent: StatedIntent::of(decoded.intent()),
            transaction: TransactionHex::new(transaction),
        }
    }

    /// A signed request by [`PAYMENTS`] for ten minutes: USDT on Ethereum from [`WALLET`] to the exchange.
    pub fn usdt_request(&self, external_id: &str, amount: u64) -> Envelope {
        let transaction = transaction::usdt_erc20(&transaction::EXCHANGE, amount, 0);
        self.request(external_id, WALLET, Network::ETHEREUM, transaction)
    }

    /// A signed request by [`PAYMENTS`] for ten minutes, from a wallet's own address.
    pub fn request(
        &self,
        external_id: &str,
        wallet: &str,
        network: Network,
        transaction: Vec<u8>,
    ) -> Envelope {
        let wallet = self.wallet(wallet);
        let body = self.sign_request(external_id, wallet, &wallet.path, network, transaction);
        let id = format!("request-{}", Hash::sha256(external_id.as_bytes()).to_hex());
        let id = id.get(..40).expect("a long id").to_owned();
        self.sign_by(&self.statement(PAYMENTS, &id, 600, body), &[])
    }

    /// An authorization of `request` under `bundle` by [`COORDINATOR`] for 60 seconds.
    pub fn authorization(
        &self,
        bundle: &ActiveBundle,
        request: &Envelope,
        participants: &[MemberId],
        attempt: u32,
    ) -> Envelope {
        let body = self.authorization_body(bundle, request, participants, attempt);
        self.sign(COORDINATOR, 60, body)
    }

    /// What [`TestDeployment::authorization`] says, to change before it is signed.
    pub fn authorization_body(
        &self,
        bundle: &ActiveBundle,
        request: &Envelope,
        participants: &[MemberId],
        attempt: u32,
    ) -> Authorization {
        let opened = bundle
            .directory()
            .open::<SignRequest>(request)
            .expect("a sign request");
        let body = opened.body();
        let decoded = decode(&body.network, body.transaction.as_bytes())
            .expect("a transaction that can be decoded");
        let digest = Hash::from_bytes(*decoded.digest().as_bytes());
        let nonce = Hash::derive(
            "countersign/testing/nonce",
            &[request.digest().as_bytes(), &attempt.to_be_bytes()],
        );
        Authorization {
            request: request.digest(),
            approvals: Vec::new(),
            bundle: bundle.digest(),
            digests: vec![digest],
            witnesses: Vec::new(),
            participants: participants.to_vec(),
            attempt,
            nonce,
            presignature: None,
        }
    }

    /// A cancel of `request` by `issuer`.
    pub fn cancel(&self, issuer: &str, request: &Envelope, reason: CancelReason) -> Envelope {
        let body = Cancel {
            request: request.digest(),
            reason,
            detail: "no longer wanted".to_owned(),
        };
        self.sign(issuer, 600, body)
    }

    /// A wallet of the genesis.
    pub fn wallet(&self, id: &str) -> &Wallet {
        self.content
            .wallets
            .iter()
            .find(|w| w.id.as_str() == id)
            .expect("a wallet of the test deployment")
    }
}

/// `bundle` with another address book, however large: nobody signed it, and no statement could carry it. For measurements.
pub fn with_address_book(bundle: ActiveBundle, entries: Vec<AddressBookEntry>) -> ActiveBundle {
    bundle.with_address_book(entries)
}

/// A member id from text.
pub fn member(id: &str) -> MemberId {
    MemberId::new(id).expect("a member id")
}

/// A key id from text.
pub fn key_id(id: &str) -> KeyId {
    KeyId::new(id).expect("a key id")
}

/// A wallet id from text.
pub fn wallet_id(id: &str) -> WalletId {
    WalletId::new(id).expect("a wallet id")
}

fn statement_id(id: &str) -> StatementId {
    StatementId::new(id).expect("a statement id")
}
