//! Proposed policy bundles while their approvers sign, and what nodes acknowledged.

use std::collections::BTreeMap;

use countersign_policy::{Envelope, Hash, MemberId, Timestamp};

use super::tx::{Row, Value, to_json};
use super::{Datastore, DbError};

/// A proposal as stored.
#[derive(Debug, Clone)]
pub struct StoredProposal {
    /// Digest of the bundle statement.
    pub digest: Hash,
    /// Its version.
    pub version: u64,
    /// The bundle it follows.
    pub predecessor: Hash,
    /// Who proposed it.
    pub author: MemberId,
    /// The statement as proposed.
    pub envelope: Envelope,
    /// Transcripts of new keys.
    pub transcripts: Vec<Envelope>,
    /// When it came.
    pub created_at: Timestamp,
    /// The approvers who signed, each with an envelope that has this signature alone, and when it came.
    pub signatures: BTreeMap<MemberId, (Envelope, Timestamp)>,
}

impl Datastore {
    /// Keeps a proposal whose author's signature was verified. False when it is known.
    pub(crate) async fn add_proposal(&self, proposal: &StoredProposal) -> Result<bool, DbError> {
        self.run_tx("add_proposal", &(proposal,), |tx, &(proposal,)| {
            Box::pin(async move {
                let now = tx.now().await?;
                let inserted = tx
                    .execute(
                        "INSERT INTO proposals (digest, version, predecessor, author, envelope, transcripts, created_at) \
                         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
                        &[
                            Value::Text(&proposal.digest.to_hex()),
                            Value::Int(i64::try_from(proposal.version).map_err(DbError::corrupt)?),
                            Value::Text(&proposal.predecessor.to_hex()),
                            Value::Text(proposal.author.as_str()),
                            Value::Text(&to_json(&proposal.envelope)?),
                            Value::Text(&to_json(&proposal.transcripts)?),
                            Value::Int(now),
                        ],
                    )
                    .await?;
                Ok(inserted > 0)
            })
        })
        .await
    }

    /// Keeps a verified signature of an approver. The first one of a member stays.
    pub(crate) async fn add_proposal_signature(
        &self,
        digest: Hash,
        member: &MemberId,
        signature: &Envelope,
    ) -> Result<bool, DbError> {
        self.run_tx(
            "add_proposal_signature",
            &(digest, member, signature),
            |tx, &(digest, member, signature)| {
                Box::pin(async move {
                    let now = tx.now().await?;
                    let inserted = tx
                        .execute(
                            "INSERT INTO proposal_signatures (digest, member, envelope, created_at) \
                             VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
                            &[
                                Value::Text(&digest.to_hex()),
                                Value::Text(member.as_str()),
                                Value::Text(&to_json(signature)?),
                                Value::Int(now),
                            ],
                        )
                        .await?;
                    Ok(inserted > 0)
                })
            },
        )
        .await
    }

    /// One proposal with its signatures.
    pub async fn proposal(&self, digest: Hash) -> Result<Option<StoredProposal>, DbError> {
        let all = self.proposals_above(0, Some(digest)).await?;
        Ok(all.into_iter().next())
    }

    /// The proposals above `version`, oldest first; with `only`, that one.
    pub async fn proposals_above(
        &self,
        version: u64,
        only: Option<Hash>,
    ) -> Result<Vec<StoredProposal>, DbError> {
        let version = i64::try_from(version).map_err(DbError::corrupt)?;
        self.run_read("proposals", &(version, only), |tx, &(version, only)| {
            Box::pin(async move {
                let only = only.map(|digest| digest.to_hex());
                let sql = "SELECT digest, version, predecessor, author, envelope, transcripts, created_at FROM proposals \
                           WHERE version > $1 AND (CAST($2 AS TEXT) IS NULL OR digest = $2) ORDER BY version, created_at, digest";
                let rows = tx
                    .query(sql, &[Value::Int(version), Value::OptText(only.as_deref())])
                    .await?;
                let mut proposals = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
                for proposal in &mut proposals {
                    let sql = "SELECT member, envelope, created_at FROM proposal_signatures WHERE digest = $1";
                    let rows = tx.query(sql, &[Value::Text(&proposal.digest.to_hex())]).await?;
                    for row in &rows {
                        let at = Timestamp::from_millis(row.int("created_at")?);
                        proposal
                            .signatures
                            .insert(row.parse("member")?, (row.json("envelope")?, at));
                    }
                }
                Ok(proposals)
            })
        })
        .await
    }

    /// Keeps acknowledgements of a bundle, each by its node.
    pub(crate) async fn store_bundle_acks(
        &self,
        digest: Hash,
        acks: &[(MemberId, Envelope)],
    ) -> Result<(), DbError> {
        if acks.is_empty() {
            return Ok(());
        }
        self.run_tx(
            "store_bundle_acks",
            &(digest, acks),
            |tx, &(digest, acks)| {
                Box::pin(async move {
                    let now = tx.now().await?;
                    for (node, ack) in acks {
                        tx.execute(
                        "INSERT INTO bundle_acks (digest, statement, node, envelope, created_at) \
                         VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
                        &[
                            Value::Text(&digest.to_hex()),
                            Value::Text(&ack.digest().to_hex()),
                            Value::Text(node.as_str()),
                            Value::Text(&to_json(ack)?),
                            Value::Int(now),
                        ],
                    )
                    .await?;
                    }
                    Ok(())
                })
            },
        )
        .await
    }

    /// The acknowledgements of a bundle, oldest first.
    pub async fn bundle_acks(&self, digest: Hash) -> Result<Vec<Envelope>, DbError> {
        self.run_read("bundle_acks", &(digest,), |tx, &(digest,)| {
            Box::pin(async move {
                let sql = "SELECT envelope FROM bundle_acks WHERE digest = $1 ORDER BY created_at, statement";
                let rows = tx.query(sql, &[Value::Text(&digest.to_hex())]).await?;
                rows.iter().map(|row| row.json("envelope")).collect()
            })
        })
        .await
    }
}

fn read(row: &Row) -> Result<StoredProposal, DbError> {
    Ok(StoredProposal {
        digest: row.parse("digest")?,
        version: u64::try_from(row.int("version")?).map_err(DbError::corrupt)?,
        predecessor: row.parse("predecessor")?,
        author: row.parse("author")?,
        envelope: row.json("envelope")?,
        transcripts: row.json("transcripts")?,
        created_at: Timestamp::from_millis(row.int("created_at")?),
        signatures: BTreeMap::new(),
    })
}
