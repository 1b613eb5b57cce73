//! The machine: what it trusts, what it remembers, and the way from a package to a signature.

use std::path::PathBuf;
use std::sync::Arc;

use countersign_policy::bundle::BundleChain;
use countersign_policy::cold::{self, MachineAnswer, OpenedPackage, ResponsePackage, Trust};
use countersign_policy::statement::{Statement, StatementError};
use countersign_policy::{Envelope, Hash, IdentityKey, MemberId, Signature, Timestamp};
use rand_core::OsRng;

use super::Refusal;
use super::answers::Answers;
use crate::ceremony::make_in_token;
use crate::gate::{self, Admitted, ReservedSpend};
use crate::store::{Cause, NewRecord, OpError, Record, Store, StoreError};
use crate::token::TokenKeys;
use crate::wire::{Prepare, ProblemCode};

/// What a machine works with.
#[derive(Debug)]
pub struct MachineParts {
    /// This machine.
    pub me: MemberId,
    /// Its statement key, which signs its ledger.
    pub identity: Arc<IdentityKey>,
    /// Its store, opened for it and the genesis.
    pub store: Store,
    /// The pinned genesis hash.
    pub genesis: Hash,
    /// Where its answers are kept.
    pub answers: PathBuf,
}

/// The machine with no network.
#[derive(Debug)]
pub struct Machine {
    me: MemberId,
    identity: Arc<IdentityKey>,
    store: Store,
    genesis: Hash,
    answers: Answers,
    chain: Option<BundleChain>,
}

/// A package in which this machine found nothing wrong, and everything that a person must see before they agree. Built by
/// [`Machine::examine`] alone.
#[derive(Debug)]
pub struct Examined {
    package: OpenedPackage,
    admitted: Admitted,
    answered: Option<ResponsePackage>,
}

/// A person read what is shown of an [`Examined`] package and said yes to that very package.
#[derive(Debug)]
pub struct Confirmed {
    package: Hash,
}

impl Confirmed {
    /// What was typed must be the first eight digits of the package's digest: a yes to something else, or to nothing that was
    /// read, is none.
    pub fn by_typing(examined: &Examined, typed: &str) -> Option<Self> {
        let digest = examined.package.digest();
        let expected = digest.to_hex();
        let same = expected.get(..8).is_some_and(|start| start == typed.trim());
        same.then_some(Self { package: digest })
    }
}

impl Examined {
    /// The package.
    pub fn package(&self) -> &OpenedPackage {
        &self.package
    }

    /// What the gate admitted: facts, decision, approvals.
    pub fn admitted(&self) -> &Admitted {
        &self.admitted
    }

    /// This machine's answer, when it signed this very package before: it is given again, and nothing is signed.
    pub fn answered(&self) -> Option<&ResponsePackage> {
        self.answered.as_ref()
    }
}

impl Machine {
    /// Reads back what the machine remembers, from its pinned genesis, and aborts what an earlier process left open.
    ///
    /// # Errors
    /// [`Refusal`]: a chain that does not verify, or a store that failed.
    pub async fn open(parts: MachineParts, now: Timestamp) -> Result<Self, Refusal> {
        let answers = Answers::open(&parts.answers)?;
        let mut chain: Option<BundleChain> = None;
        for envelope in parts.store.bundles().await? {
            match &mut chain {
                None => {
                    let first = BundleChain::from_genesis(&envelope, parts.genesis);
                    chain = Some(first.map_err(Refusal::OwnChain)?);
                }
                // The acknowledgements were checked when it was taken; the clock may have been set back since.
                Some(chain) => {
                    let at = now.max(parts.store.time_floor()?);
                    chain.append(&envelope, at).map_err(Refusal::OwnChain)?;
                }
            }
        }
        if let Some(chain) = &chain {
            parts.store.set_limits(chain.active()).await?;
        }
        for open in parts.store.open_sessions().await? {
            // A refusal means that it ended already.
            match parts
                .store
                .abort(open.session, "the machine restarted", now)
                .await
            {
                Ok(_) | Err(OpError::Refused(_)) => {}
                Err(OpError::Failed(fault)) => return Err(fault.into()),
            }
        }
        Ok(Self {
            me: parts.me,
            identity: parts.identity,
            store: parts.store,
            genesis: parts.genesis,
            answers,
            chain,
        })
    }

    /// The policy version that it follows; 0 before its first package.
    pub fn bundle_version(&self) -> u64 {
        let active = self.chain.as_ref().map(BundleChain::active);
        active.map_or(0, |active| active.content().version)
    }

    /// Opens a package and decides about it. Nothing is changed, signed or promised.
    ///
    /// # Errors
    /// [`Refusal`]: the first check that failed.
    pub fn examine(&self, bytes: &[u8], now: Timestamp) -> Result<Examined, Refusal> {
        let trust = Trust {
            me: &self.me,
            genesis: self.genesis,
            known: self.chain.as_ref(),
        };
        let package = cold::open(bytes, &trust, now)?;
        let floor = self.store.time_floor()?;
        let skew = package.chain().active().skew_seconds();
        if now.plus_seconds(skew) < floor {
            return Err(Refusal::Clock { now, floor });
        }
        let answered = self.answers.of(&package.request().digest())?;
        if let Some(earlier) = &answered
            && earlier.answers != package.digest()
        {
            return Err(Refusal::AlreadySigned {
                request: earlier.request,
                package: earlier.answers,
            });
        }
        let content = package.package();
        let call = Prepare {
            authorization: content.authorization.clone(),
            request: content.request.clone(),
            approvals: content.approvals.clone(),
        };
        let bundle = Arc::new(package.chain().active().clone());
        let admitted = gate::admit(&bundle, &self.me, &call, package.freezes(), now)?;
        Ok(Examined {
            package,
            admitted,
            answered,
        })
    }

    /// Signs what was examined and agreed to: follows the package's policy, reserves the spend in this machine's own ledger,
    /// releases it there, asks the token, verifies, and keeps the answer. A package that was signed before gives the same
    /// answer again.
    ///
    /// # Errors
    /// [`Refusal`]. Before the release nothing can have been signed; afterwards only the same package could go on, and does not:
    /// it is exported anew.
    pub async fn sign(
        &mut self,
        examined: Examined,
        confirmed: Confirmed,
        consents: &[Envelope],
        tokens: &TokenKeys,
        now: Timestamp,
    ) -> Result<ResponsePackage, Refusal> {
        let Examined {
            package,
            admitted,
            answered,
        } = examined;
        if confirmed.package != package.digest() {
            let other = ProblemCode::Forbidden.problem("the yes was to another package");
            return Err(other.into());
        }
        if let Some(answered) = answered {
            return Ok(answered);
        }
        package.require_consents(consents, now)?;
        let key = admitted.key().clone();
        let asked = (tokens.clone(), key.clone());
        // A token without the key must show before anything is promised.
        blocking(move || asked.0.require(&asked.1)).await??;
        self.follow(package.chain(), now).await?;
        self.store.raise_time_floor(package.newest_signed()).await?;
        let spend = match gate::reserve(&self.store, &self.identity, admitted, now).await {
            Ok(spend) => spend,
            Err(problem) => return Err(self.refused(&package, problem.into(), now).await),
        };
        let released = match spend.release_offline(&self.store, &package, now).await {
            Ok(released) => released,
            Err(problem) => {
                spend.abort(&self.store, &problem.kind, now).await?;
                return Err(self.refused(&package, problem.into(), now).await);
            }
        };
        let (tokens, preimage) = (tokens.clone(), spend.preimage());
        let signature = blocking(move || tokens.sign(&key, &preimage, released)).await??;
        require_whole(&spend, &signature)?;
        let answer = self.answer(&package, signature).await?;
        self.answers.keep(&answer)?;
        self.note(&package, "signed", format!("by {}", self.me), now)
            .await?;
        Ok(answer)
    }

    /// Makes the key of a quorum's order in the token, and signs the transcript that a bundle pins it with.
    ///
    /// # Errors
    /// An order that is not acceptable under the newest policy, or a token that refuses.
    pub async fn make_key(
        &mut self,
        bytes: &[u8],
        tokens: &TokenKeys,
        now: Timestamp,
    ) -> Result<Envelope, Refusal> {
        let trust = Trust {
            me: &self.me,
            genesis: self.genesis,
            known: self.chain.as_ref(),
        };
        let (chain, order) = cold::open_order(bytes, &trust, now)?;
        let floor = self.store.time_floor()?;
        if now.plus_seconds(chain.active().skew_seconds()) < floor {
            return Err(Refusal::Clock { now, floor });
        }
        self.follow(&chain, now).await?;
        let (tokens, me, digest) = (tokens.clone(), self.me.clone(), order.digest());
        let made = blocking(move || make_in_token(&tokens, &order, &me)).await?;
        let transcript = made.map_err(|e| ProblemCode::Protocol.problem(e.to_string()))?;
        let statement = Statement::new(
            self.genesis,
            self.me.clone(),
            now,
            crate::clock::end_of_time(),
            transcript,
            &mut OsRng,
        );
        let internal = |e: StatementError| ProblemCode::Internal.problem(e.to_string());
        let envelope = statement.sign(&self.identity).map_err(internal)?;
        let record = NewRecord {
            at: now,
            operation: "cold-key".to_owned(),
            subject: digest.to_string(),
            outcome: "made".to_owned(),
            detail: format!("transcript {}", envelope.digest()),
            cause: Cause::Happened,
        };
        self.store.note(record).await?;
        Ok(envelope)
    }

    /// The newest entries of its journal, newest first.
    ///
    /// # Errors
    /// A store that failed.
    pub async fn journal(&self, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.store.records(limit).await
    }

    /// Writes what is not on disk yet (the journal's newest lines) and frees the store. Every command ends with it.
    pub async fn close(&self) {
        self.store.close().await;
    }

    /// Its own ledger: signed, chained entries, oldest first. They prove to others what it released.
    ///
    /// # Errors
    /// A store that failed.
    pub async fn ledger(&self) -> Result<Vec<Envelope>, StoreError> {
        let mut all: Vec<Envelope> = Vec::new();
        loop {
            let more = self.store.entries_after(all.len() as u64, 1_000).await?;
            if more.is_empty() {
                return Ok(all);
            }
            all.extend(more);
        }
    }

    /// Follows the bundles that the package brought, durably: the machine never goes back.
    async fn follow(&mut self, chain: &BundleChain, now: Timestamp) -> Result<(), Refusal> {
        for link in chain.links() {
            match self.store.append_bundle(link, now).await {
                Ok(_) => {}
                Err(OpError::Failed(fault)) => return Err(fault.into()),
                Err(OpError::Refused(refusal)) => {
                    return Err(ProblemCode::Bundle.problem(refusal.to_string()).into());
                }
            }
        }
        self.store.set_limits(chain.active()).await?;
        self.chain = Some(chain.clone());
        Ok(())
    }

    async fn answer(
        &self,
        package: &OpenedPackage,
        signature: Signature,
    ) -> Result<ResponsePackage, Refusal> {
        let head = self.store.head()?.sequence;
        let released = self.store.entries_after(head.saturating_sub(1), 1).await?;
        let released = released.into_iter().next();
        let released = released.ok_or(StoreError::Internal("the release is not in the ledger"))?;
        Ok(self.response(
            package,
            MachineAnswer::Signed {
                signature,
                released,
            },
        ))
    }

    /// The response that says no, for whoever waits on the other side.
    pub fn refusal_response(&self, package: &OpenedPackage, refusal: &Refusal) -> ResponsePackage {
        let outcome = MachineAnswer::Refused {
            code: refusal.code().to_owned(),
            detail: refusal.line(),
        };
        self.response(package, outcome)
    }

    fn response(&self, package: &OpenedPackage, outcome: MachineAnswer) -> ResponsePackage {
        ResponsePackage {
            package: ResponsePackage::kind(),
            version: cold::VERSION,
            genesis: self.genesis,
            answers: package.digest(),
            request: package.request().digest(),
            session: package.terms().session,
            machine: self.me.clone(),
            bundle_version: self.bundle_version(),
            outcome,
        }
    }

    /// Writes a refusal into the journal and gives it back.
    async fn refused(&self, package: &OpenedPackage, why: Refusal, now: Timestamp) -> Refusal {
        let outcome = format!("refused/{}", why.code());
        match self.note(package, &outcome, why.line(), now).await {
            Ok(()) => why,
            Err(fault) => fault,
        }
    }

    async fn note(
        &self,
        package: &OpenedPackage,
        outcome: &str,
        detail: String,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let record = NewRecord {
            at: now,
            operation: "cold-sign".to_owned(),
            subject: package.request().digest().to_string(),
            outcome: outcome.to_owned(),
            detail: format!("package {}; {detail}", package.digest()),
            cause: Cause::Happened,
        };
        self.store.note(record).await?;
        Ok(())
    }
}

/// I4: the signature makes the transaction that was decoded, by the key that was pinned.
fn require_whole(spend: &ReservedSpend, signature: &Signature) -> Result<(), Refusal> {
    let facts = spend.admitted().facts();
    let assembled = facts.transaction().assemble(signature, facts.public_key());
    match assembled {
        Ok(_) => Ok(()),
        Err(error) => Err(ProblemCode::Internal
            .problem(format!("the token's signature does not fit: {error}"))
            .into()),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(|_| {
        ProblemCode::Internal
            .problem("the token's backend stopped unexpectedly")
            .into()
    })
}
