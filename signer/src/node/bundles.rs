//! The chain of policy bundles that this node follows, and the successors it stands behind.
//!
//! A successor is proposed, acknowledged durably, and followed once enough nodes have confirmed it after the delay
//! ([`Succession`]). Acknowledgements and vetoes come with calls and from peers; once a second the node does what is due.

mod kept;
mod restore;
mod transcripts;

use kept::{candidate, own_ack};
use tokio::sync::Mutex;

use countersign_policy::bundle::{
    Activatable, ActivationEvidence, ActiveBundle, BundleChain, ChainError, EvidenceError, Pending,
    Succession, SuccessionError,
};
use countersign_policy::statement::{self, AckStage, Kind, Statement};
use countersign_policy::{Envelope, Hash};
use rand_core::OsRng;

use crate::clock::{end_of_time, now};
use crate::gate::store_fault;
use crate::net::BundleHandle;
use crate::plain::explained;
use crate::session::EngineParts;
use crate::store::{Effect, NewStatement, OpError, Store};
use crate::wire::{ActivateBundle, BundleAck, Bundles, Problem, ProblemCode, SubmitBundle};

/// The chain, and the handle everybody reads the newest bundle from.
#[derive(Debug)]
pub struct FollowedChain {
    followed: Mutex<Followed>,
    handle: BundleHandle,
}

#[derive(Debug)]
struct Followed {
    chain: BundleChain,
    succession: Succession,
}

fn refused(error: &dyn std::error::Error) -> Problem {
    ProblemCode::Bundle.problem(explained(error))
}

impl FollowedChain {
    /// Verifies the stored chain anew from the pinned genesis; a store without one begins there. What the store kept about
    /// successors and freezes counts again.
    ///
    /// # Errors
    /// When something stored does not verify: the store was changed, or the genesis hash is another.
    pub async fn open(store: &Store, genesis: &Envelope, pinned: Hash) -> Result<Self, Problem> {
        let refuse = |e: ChainError| refused(&e);
        let mut chain = BundleChain::from_genesis(genesis, pinned).map_err(refuse)?;
        let stored = store.bundles().await.map_err(|e| store_fault(&e))?;
        if stored.is_empty() {
            accept(store, chain.active()).await?;
        }
        for (i, envelope) in stored.iter().enumerate() {
            if i == 0 && envelope.digest() != pinned {
                return Err(ProblemCode::Bundle
                    .problem("the store follows another genesis than the configuration pins"));
            }
            if i > 0 {
                chain.append(envelope, now()).map_err(refuse)?;
            }
        }
        count_by(store, chain.active()).await?;
        let kept = store.statements().await.map_err(|e| store_fault(&e))?;
        let freezes = restore::freezes(&chain, &kept)?;
        store
            .restore_freezes(freezes)
            .await
            .map_err(|e| store_fault(&e))?;
        let succession = restore::succession(&chain, store.node(), &kept);
        let handle = BundleHandle::new(chain.active().clone());
        Ok(Self {
            followed: Mutex::new(Followed { chain, succession }),
            handle,
        })
    }

    /// Where to read the newest bundle.
    pub fn handle(&self) -> BundleHandle {
        self.handle.clone()
    }

    /// The bundles from the newest to the oldest.
    pub async fn newest_first(&self) -> Vec<ActiveBundle> {
        let followed = self.followed.lock().await;
        followed.chain.links().iter().rev().cloned().collect()
    }

    /// The chain as it stands, and what may come next.
    pub async fn show(&self, store: &Store) -> Result<Bundles, Problem> {
        let followed = self.followed.lock().await;
        let active = followed.chain.active();
        let candidate = match followed.succession.acknowledged() {
            Some(digest) => candidate(store, &followed.succession, digest).await?,
            None => None,
        };
        let links = followed.chain.links().iter();
        let kept = store.statements().await.map_err(|e| store_fault(&e))?;
        let acks = kept.into_iter().filter(|s| s.kind == Kind::BundleAck);
        Ok(Bundles {
            acks: acks.map(|s| s.envelope).collect(),
            active: active.digest(),
            version: active.content().version,
            chain: links.map(|link| link.envelope().clone()).collect(),
            candidate,
        })
    }

    /// Stands behind a successor, durably, or refuses it. The active bundle is acknowledged again.
    ///
    /// # Errors
    /// A fork, gap or rollback; missing signatures; another successor that this one does not supersede; a new key whose
    /// transcripts are incomplete or differ from what this node itself signed.
    pub async fn propose(
        &self,
        parts: &EngineParts,
        call: SubmitBundle,
    ) -> Result<BundleAck, Problem> {
        let mut followed = self.followed.lock().await;
        let digest = call.bundle.digest();
        // An earlier bundle of the chain is no successor, whoever brings it back.
        if followed.chain.active().digest() == digest
            && let Some(answer) = followed.already(parts, &digest).await?
        {
            return Ok(answer);
        }
        let mut succession = followed.succession.clone();
        let said = succession
            .acknowledge(&followed.chain, &call.bundle, now())
            .map_err(|e: SuccessionError| refused(&e))?;
        let active = followed.chain.active();
        let next = proposal(&succession, &digest)?;
        let transcripts =
            transcripts::check_new_keys(parts, active, next, &call.transcripts).await?;
        let version = next.content().version;
        let mut keep = with_transcripts(active, &call.bundle, &transcripts);
        let ack = match own_ack(parts, &digest, said.stage).await? {
            Some(ack) => ack,
            None => sign(parts, active, said)?,
        };
        keep.push(acknowledged(active, &ack, digest, version));
        keep_all(parts, keep).await?;
        succession
            .take_ack(&ack, now())
            .map_err(|e: SuccessionError| refused(&e))?;
        followed.succession = succession;
        self.do_what_is_due(parts, &mut followed).await?;
        Ok(BundleAck {
            node: parts.me.clone(),
            bundle: digest,
            version,
            active: followed.chain.active().digest() == digest,
            ack: Some(ack),
        })
    }

    /// Follows a successor that enough nodes have confirmed.
    ///
    /// # Errors
    /// What it still waits for, or why it is not acceptable. Acknowledgements that count are kept all the same.
    pub async fn activate(
        &self,
        parts: &EngineParts,
        call: ActivateBundle,
    ) -> Result<BundleAck, Problem> {
        let mut followed = self.followed.lock().await;
        let digest = call.bundle.digest();
        if let Some(answer) = followed.already(parts, &digest).await? {
            return Ok(answer);
        }
        let mut succession = followed.succession.clone();
        let evidence = ActivationEvidence {
            bundle: call.bundle,
            acks: call.acks,
        };
        let proof = succession.take_evidence(&followed.chain, &evidence, now());
        match proof {
            Ok(_) | Err(EvidenceError::NotEnough(_)) => {}
            Err(error) => return Err(refused(&error)),
        }
        let active = followed.chain.active();
        let next = proposal(&succession, &digest)?;
        let transcripts =
            transcripts::check_new_keys(parts, active, next, &call.transcripts).await?;
        let mut keep = with_transcripts(active, &evidence.bundle, &transcripts);
        keep.extend(
            evidence
                .acks
                .iter()
                .map(|ack| statement(Kind::BundleAck, active, ack)),
        );
        keep_all(parts, keep).await?;
        followed.succession = succession;
        self.do_what_is_due(parts, &mut followed).await?;
        if let Some(answer) = followed.already(parts, &digest).await? {
            return Ok(answer);
        }
        let waits = followed.succession.activatable(&digest, now());
        Err(match waits {
            Err(pending) => refused(&pending),
            Ok(_) => ProblemCode::Bundle.problem("the bundle could not be followed; see the log"),
        })
    }

    /// Takes a node's acknowledgement that a peer passed on.
    ///
    /// # Errors
    /// When it is no acceptable acknowledgement of a successor, or of a bundle of the chain.
    pub async fn take_ack(&self, parts: &EngineParts, ack: &Envelope) -> Result<(), Problem> {
        let mut followed = self.followed.lock().await;
        if let Some(kept) = followed.of_the_past::<statement::BundleAck>(ack, |b| b.bundle) {
            return keep_all(parts, vec![kept]).await;
        }
        let mut succession = followed.succession.clone();
        succession
            .take_ack(ack, now())
            .map_err(|e: SuccessionError| refused(&e))?;
        keep_all(
            parts,
            vec![statement(Kind::BundleAck, followed.chain.active(), ack)],
        )
        .await?;
        followed.succession = succession;
        self.do_what_is_due(parts, &mut followed).await
    }

    /// Takes a veto: what it names is not confirmed by this node from now on.
    ///
    /// # Errors
    /// When it is no acceptable veto.
    pub async fn take_veto(&self, parts: &EngineParts, veto: &Envelope) -> Result<(), Problem> {
        let mut followed = self.followed.lock().await;
        if let Some(kept) = followed.of_the_past::<statement::Veto>(veto, |b| b.bundle) {
            return keep_all(parts, vec![kept]).await;
        }
        let mut succession = followed.succession.clone();
        succession
            .take_veto(veto, now())
            .map_err(|e: SuccessionError| refused(&e))?;
        keep_all(
            parts,
            vec![statement(Kind::Veto, followed.chain.active(), veto)],
        )
        .await?;
        followed.succession = succession;
        Ok(())
    }

    /// Confirms what is due, and follows what enough nodes have confirmed. To be called once a second.
    ///
    /// # Errors
    /// A store fault.
    pub async fn tend(&self, parts: &EngineParts) -> Result<(), Problem> {
        let mut followed = self.followed.lock().await;
        self.do_what_is_due(parts, &mut followed).await
    }

    async fn do_what_is_due(
        &self,
        parts: &EngineParts,
        followed: &mut Followed,
    ) -> Result<(), Problem> {
        let mut succession = followed.succession.clone();
        if let Some(said) = succession.due(now()) {
            let active = followed.chain.active();
            let (digest, version) = (said.bundle, said.version);
            let ack = sign(parts, active, said)?;
            keep_all(parts, vec![acknowledged(active, &ack, digest, version)]).await?;
            succession
                .take_ack(&ack, now())
                .map_err(|e: SuccessionError| refused(&e))?;
            followed.succession = succession;
        }
        while let Some(proof) = followed.ready() {
            let next = proof.successor();
            // What came from a peer alone may lack its transcripts; they come with a call.
            let checked =
                transcripts::check_new_keys(parts, followed.chain.active(), next, &[]).await;
            if let Err(problem) = checked {
                tracing::warn!(bundle = %next.digest(), %problem, "a confirmed bundle cannot be followed");
                return Ok(());
            }
            self.follow(parts, followed, proof).await?;
        }
        Ok(())
    }

    async fn follow(
        &self,
        parts: &EngineParts,
        followed: &mut Followed,
        proof: Activatable,
    ) -> Result<(), Problem> {
        let next = proof.successor().clone();
        accept(&parts.store, &next).await?;
        // What is reserved from here on is counted by the new limits, also if its bundle was still the old one.
        count_by(&parts.store, &next).await?;
        followed
            .chain
            .activate(proof)
            .map_err(|e: ChainError| refused(&e))?;
        followed.succession = Succession::new(&next, Some(parts.me.clone()));
        tracing::info!(bundle = %next.digest(), version = next.content().version, "a new policy bundle is active");
        // Presignatures were made under another policy: any doubt costs only the work.
        parts.pool.drain_on_doubt(|_| true);
        self.handle.replace(next);
        Ok(())
    }
}

async fn count_by(store: &Store, bundle: &ActiveBundle) -> Result<(), Problem> {
    store.set_limits(bundle).await.map_err(|e| store_fault(&e))
}

impl Followed {
    /// The answer for a bundle of the chain.
    async fn already(
        &self,
        parts: &EngineParts,
        digest: &Hash,
    ) -> Result<Option<BundleAck>, Problem> {
        let Some(link) = self.chain.links().iter().find(|l| l.digest() == *digest) else {
            return Ok(None);
        };
        let ack = match own_ack(parts, digest, AckStage::Confirmed).await? {
            Some(ack) => Some(ack),
            None => own_ack(parts, digest, AckStage::Kept).await?,
        };
        Ok(Some(BundleAck {
            node: parts.me.clone(),
            bundle: *digest,
            version: link.content().version,
            active: true,
            ack,
        }))
    }

    /// A successor that counts.
    fn ready(&self) -> Option<Activatable> {
        let mut digests = self.succession.proposals().map(ActiveBundle::digest);
        digests.find_map(|d| self.succession.activatable(&d, now()).ok())
    }

    /// What is said about a bundle that was decided on before the active one: kept, so that nobody offers it again.
    fn of_the_past<B: statement::Body>(
        &self,
        envelope: &Envelope,
        about: impl Fn(&B) -> Hash,
    ) -> Option<NewStatement> {
        let statement: Statement<B> = serde_json::from_slice(envelope.payload()).ok()?;
        let subject = about(&statement.body);
        let links = self.chain.links();
        let position = links.iter().position(|l| l.digest() == subject)?;
        let before = links.get(position.checked_sub(1)?)?;
        let authentic = before.directory().open::<B>(envelope).is_ok();
        authentic.then(|| self::statement(B::KIND, before, envelope))
    }
}

fn proposal<'a>(succession: &'a Succession, digest: &Hash) -> Result<&'a ActiveBundle, Problem> {
    succession
        .proposals()
        .find(|p| p.digest() == *digest)
        .ok_or_else(|| refused(&Pending::Unknown(*digest)))
}

fn statement(kind: Kind, under: &ActiveBundle, envelope: &Envelope) -> NewStatement {
    NewStatement {
        kind,
        bundle: under.digest(),
        envelope: envelope.clone(),
        effect: Effect::None,
    }
}

/// The transcripts first: whoever is given them in this order has what it needs to judge the bundle.
fn with_transcripts(
    active: &ActiveBundle,
    bundle: &Envelope,
    transcripts: &[Envelope],
) -> Vec<NewStatement> {
    let transcripts = transcripts
        .iter()
        .map(|t| statement(Kind::CeremonyTranscript, active, t));
    transcripts
        .chain([statement(Kind::PolicyBundle, active, bundle)])
        .collect()
}

fn acknowledged(active: &ActiveBundle, ack: &Envelope, bundle: Hash, version: u64) -> NewStatement {
    NewStatement {
        effect: Effect::Acknowledged { bundle, version },
        ..statement(Kind::BundleAck, active, ack)
    }
}

fn sign(
    parts: &EngineParts,
    active: &ActiveBundle,
    body: statement::BundleAck,
) -> Result<Envelope, Problem> {
    Statement::new(
        active.directory().genesis(),
        parts.me.clone(),
        now(),
        end_of_time(),
        body,
        &mut OsRng,
    )
    .sign(&parts.identity)
    .map_err(|e| ProblemCode::Internal.problem(e.to_string()))
}

async fn keep_all(parts: &EngineParts, statements: Vec<NewStatement>) -> Result<(), Problem> {
    let kept = parts.store.keep(statements, now()).await;
    kept.map(|_| ()).map_err(|e| store_fault(&e))
}

async fn accept(store: &Store, bundle: &ActiveBundle) -> Result<(), Problem> {
    match store.append_bundle(bundle, now()).await {
        Ok(_) => Ok(()),
        Err(OpError::Failed(fault)) => Err(store_fault(&fault)),
        Err(OpError::Refused(refusal)) => Err(ProblemCode::Bundle.problem(refusal.to_string())),
    }
}
