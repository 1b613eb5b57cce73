//! What officers do in the demonstration: approve a large payment, and stop the wallet and let it go again. Each acts with the
//! profile of their own that `countersign init` wrote, through the code of the commands.

use std::path::Path;

use countersign_coordinator::StateName;
use countersign_policy::WalletId;
use countersign_policy::statement::{Freeze, FreezeTarget, Unfreeze, Verdict};
use countersign_signer::wire::path;

use super::report::Report;
use super::{payments, sign};
use crate::api::Api;
use crate::failure::{Failure, OrFail as _, Outcome};
use crate::officer::approve;
use crate::officer::dossier::{Dossier, FREEZES};
use crate::officer::freeze::{Given, Recipients, give};
use crate::profile::{FILE_NAME, Profile};
use crate::quorum::issue;
use crate::verified;

/// How long statements of the demonstration count, in seconds.
const LIFE: u64 = 300;

pub async fn show(dir: &Path, api: &Api, profile: &Profile, report: &mut Report) -> Outcome {
    report.title("Large payments wait for officers, who decode the bytes themselves");
    approved(dir, api, profile, report).await?;
    report.title("A limit over a day holds, whichever nodes sign: 80 of 100 USDT are used on BNB Smart Chain");
    sign(api, profile, report, &payments::OVER_THE_LIMIT).await?;
    report.title("One officer freezes a wallet at once; only two end it");
    frozen(dir, api, profile, report).await
}

/// The profile of an officer.
fn officer(dir: &Path, number: u16) -> Outcome<Profile> {
    let folder = dir.join(format!("members/officer-{number}"));
    Profile::load(&folder.join(FILE_NAME))
}

async fn approved(dir: &Path, api: &Api, profile: &Profile, report: &mut Report) -> Outcome {
    let chain = verified::chain(api, profile).await?;
    let order = payments::LARGE;
    let mut placed = order.ask(api, profile, chain.active(), 0).await?;
    let waits = |state: StateName| state == StateName::PendingApproval || state.is_final();
    placed.watch(api, waits).await?;
    if placed.view.state != StateName::PendingApproval {
        return Err(Failure::broken(format!(
            "{} should wait for approvals, is {}",
            order.what,
            placed.view.state.as_str()
        )));
    }
    report.step(format!("{} waits", order.what));
    for number in [1, 2] {
        let own = officer(dir, number)?;
        let own_api = Api::new(&own)?;
        let dossier = Dossier::fetch(&own_api, &own, &placed.view.id.to_hex()).await?;
        let seconds = dossier.approval_life(None)?;
        let approval = approve::sign(&own, &dossier, Verdict::Approve, seconds)?;
        approve::send(&own_api, &dossier, &approval, 0).await?;
        report.step(format!("{} verified it and approved", own.member));
    }
    let done = placed.finished(api).await?;
    let state = done.state;
    report.request(order.what, done);
    if state != StateName::Signed {
        return Err(Failure::broken(format!(
            "{} should be signed, is {}",
            order.what,
            state.as_str()
        )));
    }
    Ok(())
}

async fn frozen(dir: &Path, api: &Api, profile: &Profile, report: &mut Report) -> Outcome {
    let security = officer(dir, 3)?;
    let wallet = WalletId::new("treasury").or_broken("a wallet")?;
    let body = Freeze {
        target: FreezeTarget::Wallet { wallet },
        reason: "drill".to_owned(),
    };
    let freeze = issue(&security, body, LIFE)?;
    let to = Recipients {
        signers: &[],
        signer_path: path::FREEZE,
        coordinator_path: FREEZES,
    };
    held(&give(&security, &freeze, to).await?)?;
    report.step(format!(
        "{} froze wallet treasury on every node",
        security.member
    ));
    sign(api, profile, report, &payments::WHILE_FROZEN).await?;

    let (first, second) = (officer(dir, 1)?, officer(dir, 2)?);
    let body = Unfreeze {
        freezes: vec![freeze.digest()],
        reason: "the drill is over".to_owned(),
    };
    let mut unfreeze = issue(&first, body, LIFE)?;
    unfreeze
        .add_signature(second.member.as_str(), &second.statement_key()?)
        .or_broken("cannot sign")?;
    let to = Recipients {
        signers: &[],
        signer_path: path::UNFREEZE,
        coordinator_path: "/v1/unfreezes",
    };
    held(&give(&first, &unfreeze, to).await?)?;
    report.step(format!("{} and {} ended it", first.member, second.member));
    sign(api, profile, report, &payments::AFTER_THE_FREEZE).await
}

/// Every node must say that it acts on it.
fn held(given: &Given) -> Outcome {
    given
        .result()
        .map_err(|_| Failure::broken(format!("not every node took it:\n{}", given.text("given"))))
}
