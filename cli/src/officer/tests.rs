use countersign_policy::bundle::PolicyBundle;
use countersign_policy::statement::{Approval, FreezeTarget, SignRequest, Verdict};
use countersign_policy::testing::{
    OFFICER, OTHER_OFFICERS, PAYMENTS, TestDeployment, WALLET, transaction, usdt,
};
use countersign_policy::{Amount, Envelope, Facts, Network, Outcome as Answer, WalletId};

use super::dossier::{Dossier, Evidence};
use super::target::{What, Words};
use crate::failure::Exit;

fn deployment() -> TestDeployment {
    TestDeployment::with_approvals(3, 2, "treasury:2")
}

fn evidence(request: Envelope) -> Evidence {
    Evidence {
        request,
        approvals: Vec::new(),
        freezes: Vec::new(),
        told: None,
    }
}

fn word(
    deployment: &TestDeployment,
    officer: &str,
    request: &Envelope,
    verdict: Verdict,
) -> Envelope {
    let active = deployment.bundle();
    let request = active.directory().open::<SignRequest>(request).unwrap();
    let facts = Facts::establish(&active, request.body()).unwrap();
    let body = Approval::of(&active, &request, &facts, verdict).unwrap();
    deployment.sign(officer, 600, body)
}

fn open(deployment: &TestDeployment, evidence: Evidence) -> Dossier {
    Dossier::open(deployment.chain(), evidence, deployment.now()).unwrap()
}

#[test]
fn an_officer_sees_everything_that_is_signed() {
    let deployment = deployment();
    let request = deployment.usdt_request("payout-1", 12_500_000);
    let mut evidence = evidence(request.clone());
    evidence.approvals = vec![word(&deployment, OFFICER, &request, Verdict::Approve)];
    let dossier = open(&deployment, evidence);
    assert_eq!(dossier.decision.outcome, Answer::NeedsApprovals);
    let text = dossier.text();
    // Digests change with every field of a bundle; what is shown about them does not.
    let shown: Vec<String> = text
        .lines()
        .map(|line| {
            let words = line.split(' ').map(|word| {
                let hex = word.trim_matches(['(', ')', ',']);
                let long = hex.len() >= 64
                    && hex
                        .trim_start_matches("0x")
                        .bytes()
                        .all(|b| b.is_ascii_hexdigit());
                if long { "DIGEST" } else { word }
            });
            words.collect::<Vec<_>>().join(" ")
        })
        .collect();
    insta::assert_snapshot!("approve", shown.join("\n"));
}

#[test]
fn a_rejection_and_a_freeze_are_seen_and_block() {
    let deployment = deployment();
    let request = deployment.usdt_request("payout-1", 12_500_000);
    let reason = "a forged invoice".to_owned();
    let mut rejected = evidence(request.clone());
    rejected.approvals = vec![word(
        &deployment,
        OFFICER,
        &request,
        Verdict::Reject { reason },
    )];
    let dossier = open(&deployment, rejected);
    assert_eq!(dossier.decision.outcome, Answer::Blocked);
    assert!(
        dossier.text().contains("a forged invoice"),
        "{}",
        dossier.text()
    );

    let mut frozen = evidence(request);
    let wallet = WalletId::new(WALLET).unwrap();
    frozen.freezes = vec![deployment.freeze(OFFICER, FreezeTarget::Wallet { wallet })];
    let dossier = open(&deployment, frozen);
    assert_eq!(dossier.decision.outcome, Answer::Blocked);
    assert!(dossier.text().contains("is frozen"), "{}", dossier.text());
}

#[test]
fn what_nobody_signed_is_not_shown_as_if_somebody_had() {
    let deployment = deployment();
    let request = deployment.usdt_request("payout-1", 12_500_000);
    // A freeze by a payment service, as a coordinator could make one up.
    let mut lied = evidence(request.clone());
    lied.freezes = vec![deployment.freeze(PAYMENTS, FreezeTarget::Everything)];
    let refused = Dossier::open(deployment.chain(), lied, deployment.now()).unwrap_err();
    assert_eq!(refused.exit, Exit::Refused);
    // Approvals of a service and of another request do not count, and that is told.
    let other = deployment.usdt_request("payout-2", 12_500_000);
    let mut void = evidence(request.clone());
    void.approvals = vec![
        word(&deployment, PAYMENTS, &request, Verdict::Approve),
        word(&deployment, OTHER_OFFICERS[0], &other, Verdict::Approve),
    ];
    let dossier = open(&deployment, void);
    assert_eq!(dossier.void.len(), 2);
    assert_eq!(
        dossier.text().matches("does not count").count(),
        2,
        "{}",
        dossier.text()
    );
    // A request that another member signed.
    let forged = deployment.sign_by(
        &deployment.statement(
            OFFICER,
            "forged",
            600,
            deployment
                .bundle()
                .directory()
                .open::<SignRequest>(&request)
                .unwrap()
                .body()
                .clone(),
        ),
        &[],
    );
    let dossier = open(&deployment, evidence(forged));
    assert_eq!(dossier.decision.outcome, Answer::Blocked);
}

#[test]
fn a_stranger_and_any_amount_stand_out() {
    let deployment = deployment();
    let bytes = transaction::usdt_erc20(&transaction::STRANGER, 5, 0);
    let request = deployment.request("payout-1", WALLET, Network::ETHEREUM, bytes);
    let text = open(&deployment, evidence(request)).text();
    assert!(text.contains("NOT in the address book"), "{text}");
    assert!(text.contains("0.000005 USDT"), "{text}");
}

#[test]
fn an_approval_counts_as_long_as_it_is_of_use_and_no_longer_than_allowed() {
    let deployment = deployment();
    let dossier = open(
        &deployment,
        evidence(deployment.usdt_request("payout-1", 1)),
    );
    assert_eq!(dossier.approval_life(None).unwrap(), 600 + 2 * 5 + 1);
    assert_eq!(dossier.approval_life(Some(60)).unwrap(), 60);
    assert_eq!(
        dossier.approval_life(Some(86_401)).unwrap_err().exit,
        Exit::Usage
    );
}

fn target(
    what: What,
    name: Option<&str>,
    max: Option<&str>,
    policy: Option<&PolicyBundle>,
) -> Result<FreezeTarget, Exit> {
    let words = Words {
        what,
        name,
        network: Some(Network::ETHEREUM),
        max,
    };
    words.target(policy).map_err(|failure| failure.exit)
}

#[test]
fn what_is_frozen_is_found_in_the_policy() {
    let mut deployment = TestDeployment::with_limit(3, 2, 1_000, 3_600);
    deployment.add_groups();
    let policy = Some(deployment.content());
    let limit = countersign_policy::testing::USDT_LIMIT;
    assert_eq!(
        target(What::Everything, None, None, policy),
        Ok(FreezeTarget::Everything)
    );
    assert_eq!(
        target(What::Everything, Some("x"), None, policy),
        Err(Exit::Usage)
    );
    assert_eq!(target(What::Wallet, None, None, policy), Err(Exit::Usage));
    assert_eq!(
        target(What::Wallet, Some("nowhere"), None, policy),
        Err(Exit::NotFound)
    );
    assert_eq!(
        target(What::Rule, Some("nothing"), None, policy),
        Err(Exit::NotFound)
    );
    assert_eq!(
        target(What::Asset, Some("USDT"), None, policy),
        Ok(FreezeTarget::Asset { asset: usdt() })
    );
    assert!(matches!(
        target(What::Address, Some("exchange"), None, policy),
        Ok(FreezeTarget::Address { .. })
    ));
    let lowered = |max, policy| match target(What::Limit, Some(limit), Some(max), policy) {
        Ok(FreezeTarget::LowerLimit { max, .. }) => Ok(max),
        Ok(other) => panic!("{other}"),
        Err(exit) => Err(exit),
    };
    assert_eq!(lowered("1.5", policy), Ok(Amount::from(1_500_000_u64)));
    // Without a policy nobody knows the decimals.
    assert_eq!(lowered("1500000", None), Ok(Amount::from(1_500_000_u64)));
    assert_eq!(
        target(What::Limit, Some(limit), None, policy),
        Err(Exit::Usage)
    );
    assert_eq!(
        target(What::Wallet, Some(WALLET), Some("5"), policy),
        Err(Exit::Usage)
    );
}
