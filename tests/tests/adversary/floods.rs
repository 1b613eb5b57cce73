//! A stolen coordinator or node that asks for too much: nothing of a node grows with how often it is asked.

use countersign_policy::testing::{COORDINATOR, OTHER_COORDINATOR};
use countersign_signer::net::CallError;
use countersign_signer::store::RECORD_BURST;
use countersign_signer::wire::{ProblemCode, Records, path};

use crate::arena::{Arena, CALL, problem};

/// What the node's records hold of a caller.
async fn records_of(arena: &Arena, caller: &str) -> Vec<countersign_signer::wire::Record> {
    let node = arena.node(1);
    let at = format!("{}?limit=1000", path::RECORDS);
    let records: Records = arena
        .cluster
        .client(&node)
        .get_json(&at, CALL)
        .await
        .unwrap();
    let of = records.records.into_iter().filter(|r| r.subject == caller);
    of.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_flood_of_refused_calls_fills_no_disk_and_hides_no_other_attack() {
    let mut arena = Arena::with_dkls23().await;
    let node = arena.node(1);
    let client = arena.cluster.client_as(OTHER_COORDINATOR, &node);
    let calls = RECORD_BURST + 300;
    let mut running = tokio::task::JoinSet::new();
    for number in 0..calls {
        let client = client.clone();
        running.spawn(async move {
            client
                .post_bytes(path::PREPARE, format!("flood {number}"), CALL)
                .await
        });
        if running.len() >= 32 {
            let answer = running.join_next().await.unwrap().unwrap();
            let code = problem("flood", answer).code();
            assert_eq!(code, Some(ProblemCode::Malformed));
        }
    }
    while let Some(answer) = running.join_next().await {
        let code = problem("flood", answer.unwrap()).code();
        assert_eq!(code, Some(ProblemCode::Malformed));
    }
    // More than the burst only by what the flood took so long for.
    let of_flood = records_of(&arena, OTHER_COORDINATOR).await;
    let refused = of_flood.iter().filter(|r| r.operation == "prepare").count();
    assert!(refused >= RECORD_BURST as usize && refused < calls as usize);
    // Its own attack of another kind is lost in its flood; everybody else's attacks are recorded as ever.
    let stranger = arena.cluster.client_as("node-2", &node);
    let answer = stranger
        .post_bytes(path::PREPARE, b"{}".to_vec(), CALL)
        .await;
    let expected = (ProblemCode::Forbidden, "");
    arena
        .refused(
            "node in a flood",
            &node,
            ("prepare", "node-2"),
            answer,
            expected,
        )
        .await;
    let coordinator = arena.cluster.client_as(COORDINATOR, &node);
    let answer = coordinator
        .post_bytes(path::PREPARE, b"{".to_vec(), CALL)
        .await;
    let expected = (ProblemCode::Malformed, "");
    let place = ("prepare", COORDINATOR);
    arena
        .refused("coordinator in a flood", &node, place, answer, expected)
        .await;
    arena.an_honest_payment_is_signed().await;
    // The count is told: at the latest when the node stops.
    arena.cluster.kill(&node).await;
    arena.cluster.start_node(&node).await;
    let told: u64 = records_of(&arena, OTHER_COORDINATOR)
        .await
        .iter()
        .filter(|r| r.operation == "records")
        .map(|r| r.detail.split(' ').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(told + refused as u64, u64::from(calls));
    arena.finish();
}

/// Text in a refused call reaches the records on one line and short, whatever is in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_caller_writes_no_lines_of_its_own_into_the_records() {
    let mut arena = Arena::empty(3, 2).await;
    let node = arena.node(1);
    let client = arena.cluster.client_as(COORDINATOR, &node);
    let name = format!(
        "x\\n2026-01-01 INFO signed \\u001b[2J{}",
        "y".repeat(1 << 20)
    );
    let body = format!("{{\"{name}\":1}}");
    let answer: Result<_, CallError> = client.post_bytes(path::SIGN, body, CALL).await;
    let told = problem("forged line", answer);
    assert_eq!(told.code(), Some(ProblemCode::Malformed));
    let record = records_of(&arena, COORDINATOR).await.remove(0);
    for text in [&told.detail, &record.detail] {
        assert!(
            text.contains(r"x\n2026-01-01 INFO signed \u{1b}[2J"),
            "{text}"
        );
        assert!(text.len() < 2_100 && !text.chars().any(char::is_control));
    }
    let one_line = "the record is one line with the quoted text in it";
    arena.answered("forged line in the log", "node-1", (one_line, true));
    arena.finish();
}

/// Bodies up to the limit, all at once: most are turned away before they are read.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_callers_bodies_have_one_callers_room() {
    let mut arena = Arena::empty(3, 2).await;
    let node = arena.node(1);
    let mark = arena.mark(&node).await;
    let client = arena.cluster.client_as(OTHER_COORDINATOR, &node);
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..48 {
        let client = client.clone();
        running.spawn(async move {
            let body = vec![b' '; 4 << 20];
            client.post_bytes(path::STOP, body, CALL).await
        });
    }
    let mut codes = Vec::new();
    while let Some(answer) = running.join_next().await {
        codes.push(problem("large bodies", answer.unwrap()).code());
    }
    let busy = codes.contains(&Some(ProblemCode::Busy));
    let place = ("stop", OTHER_COORDINATOR);
    let expected = (ProblemCode::Busy, "room");
    arena
        .turned_away("48 bodies of 4 MiB", (&node, mark), place, busy, expected)
        .await;
    arena.cluster.status(&node).await;
    arena.finish();
}
