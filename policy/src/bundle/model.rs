//! The bundle's content.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

use crate::approvals::Needs;
use crate::envelope::IdentityPublicKey;
use crate::hash::Hash;
use crate::id::{GroupId, KeyId, LedgerGroupId, MemberId, RuleId, WalletId};
use crate::limits::{LedgerGroup, Limit, NonceLead, Reference};
use crate::protocol::Protocol;
use crate::statement::{Body, Kind};
use crate::time::Timestamp;
use crate::{
    Address, Amount, AssetId, ChainCode, DerivationPath, HexBytes, IntentKind, Network, PublicKey,
};

/// What a member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Requests signatures.
    PaymentService,
    /// Approves, freezes, cancels.
    SecurityOfficer,
    /// Proposes policy bundles and key ceremonies.
    PolicyAuthor,
    /// Signs policy bundles and key ceremonies.
    PolicyApprover,
    /// Runs nodes.
    Operator,
    /// Reads everything, changes nothing.
    Auditor,
    /// Observes chains; never initiates.
    ChainObserver,
    /// A signer node.
    Node,
    /// A machine with an HSM and no network: it signs for cold wallets, and says nothing to other nodes.
    OfflineNode,
    /// A coordinator: may start signatures and stop requests, and is trusted with neither.
    Coordinator,
}

impl Role {
    /// All roles.
    pub const ALL: [Role; 10] = [
        Role::PaymentService,
        Role::SecurityOfficer,
        Role::PolicyAuthor,
        Role::PolicyApprover,
        Role::Operator,
        Role::Auditor,
        Role::ChainObserver,
        Role::Node,
        Role::OfflineNode,
        Role::Coordinator,
    ];

    /// The role's name, as it stands in bundles.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::PaymentService => "payment-service",
            Role::SecurityOfficer => "security-officer",
            Role::PolicyAuthor => "policy-author",
            Role::PolicyApprover => "policy-approver",
            Role::Operator => "operator",
            Role::Auditor => "auditor",
            Role::ChainObserver => "chain-observer",
            Role::Node => "node",
            Role::OfflineNode => "offline-node",
            Role::Coordinator => "coordinator",
        }
    }
}

/// Signature schemes of members' statement keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum MemberKeyAlgorithm {
    /// Ed25519, RFC 8032.
    #[serde(rename = "ed25519")]
    Ed25519,
}

/// One of a member's statement keys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberKey {
    /// The scheme. It comes from here, never from an envelope.
    pub algorithm: MemberKeyAlgorithm,
    /// The public key.
    pub public_key: IdentityPublicKey,
}

/// Who administers and who hosts a node: one administrator or host must not control a threshold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Domains {
    /// The team or company with administrative access.
    pub administration: String,
    /// The cloud account or site the node runs in.
    pub hosting: String,
}

/// A person, service or node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// The member's id.
    pub id: MemberId,
    /// For people; at most 128 bytes.
    pub name: String,
    /// What the member may do.
    pub roles: BTreeSet<Role>,
    /// The member's statement keys. Quorums count members, not keys.
    pub keys: Vec<MemberKey>,
    /// WebAuthn credentials, with which people approve, reject and freeze in a browser.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<Credential>,
    /// For nodes, online and offline: who controls the machine.
    pub domains: Option<Domains>,
}

/// Signature algorithms of WebAuthn credentials (COSE).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CredentialAlgorithm {
    /// ECDSA on P-256 with SHA-256 (COSE -7).
    Es256,
    /// Ed25519 (COSE -8).
    Eddsa,
}

/// A WebAuthn credential of a member. Login credentials use another relying party and never stand here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// The credential id, `0x` hex, 16 to 1,023 bytes.
    pub id: HexBytes,
    /// The signature algorithm. It comes from here, never from an assertion.
    pub algorithm: CredentialAlgorithm,
    /// ES256: the SEC1 point, compressed (33 bytes). EdDSA: 32 bytes. `0x` hex.
    pub public_key: HexBytes,
}

/// What a WebAuthn assertion must say to count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebAuthnPolicy {
    /// The relying party id; the assertion carries its SHA-256.
    pub rp_id: String,
    /// The exact origins from which officers approve, in ascending order: `https://approve.example.com`.
    pub origins: Vec<String>,
    /// Whether credentials that can be copied to other devices (backup eligible) may be used.
    pub allow_backup_eligible: bool,
}

/// People who approve together: a rule asks for a number of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The group's id, as rules name it: "treasury" in `@needs("treasury:2")`.
    pub id: GroupId,
    /// Security officers, in ascending order.
    pub members: Vec<MemberId>,
}

/// A file of Cedar policies, exactly as it was written and reviewed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CedarFile {
    /// The file's name below `rules/`, for messages: `hot.cedar`.
    pub name: String,
    /// Its text; at most 256 KiB.
    pub text: String,
}

/// How many members must sign what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quorums {
    /// Policy approvers, besides the author, who must sign the next bundle.
    pub policy: u16,
    /// Policy approvers, besides the author, who must sign a key ceremony.
    pub ceremony: u16,
    /// Security officers who must sign an unfreeze. Freezing takes one.
    pub unfreeze: u16,
    /// Chain observers who must sign that a transaction is confirmed or dead; 0 where there are none.
    pub observation: u16,
}

/// Bounds on time, all in seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// How far two clocks may differ; at most 60.
    pub max_clock_skew_seconds: u64,
    /// The longest life of a sign request.
    pub max_request_life_seconds: u64,
    /// The longest life of an authorization for a hot or warm wallet.
    pub max_authorization_life_seconds: u64,
    /// The longest life of an authorization for a cold wallet, whose machine people carry a package to; at most three days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cold_authorization_life_seconds: Option<u64>,
    /// The longest life of an approval.
    pub max_approval_life_seconds: u64,
    /// How long after enough nodes acknowledged it a successor waits for a veto before it counts.
    pub activation_delay_seconds: u64,
}

/// Production and test keys never mix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Environment {
    /// Real money.
    Production,
    /// Test networks, staging, demonstrations.
    Test,
}

/// Key states after NIST SP 800-57 part 1, section 7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyState {
    /// Made, not in use.
    PreActive,
    /// In use.
    Active,
    /// Out of use for a time.
    Suspended,
    /// Out of use for good.
    Deactivated,
    /// Known or suspected to others.
    Compromised,
    /// Shares erased.
    Destroyed,
}

/// A key, pinned after its ceremony: of a threshold protocol, or of an HSM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    /// The key's id.
    pub id: KeyId,
    /// Its protocol.
    pub protocol: Protocol,
    /// How many nodes sign together; 1 for an HSM key.
    pub threshold: u16,
    /// How many nodes may lie without a stop being reported wrongly; 0 for an HSM key.
    pub max_faulty: u16,
    /// The nodes that hold shares, or the machines whose tokens hold the HSM key, in ascending order.
    pub nodes: Vec<MemberId>,
    /// What the key is for.
    pub purpose: String,
    /// Where it may be used.
    pub environment: Environment,
    /// Whether it may sign.
    pub state: KeyState,
    /// The group public key of the root.
    pub group_key: PublicKey,
    /// The BIP-32 chain code of the root, for secp256k1 keys of a threshold protocol.
    pub chain_code: Option<ChainCode>,
    /// Hash of the transcript's content, signed by all nodes.
    pub transcript: Hash,
}

/// What keeps a wallet's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WalletTier {
    /// A threshold key on signer nodes that are online.
    Hot,
    /// A key in an HSM that is online.
    Warm,
    /// A key in an HSM on a machine with no network.
    Cold,
}

/// A wallet: a key, a derivation prefix, and the networks it is used on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wallet {
    /// The wallet's id.
    pub id: WalletId,
    /// For people; at most 128 bytes.
    pub name: String,
    /// What keeps the key.
    pub tier: WalletTier,
    /// The key.
    pub key: KeyId,
    /// The wallet's own address is at this path; its deposit addresses are below it.
    pub path: DerivationPath,
    /// The networks, in ascending order.
    pub networks: Vec<Network>,
    /// For warm and cold wallets: the online nodes of which a quorum reserves and confirms each spend, because the machine with
    /// the HSM signs alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger_group: Option<LedgerGroupId>,
    /// For cold wallets: how many operators must each agree with a key of their own at the offline machine; none: whoever
    /// has the token's PIN is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offline_operators: Option<u16>,
}

/// An asset the organisation uses. Its decimals are pinned here and must equal the built-in registry's where that knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssetRecord {
    /// The asset (CAIP-19).
    pub asset: AssetId,
    /// The symbol, for people.
    pub symbol: String,
    /// Decimals of the display unit.
    pub decimals: u8,
}

/// A destination that was checked and given a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddressBookEntry {
    /// For people and rules; at most 128 bytes.
    pub label: String,
    /// The network.
    pub network: Network,
    /// The address.
    pub address: Address,
    /// Not to be used before this time.
    pub active_from: Timestamp,
}

/// Where a rule lets money go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "to", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Destinations {
    /// Any active entry of the address book.
    AddressBook,
    /// The active address book entries with these labels.
    Labels {
        /// In ascending order.
        labels: Vec<String>,
    },
    /// Anywhere.
    Any,
}

/// The kinds of transaction that a transfer rule can allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TransferKind {
    /// The network's own coin.
    NativeTransfer,
    /// A token's `transfer`.
    TokenTransfer,
}

impl KeyState {
    /// Whether the key has ended for good.
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            KeyState::Deactivated | KeyState::Compromised | KeyState::Destroyed
        )
    }

    /// Whether a key in this state may be in state `next` under the next bundle: nothing returns to before its first use,
    /// and what has ended only ends further.
    pub fn may_become(self, next: KeyState) -> bool {
        match self {
            KeyState::PreActive => true,
            KeyState::Active | KeyState::Suspended => next != KeyState::PreActive,
            KeyState::Deactivated | KeyState::Compromised | KeyState::Destroyed => next >= self,
        }
    }
}

impl TransferKind {
    /// The transfer kind of a decoded transaction, if it is one.
    pub const fn of(kind: &IntentKind) -> Option<Self> {
        match kind {
            IntentKind::NativeTransfer => Some(Self::NativeTransfer),
            IntentKind::TokenTransfer => Some(Self::TokenTransfer),
            IntentKind::TokenTransferFrom
            | IntentKind::TokenApprove
            | IntentKind::ContractCall(_)
            | IntentKind::OtherContract { .. } => None,
        }
    }
}

/// Allows one wallet, on request of certain services, to move one asset up to a cap per transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransferRule {
    /// The rule's id.
    pub id: RuleId,
    /// The wallet that pays.
    pub wallet: WalletId,
    /// The payment services that may ask, in ascending order.
    pub initiators: Vec<MemberId>,
    /// The asset (which implies the network).
    pub asset: AssetId,
    /// The kinds of transaction, each once.
    pub kinds: BTreeSet<TransferKind>,
    /// Where to.
    pub destinations: Destinations,
    /// The most that one transaction may move, in base units.
    pub max_amount: Amount,
    /// Whose approvals it needs; none: it is allowed without anybody looking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs: Option<Needs>,
}

/// The most that one transaction on a network may cost and how long it may live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeeCap {
    /// The network.
    pub network: Network,
    /// In base units of the native coin.
    pub max_fee: Amount,
    /// For networks whose transactions carry an expiration (Tron): the longest time to it, in seconds.
    pub max_lifetime_seconds: Option<u64>,
}

/// One version of the policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyBundle {
    /// From 1, without gaps.
    pub version: u64,
    /// Digest of the version before; none in the genesis.
    pub predecessor: Option<Hash>,
    /// Other successors of the same predecessor that were acknowledged by some nodes and block each other: this version
    /// takes their place. In ascending order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub supersedes: Vec<Hash>,
    /// The organisation; at most 128 bytes.
    pub organisation: String,
    /// Members by ascending id.
    pub members: Vec<Member>,
    /// Approval groups by ascending id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Group>,
    /// What WebAuthn assertions must say; without it none counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webauthn: Option<WebAuthnPolicy>,
    /// Quorums for what follows this version.
    pub quorums: Quorums,
    /// Bounds on time.
    pub timing: Timing,
    /// Keys by ascending id.
    pub keys: Vec<KeyRecord>,
    /// Wallets by ascending id.
    pub wallets: Vec<Wallet>,
    /// Assets by ascending id.
    pub assets: Vec<AssetRecord>,
    /// Known destinations.
    pub address_book: Vec<AddressBookEntry>,
    /// What is allowed; everything else is not.
    pub rules: Vec<TransferRule>,
    /// Cedar policies, by ascending name: they permit what no transfer rule does, and forbid whatever they forbid.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cedar: Vec<CedarFile>,
    /// Nodes that keep ledgers together, by ascending id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ledger_groups: Vec<LedgerGroup>,
    /// Cumulative limits, by ascending id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Limit>,
    /// How far nonces may run ahead of what chain observers saw, by ascending id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nonce_leads: Vec<NonceLead>,
    /// Reference prices, for limits across assets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Reference>,
    /// One per network that is used.
    pub fee_caps: Vec<FeeCap>,
}

impl Body for PolicyBundle {
    const KIND: Kind = Kind::PolicyBundle;

    fn check(&self) -> Result<(), String> {
        match (self.version, self.predecessor) {
            (1, None) => Ok(()),
            (2.., Some(_)) => Ok(()),
            _ => Err("version 1 has no predecessor, every other version names one".into()),
        }
    }
}
