//! Everything about one request, as this machine verified it: the service's statement, what its bytes mean, who said what to it,
//! what is frozen, and what the policy says. The coordinator is only asked for bytes.

use std::path::Path;

use countersign_coordinator::{ApprovalList, FreezeList, RequestView};
use countersign_policy::approvals::{ApprovalTally, RejectedApproval};
use countersign_policy::bundle::BundleChain;
use countersign_policy::statement::{SignRequest, Verified};
use countersign_policy::{Decision, Envelope, Facts, FreezeSet, Hash, Standing, Timestamp, decide};

use crate::api::Api;
use crate::clock;
use crate::failure::{Exit, Failure, OrFail as _, Outcome};
use crate::profile::Profile;
use crate::request::view::{REQUESTS, read};
use crate::verified;

/// Freezes of the coordinator's API.
pub const FREEZES: &str = "/v1/freezes";

/// A request and all that is known about it.
#[derive(Debug)]
pub struct Dossier {
    /// The chain of policy bundles, verified from the pinned genesis.
    pub chain: BundleChain,
    /// The request, with the service's signature verified.
    pub request: Verified<SignRequest>,
    /// What its bytes mean.
    pub facts: Facts,
    /// Approvals and rejections that count.
    pub tally: ApprovalTally,
    /// Statements that do not count, and why.
    pub void: Vec<RejectedApproval>,
    /// The freezes in force, each verified.
    pub freezes: FreezeSet,
    /// What the policy says, decided here. Limits over time are not known here.
    pub decision: Decision,
    /// When it was decided.
    pub now: Timestamp,
    /// What the coordinator says about the request; none when it was read from a file.
    pub told: Option<RequestView>,
}

/// What has to be decided, and everything that speaks for or against it.
pub struct Evidence {
    /// The sign-request statement.
    pub request: Envelope,
    /// Approvals and rejections.
    pub approvals: Vec<Envelope>,
    /// Freezes in force.
    pub freezes: Vec<Envelope>,
    /// What the coordinator says about it.
    pub told: Option<RequestView>,
}

impl Dossier {
    /// Fetches and verifies everything about a request: by its id, or of a signed statement in a file.
    pub async fn fetch(api: &Api, profile: &Profile, request: &str) -> Outcome<Self> {
        let chain = verified::chain(api, profile).await?;
        let evidence = match request.parse::<Hash>() {
            Ok(id) => Evidence::fetch(api, id).await?,
            Err(_) => Evidence {
                request: read_envelope(Path::new(request))?,
                approvals: Vec::new(),
                freezes: freezes(api).await?,
                told: None,
            },
        };
        Self::open(chain, evidence, clock::now())
    }

    /// Verifies and decides.
    pub fn open(chain: BundleChain, evidence: Evidence, now: Timestamp) -> Outcome<Self> {
        let active = chain.active();
        let request = active
            .directory()
            .open::<SignRequest>(&evidence.request)
            .or_fail(Exit::Refused, "the request is refused")?;
        let facts = Facts::establish(active, request.body())
            .or_fail(Exit::Refused, "the request's transaction is refused")?;
        let mut freezes = FreezeSet::default();
        for envelope in &evidence.freezes {
            let freeze = active.open_freeze(envelope).or_fail(
                Exit::Refused,
                "the coordinator shows a freeze that nobody signed",
            )?;
            freezes.insert(&freeze);
        }
        let (tally, void) =
            ApprovalTally::count(active, &request, &facts, &evidence.approvals, &freezes, now);
        let standing = Standing::new(tally.clone(), freezes.clone(), Vec::new());
        let decision = decide(active, &request, &facts, &standing, now);
        Ok(Self {
            request,
            facts,
            tally,
            void,
            freezes,
            decision,
            now,
            told: evidence.told,
            chain,
        })
    }

    /// What the policy would say if it stood otherwise.
    pub fn decide_with(&self, tally: ApprovalTally, freezes: FreezeSet) -> Decision {
        let standing = Standing::new(tally, freezes, Vec::new());
        let active = self.chain.active();
        decide(active, &self.request, &self.facts, &standing, self.now)
    }
}

impl Evidence {
    async fn fetch(api: &Api, id: Hash) -> Outcome<Self> {
        let told = read(api, id, 0).await?;
        let request = told
            .statement
            .clone()
            .ok_or_else(|| Failure::broken("the coordinator does not show the signed request"))?;
        if request.digest() != id {
            return Err(Failure::new(
                Exit::Refused,
                format!("the coordinator shows another request than {id}"),
            ));
        }
        let list: ApprovalList = api.get(&format!("{REQUESTS}/{id}/approvals")).await?;
        Ok(Self {
            request,
            approvals: list.approvals.into_iter().map(|a| a.statement).collect(),
            freezes: freezes(api).await?,
            told: Some(told),
        })
    }
}

async fn freezes(api: &Api) -> Outcome<Vec<Envelope>> {
    let list: FreezeList = api.get(FREEZES).await?;
    Ok(list.in_force.into_iter().map(|f| f.statement).collect())
}

/// Reads an envelope from a file.
pub fn read_envelope(file: &Path) -> Outcome<Envelope> {
    let text = std::fs::read(file).or_fail(
        Exit::Usage,
        format!("{} is no id, and no file that can be read", file.display()),
    )?;
    serde_json::from_slice(&text).or_fail(Exit::Usage, format!("{} is no envelope", file.display()))
}
