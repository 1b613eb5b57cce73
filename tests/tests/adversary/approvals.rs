//! Approvals that nobody gave, that were given for something else, or that are not enough.

use countersign_policy::bundle::ActiveBundle;
use countersign_policy::statement::{Approval, FreezeTarget, Statement, Verdict};
use countersign_policy::testing::transaction::{EXCHANGE, ether, usdt_erc20};
use countersign_policy::testing::{
    APPROVERS, AUTHOR, COORDINATOR, OFFICER, OPERATOR, OTHER_OFFICERS, PAYMENTS, member,
};
use countersign_policy::{Amount, Envelope, Hash};
use countersign_signer::wire::{ProblemCode, Stop, Stopped, path};

use crate::arena::{Arena, by_coordinator, tampered};
use crate::assertions;
use crate::hands::{Expected, forged, restated, strangers_key};
use crate::office::{FIFTH, FOURTH, Office, SIXTH, said};

const WORTHLESS: ProblemCode = ProblemCode::Approval;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_approval_counts_but_the_one_that_was_given_for_this_payment() {
    let mut arena = Arena::with_dkls23().await;
    let mut office = Office::open(&mut arena).await;
    let earlier = arena.cluster.active().clone();
    arena
        .policy(|content| content.members.retain(|m| m.id.as_str() != FIFTH))
        .await;
    signers(&mut arena, &mut office).await;
    contents(&mut arena, &mut office).await;
    times(&mut arena, &mut office, &earlier).await;
    numbers(&mut arena, &mut office).await;
    named_and_given(&mut arena, &mut office).await;
    office.an_approved_payment_is_signed(&mut arena).await;
    assertions::attacks(&mut arena, &mut office).await;
    rejections(&mut arena, &mut office).await;
    frozen(&mut arena, &mut office).await;
    office.an_approved_payment_is_signed(&mut arena).await;
    arena.finish();
}

/// Of the approvals that are enough for a new payment, the first is replaced.
async fn first_is_refused(
    arena: &mut Arena,
    office: &mut Office,
    attack: &str,
    other: impl FnOnce(&mut Arena, &Office, &Envelope) -> Envelope,
    words: &str,
) {
    let request = arena.payment();
    let other = other(arena, office, &request);
    let approvals = office.with(arena, &request, (0, other));
    let words = format!("approval 0: {words}");
    arena
        .approvals_are_refused(attack, (&request, &approvals), (WORTHLESS, &words))
        .await;
}

async fn signers(arena: &mut Arena, office: &mut Office) {
    type Forgery = fn(&mut Arena, &Office, &Envelope) -> Envelope;
    let cases: [(&str, Forgery, &str); 6] = [
        (
            "approval with a forged signature",
            |a, _, r| forged(&a.approval(OFFICER, r), OFFICER, &strangers_key()),
            "not an acceptable approval: the signature of officer does not verify",
        ),
        (
            "approval signed with another officer's key",
            |a, _, r| {
                let approval = a.approval(OFFICER, r);
                let key = a.cluster.deployment.identity(OTHER_OFFICERS[1]);
                forged(&approval, OFFICER, key)
            },
            "not an acceptable approval: the signature of officer does not verify",
        ),
        (
            "approval in an officer's name signed by another officer",
            |a, _, r| {
                let approval = a.approval(OFFICER, r);
                let key = a.cluster.deployment.identity(OTHER_OFFICERS[1]);
                forged(&approval, OTHER_OFFICERS[1], key)
            },
            "not an acceptable approval: signature by \"officer-3\"",
        ),
        (
            "approval that two officers signed",
            |a, _, r| {
                let mut approval = a.approval(OFFICER, r);
                let key = a.cluster.deployment.identity(OTHER_OFFICERS[0]);
                approval.add_signature(OTHER_OFFICERS[0], key).unwrap();
                approval
            },
            "not an acceptable approval: exactly one signature",
        ),
        (
            "approval by an officer whom a later bundle removed",
            |a, o, r| said(a, (FIFTH, &o.fifth), o.body(a, r)),
            "not an acceptable approval: officer-5 is not a member",
        ),
        (
            "freeze in the place of an approval",
            |a, _, _| {
                let deployment = &a.cluster.deployment;
                deployment.freeze(OFFICER, FreezeTarget::Everything)
            },
            "not an acceptable approval: payload type",
        ),
    ];
    for (attack, forgery, words) in cases {
        first_is_refused(arena, office, attack, forgery, words).await;
    }
    for issuer in [
        PAYMENTS,
        APPROVERS[0],
        AUTHOR,
        OPERATOR,
        COORDINATOR,
        "node-2",
    ] {
        let attack = match issuer {
            PAYMENTS => "approval by the initiator itself".to_owned(),
            issuer => format!("approval by {issuer}"),
        };
        let by = |a: &mut Arena, _: &Office, r: &Envelope| a.approval(issuer, r);
        let words = format!("{issuer} is no security officer");
        first_is_refused(arena, office, &attack, by, &words).await;
    }
}

/// An approval that was given, and not for this.
async fn contents(arena: &mut Arena, office: &mut Office) {
    let other = arena.payment();
    let given = arena.approval(OFFICER, &other);
    let replay = |_: &mut Arena, _: &Office, _: &Envelope| given;
    let words = "it is about request";
    let attack = "approval replayed from another request";
    first_is_refused(arena, office, attack, replay, words).await;

    // Approved small, then asked for again with more, or with another asset.
    let small = arena.body_of(usdt_erc20(&EXCHANGE, 1, 800));
    let small = arena.signed(PAYMENTS, small);
    for (attack, transaction) in [
        (
            "approval transplanted to a larger amount",
            usdt_erc20(&EXCHANGE, 999_000_000, 800),
        ),
        (
            "approval transplanted to another asset",
            ether(&EXCHANGE, 1, 800),
        ),
    ] {
        let body = arena.body_of(transaction);
        let large = arena.signed(PAYMENTS, body);
        let given = arena.approval(OFFICER, &small);
        let approvals = office.with(arena, &large, (0, given));
        let expected = (WORTHLESS, "approval 0: it is about request");
        arena
            .approvals_are_refused(attack, (&large, &approvals), expected)
            .await;
    }

    type Change = fn(&mut Statement<Approval>);
    let changes: [(&str, Change, &str); 6] = [
        (
            "approval of another digest",
            |s| s.body.digests = vec![Hash::sha256(b"another transaction")],
            "its signing digests are not those",
        ),
        (
            "approval of a second digest besides",
            |s| s.body.digests.push(Hash::sha256(b"another transaction")),
            "its signing digests are not those",
        ),
        (
            "approval of A shown as B, with a smaller amount",
            |s| s.body.intent.transfers[0].amount = Amount::from(1_u64),
            "the intent that the officer was shown",
        ),
        (
            "approval of A shown as B, with another destination",
            |s| s.body.intent.transfers[0].to = countersign_policy::Address::Evm([0x66; 20]),
            "the intent that the officer was shown",
        ),
        (
            "approval of A shown as B, with a smaller fee",
            |s| s.body.intent.max_fee.amount = Amount::from(1_u64),
            "the intent that the officer was shown",
        ),
        (
            "approval under another genesis",
            |s| s.genesis = Hash::sha256(b"another deployment"),
            "not an acceptable approval: the statement is for genesis",
        ),
    ];
    for (attack, change, words) in changes {
        let shown = |a: &mut Arena, _: &Office, r: &Envelope| {
            let honest = a.approval(OFFICER, r);
            restated(a, &honest, change)
        };
        first_is_refused(arena, office, attack, shown, words).await;
    }
    let raised = |a: &mut Arena, _: &Office, r: &Envelope| {
        let raise = |t: &str| t.replace("\"1000000\"", "\"1000001\"");
        tampered(&a.approval(OFFICER, r), raise)
    };
    let words = "not an acceptable approval: the signature of officer does not verify";
    let attack = "approval whose amount was changed after signing";
    first_is_refused(arena, office, attack, raised, words).await;
}

async fn times(arena: &mut Arena, office: &mut Office, earlier: &ActiveBundle) {
    type Change = fn(&mut Statement<Approval>);
    let changes: [(&str, Change, &str); 4] = [
        (
            "approval that expired",
            |s| {
                s.expires_at = s.issued_at.minus_seconds(60);
                s.issued_at = s.issued_at.minus_seconds(3_600);
            },
            "it counted until",
        ),
        (
            "approval that ends within the clocks' skew",
            |s| s.expires_at = s.issued_at.plus_seconds(3),
            "it counted until",
        ),
        (
            "approval issued in the future",
            |s| s.issued_at = s.issued_at.plus_seconds(60),
            "it was issued at",
        ),
        (
            "approval that lives longer than the bundle allows",
            |s| s.expires_at = s.issued_at.plus_seconds(86_401),
            "it counts for longer than the 86400 s",
        ),
    ];
    for (attack, change, words) in changes {
        let moved = |a: &mut Arena, _: &Office, r: &Envelope| {
            let honest = a.approval(OFFICER, r);
            restated(a, &honest, change)
        };
        first_is_refused(arena, office, attack, moved, words).await;
    }
    let old = |a: &mut Arena, _: &Office, r: &Envelope| {
        let deployment = &a.cluster.deployment;
        deployment.approval_under(earlier, OFFICER, r, Verdict::Approve)
    };
    let attack = "approval under the bundle before";
    first_is_refused(arena, office, attack, old, "it was given under bundle").await;
}

/// Genuine approvals that are not enough, however they are counted.
async fn numbers(arena: &mut Arena, office: &mut Office) {
    let request = arena.payment();
    let enough = office.enough(arena, &request);
    let again = arena.approval(OFFICER, &request);
    let other_key = said(
        arena,
        (OFFICER, &office.second),
        office.body(arena, &request),
    );
    let device = {
        let body = office.body(arena, &request);
        let deployment = &arena.cluster.deployment;
        deployment.sign_with(OFFICER, 3_600, body, &mut office.treasurer)
    };
    let fourth = said(
        arena,
        (FOURTH, &office.fourth),
        office.body(arena, &request),
    );
    let sixth = said(arena, (SIXTH, &office.sixth), office.body(arena, &request));
    let [first, second, third] = [0, 1, 2].map(|i: usize| enough[i].clone());
    let twice = "approval 1: officer is counted already";
    let cases = [
        (
            "payment without approvals",
            vec![],
            "group security has to approve: 0 of 1",
        ),
        (
            "one approval where three are needed",
            vec![first.clone()],
            "has to approve",
        ),
        (
            "two of treasury and nobody of security",
            vec![first.clone(), fourth.clone()],
            "group security has to approve: 0 of 1",
        ),
        (
            "three of treasury and nobody of security",
            vec![first.clone(), fourth, sixth],
            "group security has to approve: 0 of 1",
        ),
        (
            "one of security and one of treasury",
            vec![first.clone(), third.clone()],
            "group treasury has to approve: 1 of 2",
        ),
        (
            "two people of whom one is in both groups",
            vec![first.clone(), second],
            "has to approve",
        ),
        (
            "one officer counted twice by two statements",
            vec![first.clone(), again, third.clone()],
            twice,
        ),
        (
            "one officer counted twice by two keys",
            vec![first.clone(), other_key, third.clone()],
            twice,
        ),
        (
            "one officer counted twice by key and device",
            vec![first, device, third],
            twice,
        ),
    ];
    for (attack, approvals, words) in cases {
        arena
            .approvals_are_refused(attack, (&request, &approvals), (WORTHLESS, words))
            .await;
    }
}

/// What the authorization binds is what must be there.
async fn named_and_given(arena: &mut Arena, office: &mut Office) {
    let request = arena.payment();
    let enough = office.enough(arena, &request);
    let reversed: Vec<Envelope> = enough.iter().rev().cloned().collect();
    let other = office.by_guard(arena, &request);
    let exchanged = [&enough[..2], &[other]].concat();
    let node = arena.node(1);
    let cases = [
        ("approvals named and not delivered", &enough[..], &[][..]),
        (
            "one of three named approvals held back",
            &enough,
            &enough[..2],
        ),
        ("approvals delivered and not named", &[], &enough),
        (
            "one approval more than the authorization names",
            &enough[..2],
            &enough,
        ),
        ("approvals in another order than named", &enough, &reversed),
        (
            "named approval exchanged for another by the same officer",
            &enough,
            &exchanged,
        ),
    ];
    for (attack, named, given) in cases {
        let mut call = arena.approved(&request, named);
        call.approvals = given.to_vec();
        let expected = (ProblemCode::Authorization, "not exactly those that");
        arena
            .prepare_at_is_refused(attack, &node, &call, expected)
            .await;
    }
    let mut call = arena.approved(&request, &enough[..1]);
    let name = enough[0].digest();
    call.authorization = by_coordinator(arena, &call.authorization, |text| {
        text.replace(
            &format!("[\"{name}\"]"),
            &format!("[\"{name}\",\"{name}\"]"),
        )
    });
    call.approvals.push(enough[0].clone());
    let expected = (ProblemCode::Statement, "approvals must be listed once each");
    let attack = "one approval named twice";
    arena
        .prepare_at_is_refused(attack, &node, &call, expected)
        .await;
}

/// One officer's no is the end, whatever else is said before or after it.
async fn rejections(arena: &mut Arena, office: &mut Office) {
    let request = arena.payment();
    let no = arena.rejection(OFFICER, &request);
    let mut approvals = office.enough(arena, &request);
    approvals.insert(0, no.clone());
    let expected = (
        ProblemCode::Policy,
        "officer rejected it: never heard of it",
    );
    let attack = "approval added after a rejection by the same officer";
    arena
        .approvals_are_refused(attack, (&request, &approvals), expected)
        .await;

    // The coordinator leaves the no out. The officer gave it to a signer, without the coordinator.
    let stop = Stop {
        request: request.clone(),
        cancel: no,
    };
    let (one, two) = (arena.node(1), arena.node(2));
    let port = arena.cluster.emergency(&two);
    let _: Stopped = port.post_json(path::STOP, &stop).await.unwrap();
    let call = arena.approved(&request, &approvals[1..]);
    let expected: Expected<'_> = (ProblemCode::StoppedRequest, "the request was stopped");
    let attack = "rejection left out by the coordinator";
    arena
        .prepare_at_is_refused(attack, &two, &call, expected)
        .await;
    arena.wait_until_told(&two, &one).await;
    let expected = (ProblemCode::StoppedRequest, "the request was stopped");
    let attack = "rejection left out at a node that only a peer told";
    arena
        .prepare_at_is_refused(attack, &one, &call, expected)
        .await;
}

/// Officers, keys and devices that are frozen approve nothing.
async fn frozen(arena: &mut Arena, office: &mut Office) {
    let session = office.session(arena).await;
    let fourth =
        |a: &mut Arena, o: &Office, r: &Envelope| said(a, (FOURTH, &o.fourth), o.body(a, r));
    let second =
        |a: &mut Arena, o: &Office, r: &Envelope| said(a, (OFFICER, &o.second), o.body(a, r));
    let target = FreezeTarget::Member {
        member: member(FOURTH),
    };
    arena.freeze(target).await;
    let attack = "approval by a frozen officer";
    let words = "officer-4 or the key used is frozen";
    first_is_refused(arena, office, attack, fourth, words).await;
    let public_key = office.second.public();
    arena.freeze(FreezeTarget::MemberKey { public_key }).await;
    let attack = "approval with a frozen key of an officer";
    let words = "officer or the key used is frozen";
    first_is_refused(arena, office, attack, second, words).await;
    let id = office.spare.credential().id;
    arena.freeze(FreezeTarget::Credential { id }).await;
    let request = arena.payment();
    let device = {
        let body = office.body(arena, &request);
        let deployment = &arena.cluster.deployment;
        deployment.sign_with(OTHER_OFFICERS[1], 3_600, body, &mut office.spare)
    };
    let approvals = office.with(arena, &request, (2, device));
    let expected = (WORTHLESS, "approval 2: officer-3 or the key used is frozen");
    let attack = "approval with a frozen device";
    arena
        .approvals_are_refused(attack, (&request, &approvals), expected)
        .await;

    // Receipts from before the freezes are worth something still: nothing that counted for them is frozen.
    let target = FreezeTarget::Member {
        member: member(OTHER_OFFICERS[0]),
    };
    let freeze = arena.freeze(target).await;
    let one = arena.node(1);
    let receipts = (session.id, session.receipts.as_slice());
    let expected = (ProblemCode::Frozen, "member officer-2 is frozen");
    let attack = "release after an officer who had approved was frozen";
    arena
        .sign_is_refused(attack, &one, receipts, expected)
        .await;
    arena.unfreeze(freeze).await;
}
