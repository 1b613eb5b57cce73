//! From a package's bytes to what the machine believes.

use std::collections::BTreeSet;

use super::chain::follow;
use super::witnesses::{self, Said};
use super::{PackageError, RequestPackage};
use crate::approvals::ApprovalTally;
use crate::bundle::{ActiveBundle, BundleChain, Role};
use crate::envelope::Envelope;
use crate::freeze::FreezeSet;
use crate::hash::Hash;
use crate::id::MemberId;
use crate::statement::{Approval, Authorization, Body, SessionTerms, SignRequest, Verified};
use crate::time::Timestamp;

/// What a machine trusts: the genesis that it pins, and the chain that it followed before.
#[derive(Debug, Clone, Copy)]
pub struct Trust<'a> {
    /// This machine.
    pub me: &'a MemberId,
    /// The pinned genesis hash.
    pub genesis: Hash,
    /// The chain that it followed before; none at its first package.
    pub known: Option<&'a BundleChain>,
}

/// A package whose statements were all verified, and in which a quorum of online nodes agrees about one session. Built by
/// [`open`] alone.
///
/// Whether policy allows the request is not said by this: the gate decides, with [`decide`](crate::decide) as everywhere.
#[derive(Debug, Clone)]
pub struct OpenedPackage {
    package: RequestPackage,
    digest: Hash,
    machine: MemberId,
    chain: BundleChain,
    authorization: Verified<Authorization>,
    request: Verified<SignRequest>,
    freezes: FreezeSet,
    terms: SessionTerms,
    newest: Timestamp,
    cleared_at: Timestamp,
}

/// Opens a package: its form, the bundle chain, every signature, and that a quorum of witnesses reserved and cleared exactly
/// this. The machine's clock may not be behind anything that was signed.
///
/// # Errors
/// [`PackageError`]: the first check that failed.
pub fn open(
    bytes: &[u8],
    trust: &Trust<'_>,
    now: Timestamp,
) -> Result<OpenedPackage, PackageError> {
    let package = RequestPackage::from_bytes(bytes)?;
    if package.genesis != trust.genesis {
        return Err(PackageError::Genesis {
            found: package.genesis,
            pinned: trust.genesis,
        });
    }
    let chain = follow(trust, &package.chain, now)?;
    let bundle = chain.active();
    let mut newest = Newest::default();
    newest.take("the policy bundle", bundle.issued_at());
    let authorization: Verified<Authorization> =
        opened(bundle, &package.authorization, "authorization")?;
    newest.take("the authorization", authorization.statement().issued_at);
    let active = bundle.digest();
    if authorization.body().bundle != active {
        return Err(PackageError::OtherBundle {
            found: authorization.body().bundle,
            active,
        });
    }
    let request: Verified<SignRequest> = opened(bundle, &package.request, "sign request")?;
    newest.take("the sign request", request.statement().issued_at);
    if authorization.body().request != request.digest() {
        return Err(PackageError::OtherRequest);
    }
    require_machine(bundle, &authorization, &request, trust.me)?;
    for (index, approval) in package.approvals.iter().enumerate() {
        let approval: Verified<Approval> = opened(bundle, approval, &format!("approval {index}"))?;
        newest.take("an approval", approval.statement().issued_at);
    }
    let freezes = open_freezes(&chain, &package.freezes, &mut newest)?;
    let said = witnesses::agree(bundle, &authorization, &request, &package, &freezes)?;
    let Said {
        terms,
        receipts,
        confirms,
    } = said;
    newest.take("a receipt", receipts);
    newest.take("a confirm", confirms);
    newest.require_past(bundle.skew_seconds(), now)?;
    Ok(OpenedPackage {
        digest: Hash::sha256(bytes),
        machine: trust.me.clone(),
        chain,
        authorization,
        request,
        freezes,
        terms,
        newest: newest.at,
        cleared_at: confirms,
        package,
    })
}

pub(super) fn opened<B: Body>(
    bundle: &ActiveBundle,
    envelope: &Envelope,
    what: &str,
) -> Result<Verified<B>, PackageError> {
    bundle
        .directory()
        .open(envelope)
        .map_err(|source| PackageError::Statement {
            what: what.to_owned(),
            source,
        })
}

/// The wallet is cold, and this machine is the one that is to sign.
fn require_machine(
    bundle: &ActiveBundle,
    authorization: &Verified<Authorization>,
    request: &Verified<SignRequest>,
    me: &MemberId,
) -> Result<(), PackageError> {
    let key = bundle.key(&request.body().key);
    if !key.is_some_and(|key| bundle.is_offline(key)) {
        return Err(PackageError::NotCold(request.body().wallet.clone()));
    }
    let named = &authorization.body().participants;
    let mine = key.is_some_and(|k| k.nodes.contains(me)) && bundle.has_role(me, Role::OfflineNode);
    if !mine || named.as_slice() != std::slice::from_ref(me) {
        return Err(PackageError::OtherMachine {
            named: named.clone(),
            me: me.clone(),
        });
    }
    Ok(())
}

/// A freeze may be older than the newest bundle, and its officer no member any more: it counts as it counts on the nodes.
fn open_freezes(
    chain: &BundleChain,
    envelopes: &[Envelope],
    newest: &mut Newest,
) -> Result<FreezeSet, PackageError> {
    let mut freezes = FreezeSet::default();
    let mut seen = BTreeSet::new();
    for envelope in envelopes {
        if !seen.insert(envelope.digest()) {
            continue;
        }
        let mut opened = chain.active().open_freeze(envelope);
        for link in chain.links().iter().rev() {
            if opened.is_ok() {
                break;
            }
            opened = link.open_freeze(envelope);
        }
        let freeze = opened?;
        newest.take("a freeze", freeze.statement().issued_at);
        freezes.insert(&freeze);
    }
    Ok(freezes)
}

/// The newest time that somebody signed.
struct Newest {
    at: Timestamp,
    what: &'static str,
}

impl Default for Newest {
    fn default() -> Self {
        Self {
            at: Timestamp::from_millis(0),
            what: "nothing",
        }
    }
}

impl Newest {
    fn take(&mut self, what: &'static str, at: Timestamp) {
        if at > self.at {
            *self = Self { at, what };
        }
    }

    fn require_past(&self, skew: u64, now: Timestamp) -> Result<(), PackageError> {
        if self.at <= now.plus_seconds(skew) {
            return Ok(());
        }
        Err(PackageError::ClockBehind {
            what: self.what.to_owned(),
            signed: self.at,
            now,
        })
    }
}

impl OpenedPackage {
    /// The package.
    pub fn package(&self) -> &RequestPackage {
        &self.package
    }

    /// SHA-256 of its bytes: its name, on the screens of both machines.
    pub fn digest(&self) -> Hash {
        self.digest
    }

    /// The machine that it is for.
    pub fn machine(&self) -> &MemberId {
        &self.machine
    }

    /// The chain with what the package added to it.
    pub fn chain(&self) -> &BundleChain {
        &self.chain
    }

    /// The authorization.
    pub fn authorization(&self) -> &Verified<Authorization> {
        &self.authorization
    }

    /// The sign request.
    pub fn request(&self) -> &Verified<SignRequest> {
        &self.request
    }

    /// The freezes that all witnesses held.
    pub fn freezes(&self) -> &FreezeSet {
        &self.freezes
    }

    /// What the witnesses agreed to.
    pub fn terms(&self) -> &SessionTerms {
        &self.terms
    }

    /// The newest time in it that somebody signed: the machine's clock is never below it again.
    pub fn newest_signed(&self) -> Timestamp {
        self.newest
    }

    /// When the last witness cleared it: what happened online after that the machine cannot know.
    pub fn cleared_at(&self) -> Timestamp {
        self.cleared_at
    }

    /// The approvals as they count now.
    ///
    /// # Errors
    /// [`PackageError::Approval`]: one that does not count. What the authorization names must.
    pub fn tally(
        &self,
        facts: &crate::Facts,
        now: Timestamp,
    ) -> Result<ApprovalTally, PackageError> {
        let (bundle, request) = (self.chain.active(), &self.request);
        let approvals = &self.package.approvals;
        let (tally, worthless) =
            ApprovalTally::count(bundle, request, facts, approvals, &self.freezes, now);
        match worthless.into_iter().next() {
            Some(bad) => Err(PackageError::Approval {
                index: bad.index,
                why: bad.why,
            }),
            None => Ok(tally),
        }
    }
}
