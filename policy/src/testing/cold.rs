//! A cold wallet in the test deployment, and the packages that are carried to its machine.

use super::{
    COORDINATOR, LEDGERS, OFFICER, OTHER_OFFICERS, SingleKey, TestDeployment, content, key_id,
    member, wallet_id,
};
use crate::bundle::{ActivationEvidence, ActiveBundle, KeyRecord, PolicyBundle, WalletTier};
use crate::cold::{RequestPackage, SessionEvidence};
use crate::limits::LedgerGroup;
use crate::statement::{
    Authorization, Cleared, Confirm, Receipt, SessionTerms, SignRequest, Statement, Verdict,
};
use crate::{ChainCode, Envelope, FreezeSet, Hash, LedgerGroupId, Protocol, Timestamp};

/// The machine with the HSM and no network.
pub const VAULT: &str = "vault";
/// A second one, whose token holds another key.
pub const OTHER_VAULT: &str = "vault-2";
/// The key in the machine's token.
pub const COLD_KEY: &str = "cold-ecdsa";
/// The cold wallet: Ethereum, BSC and Tron; its rules need two of the treasury.
pub const COLD_WALLET: &str = "cold";
/// How long an authorization for it may live: four hours.
pub const COLD_LIFE: u64 = 4 * 3_600;

/// The secret of [`COLD_KEY`], in the place of a token.
pub fn cold_key() -> SingleKey {
    SingleKey::Ecdsa {
        secret: [0x44; 32],
        chain_code: [0; 32],
    }
}

impl TestDeployment {
    /// [`TestDeployment::with_single_keys`] with the machine [`VAULT`] and the wallet [`COLD_WALLET`].
    pub fn with_cold_wallet(nodes: usize, threshold: u16) -> Self {
        let mut deployment = Self::with_single_keys(nodes, threshold);
        deployment.add_cold_wallet(COLD_WALLET, COLD_KEY, VAULT, &cold_key());
        deployment
    }

    /// A cold wallet whose key lies in the token of a machine.
    ///
    /// # Panics
    /// With names that are none.
    pub fn add_cold_wallet(&mut self, wallet: &str, key: &str, machine: &str, secret: &SingleKey) {
        if !self.groups_exist() {
            self.add_groups();
        }
        self.add_ledger_group();
        self.add_machine(machine);
        let record = KeyRecord {
            protocol: match secret {
                SingleKey::Ecdsa { .. } => Protocol::Pkcs11Secp256k1,
                SingleKey::Eddsa { .. } => Protocol::Pkcs11Ed25519,
            },
            chain_code: None::<ChainCode>,
            ..content::key_record(key_id(key), secret, vec![member(machine)], 1)
        };
        Self::add_cold_wallet_to(self.content_mut(), wallet, record);
    }

    /// A cold wallet of a key that a machine made, for a content that has the groups and the machine.
    ///
    /// # Panics
    /// With a name that is none.
    pub fn add_cold_wallet_to(content: &mut PolicyBundle, wallet: &str, record: KeyRecord) {
        Self::add_hsm_wallet_to(content, wallet, WalletTier::Cold, record);
    }

    /// A warm or cold wallet of a key that was made in a token, for a content that has what belongs to it. A cold one's rules
    /// need two of the treasury.
    ///
    /// # Panics
    /// With a name that is none.
    pub fn add_hsm_wallet_to(
        content: &mut PolicyBundle,
        wallet: &str,
        tier: WalletTier,
        record: KeyRecord,
    ) {
        content.timing.max_cold_authorization_life_seconds = Some(COLD_LIFE);
        content::add_wallet(content, record, wallet_id(wallet));
        for entry in content
            .wallets
            .iter_mut()
            .filter(|w| w.id.as_str() == wallet)
        {
            entry.tier = tier;
            entry.ledger_group = Some(LedgerGroupId::new(LEDGERS).expect("a group id"));
        }
        let cold = tier == WalletTier::Cold;
        for rule in content
            .rules
            .iter_mut()
            .filter(|r| cold && r.wallet.as_str() == wallet)
        {
            rule.needs = Some("treasury:2".parse().expect("needs"));
        }
    }

    /// The machine as a member of a successor's content. Its statement key is made from its name.
    pub fn add_machine_to(content: &mut PolicyBundle, machine: &str) {
        let seed = Hash::derive("countersign/testing/identity", &[machine.as_bytes()]);
        let key = crate::IdentityKey::from_seed(seed.as_bytes());
        content
            .members
            .push(content::describe_machine(&member(machine), &key));
        content.members.sort_by(|a, b| a.id.cmp(&b.id));
    }

    fn groups_exist(&self) -> bool {
        !self.content().groups.is_empty()
    }

    /// A machine with an HSM and no network, without any key yet.
    pub fn add_machine(&mut self, machine: &str) {
        let seed = Hash::derive("countersign/testing/identity", &[machine.as_bytes()]);
        let key = crate::IdentityKey::from_seed(seed.as_bytes());
        Self::add_machine_to(self.content_mut(), machine);
        self.identities.insert(member(machine), key);
    }

    /// Two of the treasury approve, under `bundle`.
    pub fn treasury_approves(&self, bundle: &ActiveBundle, request: &Envelope) -> Vec<Envelope> {
        [OFFICER, OTHER_OFFICERS[0]]
            .iter()
            .map(|officer| self.approval_under(bundle, officer, request, Verdict::Approve))
            .collect()
    }

    /// What a coordinator says about a request from a cold wallet, to change before it is signed.
    ///
    /// # Panics
    /// When the request is none, or the deployment has no ledger group.
    pub fn cold_authorization(
        &self,
        bundle: &ActiveBundle,
        request: &Envelope,
        approvals: &[Envelope],
    ) -> Authorization {
        let opened = bundle.directory().open::<SignRequest>(request);
        let wallet = opened.expect("a sign request").body().wallet.clone();
        let wallet = bundle.wallet(&wallet).expect("its wallet");
        let key = bundle.key(&wallet.key).expect("its key");
        let group = bundle.ledger_group_of(wallet).expect("its ledger group");
        let witnesses = group.nodes.iter().take(usize::from(group.quorum)).cloned();
        Authorization {
            approvals: approvals.iter().map(Envelope::digest).collect(),
            witnesses: witnesses.collect(),
            ..self.authorization_body(bundle, request, &key.nodes, 1)
        }
    }

    /// A package about `request` under `bundle`, with everything that belongs into it.
    pub fn cold_package(&self, bundle: &ActiveBundle, request: &Envelope) -> RequestPackage {
        let approvals = self.treasury_approves(bundle, request);
        let body = self.cold_authorization(bundle, request, &approvals);
        self.cold_package_of(bundle, request, approvals, body, &[])
    }

    /// The same with other parts: what a hostile maker of packages could put together. The witnesses say what honest ones
    /// would say about the authorization.
    ///
    /// # Panics
    /// When a freeze is none.
    pub fn cold_package_of(
        &self,
        bundle: &ActiveBundle,
        request: &Envelope,
        approvals: Vec<Envelope>,
        body: Authorization,
        freezes: &[Envelope],
    ) -> RequestPackage {
        let authorization = self.sign(COORDINATOR, COLD_LIFE, body.clone());
        let mut set = FreezeSet::default();
        for freeze in freezes {
            set.insert(&bundle.open_freeze(freeze).expect("a freeze"));
        }
        let terms = session_terms(&authorization, &body, set.head());
        let receipts: Vec<Envelope> = body
            .witnesses
            .iter()
            .map(|witness| self.cold_receipt(witness.as_str(), &terms))
            .collect();
        let hash = SessionTerms::receipts_hash(receipts.iter().map(Envelope::digest));
        let confirms = body.witnesses.iter().map(|witness| {
            let confirm = cold_confirm(&terms, hash, bundle.digest());
            self.sign(witness.as_str(), COLD_LIFE, confirm)
        });
        let confirms = confirms.collect();
        RequestPackage::new(
            self.genesis_hash(),
            vec![ActivationEvidence {
                bundle: self.genesis(),
                acks: Vec::new(),
            }],
            SessionEvidence {
                request: request.clone(),
                approvals,
                authorization,
                freezes: freezes.to_vec(),
                receipts,
                confirms,
            },
        )
    }

    /// A witness's receipt for these terms.
    pub fn cold_receipt(&self, witness: &str, terms: &SessionTerms) -> Envelope {
        let receipt = Receipt {
            terms: terms.clone(),
            ledger_sequence: 7,
            ledger_head: Hash::sha256(witness.as_bytes()),
        };
        self.sign(witness, COLD_LIFE, receipt)
    }

    /// A statement signed at another time than now.
    pub fn sign_at<B: crate::statement::Body>(
        &self,
        at: Timestamp,
        issuer: &str,
        life_seconds: u64,
        body: B,
    ) -> Envelope {
        let id = crate::StatementId::random(&mut rand_core::OsRng);
        let statement = Statement {
            issued_at: at,
            expires_at: at.plus_seconds(life_seconds),
            ..self.statement(issuer, id.as_str(), life_seconds, body)
        };
        self.sign_by(&statement, &[])
    }
}

/// The terms of an offline session.
pub fn session_terms(
    authorization: &Envelope,
    body: &Authorization,
    freeze_head: Hash,
) -> SessionTerms {
    let digest = authorization.digest();
    SessionTerms {
        session: SessionTerms::session_id(digest),
        authorization: digest,
        request: body.request,
        digests: body.digests.clone(),
        bundle: body.bundle,
        freeze_head,
        presignature: body.presignature,
        checkpoint: None,
        participants: body.participants.clone(),
        witnesses: body.witnesses.clone(),
        attempt: body.attempt,
        offline: true,
    }
}

/// A witness's confirm that clears a session.
pub fn cold_confirm(terms: &SessionTerms, receipts: Hash, bundle: Hash) -> Confirm {
    Confirm {
        session: terms.session,
        receipts,
        ledger_sequence: 8,
        ledger_head: Hash::sha256(b"head"),
        cleared: Some(Cleared {
            bundle,
            freeze_head: terms.freeze_head,
        }),
    }
}

/// Makes a wallet with a key of its own warm or cold, with everything that belongs to it: the key lies in the token of `node-1`
/// or of [`VAULT`], and all nodes are its ledger group. Hot leaves it as it is.
///
/// # Panics
/// Without such a wallet.
pub fn set_tier(content: &mut PolicyBundle, wallet: &str, tier: WalletTier) {
    let machine = match tier {
        WalletTier::Hot => return,
        WalletTier::Warm => "node-1",
        WalletTier::Cold => VAULT,
    };
    if tier == WalletTier::Cold && !content.members.iter().any(|m| m.id.as_str() == VAULT) {
        TestDeployment::add_machine_to(content, VAULT);
    }
    content.timing.max_cold_authorization_life_seconds = Some(COLD_LIFE);
    let group = set_ledger_group(content);
    let wallet = content.wallets.iter_mut().find(|w| w.id.as_str() == wallet);
    let wallet = wallet.expect("the wallet");
    wallet.tier = tier;
    wallet.ledger_group = Some(group);
    let key = content.keys.iter_mut().find(|k| k.id == wallet.key);
    let key = key.expect("its key");
    key.protocol = match key.protocol.is_secp256k1() {
        true => Protocol::Pkcs11Secp256k1,
        false => Protocol::Pkcs11Ed25519,
    };
    key.threshold = 1;
    key.max_faulty = 0;
    key.chain_code = None;
    key.nodes = vec![member(machine)];
}

/// The ledger group [`LEDGERS`] of all nodes, with the smallest quorum that is exact without a liar.
///
/// # Panics
/// With more nodes than anybody has.
pub fn set_ledger_group(content: &mut PolicyBundle) -> LedgerGroupId {
    let nodes = content::nodes(content);
    let quorum = u16::try_from(nodes.len() / 2)
        .expect("few nodes")
        .saturating_add(1);
    let id = LedgerGroupId::new(LEDGERS).expect("a group id");
    if !content.ledger_groups.iter().any(|g| g.id == id) {
        content.ledger_groups.push(LedgerGroup {
            id: id.clone(),
            nodes,
            quorum,
            max_faulty: 0,
        });
        content.ledger_groups.sort_by(|a, b| a.id.cmp(&b.id));
    }
    id
}
