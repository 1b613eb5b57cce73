//! What travels by itself: freezes, unfreezes, vetoes and acknowledgements, given to any node and spread between nodes.

use serde::{Deserialize, Serialize};

use countersign_policy::{Envelope, Hash, MemberId};

/// One self-authenticating statement: a freeze, an unfreeze or a veto, as the path says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GiveStatement {
    /// The statement as it was signed.
    pub statement: Envelope,
}

/// The node holds the statement durably, and acts on it from now on.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatementTaken {
    /// The node.
    pub node: MemberId,
    /// Digest of the statement.
    pub digest: Hash,
    /// For a freeze or unfreeze: the node's signed ledger entry that records it. Repeating the call gives the same one.
    pub entry: Option<Envelope>,
    /// The name of the set of freezes in force on the node now; [`Hash::ZERO`] for none.
    pub freeze_head: Hash,
}

/// The freezes in force on a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Freezes {
    /// The name of the set; [`Hash::ZERO`] for none. Nodes whose heads differ do not sign together.
    pub head: Hash,
    /// The freeze statements in force, by digest. An unfreeze names these digests.
    pub in_force: Vec<Envelope>,
}

/// A peer gives what it knows, and asks for what it lacks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExchangeStatements {
    /// Digests of all statements of the sender that travel, in ascending order; none when it only gives.
    pub held: Option<Vec<Hash>>,
    /// Statements for the recipient.
    pub statements: Vec<Envelope>,
}

/// The other half of the exchange.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatementsExchanged {
    /// Digests that the sender named and the recipient lacks.
    pub wanted: Vec<Hash>,
    /// Statements that the recipient holds and the sender did not name; not more than fit.
    pub statements: Vec<Envelope>,
    /// Given statements that the recipient does not accept, with the reason.
    pub refused: Vec<RefusedStatement>,
}

/// A statement that was not accepted.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusedStatement {
    /// Its digest.
    pub digest: Hash,
    /// Why, for people.
    pub reason: String,
}
