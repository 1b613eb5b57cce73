//! The coordinator over real TLS, on both databases, with nodes that run the real gate and fail as scripted.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "tests"
)]

#[path = "../support/mod.rs"]
mod support;
#[path = "../support/http.rs"]
mod web;

mod access;
mod approvals;
mod cold;
mod deployment;
mod faults;
mod freezes;
mod limits;
mod policy;
mod requests;
mod stops;
mod surface;

use std::net::SocketAddr;
use std::time::Duration;

use countersign_coordinator::*;
use countersign_policy::statement::{CancelReason, FreezeTarget, Verdict};
use countersign_policy::testing::transaction::{EXCHANGE, usdt_erc20};
use countersign_policy::testing::{
    APPROVERS, AUDITOR, AUTHOR, COORDINATOR, OFFICER, OPERATOR, OTHER_COORDINATOR, OTHER_OFFICERS,
    OTHER_PAYMENTS, PAYMENTS, WALLET, member,
};
use countersign_policy::{Envelope, Network, Outcome};
use countersign_signer::wire::{ActivateBundle, ProblemCode, StartCeremony, SubmitBundle};
use http::{Method, Request, StatusCode};
use support::database::{Kind, TestDatabase, both};
use support::{Fault, World, clock};
use web::Reply;

struct Client<'a> {
    world: &'a World,
    address: SocketAddr,
}

impl Client<'_> {
    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Reply {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("https://localhost{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        web::call(
            &self.world.authority_pem,
            self.address,
            true,
            request.body(body).unwrap(),
        )
        .await
        .unwrap()
    }

    async fn post(&self, envelope: &Envelope, key: &str, wait: u64) -> Reply {
        let prefer = format!("wait={wait}");
        let mut headers = vec![("idempotency-key", key)];
        if wait > 0 {
            headers.push(("prefer", &prefer));
        }
        self.send(
            Method::POST,
            "/v1/sign-requests",
            &headers,
            serde_json::to_vec(envelope).unwrap(),
        )
        .await
    }

    async fn get_as(&self, who: &str, path: &str, wait: u64) -> Reply {
        let token = support::api_secret(who).token(
            &member(who),
            self.world.deployment.genesis_hash(),
            clock(),
        );
        let (token, wait) = (format!("Bearer {token}"), format!("wait={wait}"));
        self.send(
            Method::GET,
            path,
            &[("authorization", &token), ("prefer", &wait)],
            vec![],
        )
        .await
    }

    async fn read(&self, id: impl std::fmt::Display, wait: u64) -> RequestView {
        self.get_as(PAYMENTS, &format!("/v1/sign-requests/{id}"), wait)
            .await
            .json()
    }

    /// POSTs a statement.
    async fn write(&self, path: &str, statement: &Envelope, wait: u64) -> Reply {
        let prefer = format!("wait={wait}");
        let body = serde_json::to_vec(statement).unwrap();
        self.send(Method::POST, path, &[("prefer", &prefer)], body)
            .await
    }

    async fn cancel(
        &self,
        request: &Envelope,
        who: &str,
        reason: CancelReason,
        wait: u64,
    ) -> Reply {
        let cancel = self.world.deployment.cancel(who, request, reason);
        let path = format!("/v1/sign-requests/{}/cancel", request.digest());
        let prefer = format!("wait={wait}");
        self.send(
            Method::POST,
            &path,
            &[("prefer", &prefer)],
            serde_json::to_vec(&cancel).unwrap(),
        )
        .await
    }
}

fn client<'a>(world: &'a World, running: &Running) -> Client<'a> {
    Client {
        world,
        address: running.address(),
    }
}

fn states(view: &RequestView) -> Vec<&str> {
    view.events.iter().map(|e| e.state.as_str()).collect()
}
