//! Every rule on who approves, what holds limits and which credentials count, broken once.

use p256::elliptic_curve::sec1::ToEncodedPoint as _;

use super::content::{accepted, of, refused, usdt_rule};
use crate::bundle::{
    CedarFile, Credential, CredentialAlgorithm, Group, KeyState, PolicyBundle, Role, WalletTier,
    WebAuthnPolicy,
};
use crate::limits::{Limit, LimitScope, Measure, Period, Price, Reference};
use crate::testing::cold::set_tier;
use crate::testing::{
    AUTHOR, LEDGERS, OBSERVER, OFFICER, OTHER_OFFICERS, PAYMENTS, TestDeployment, USDT_LIMIT,
    WALLET, member, usdt, wallet_id,
};
use crate::{Address, Amount, HexBytes, IdentityKey, Network};

/// Groups as in [`TestDeployment::with_approvals`], then the change.
fn grouped(change: impl FnOnce(&mut PolicyBundle)) -> impl FnOnce(&mut PolicyBundle) {
    |c| {
        let mut deployment = TestDeployment::with_single_keys(3, 2);
        deployment.add_groups();
        c.groups = deployment.content().groups.clone();
        change(c);
    }
}

/// A ledger group and a limit as in [`TestDeployment::with_limit`], then the change.
fn limited(change: impl FnOnce(&mut PolicyBundle)) -> impl FnOnce(&mut PolicyBundle) {
    |c| {
        let deployment = TestDeployment::with_limit(3, 2, 1_000, 86_400);
        c.ledger_groups = deployment.content().ledger_groups.clone();
        c.limits = deployment.content().limits.clone();
        change(c);
    }
}

fn needs(text: &'static str) -> impl FnOnce(&mut PolicyBundle) {
    grouped(move |c| usdt_rule(c).needs = Some(text.parse().unwrap()))
}

fn tiered(tier: WalletTier, text: &'static str) -> impl FnOnce(&mut PolicyBundle) {
    grouped(move |c| {
        set_tier(c, WALLET, tier);
        for rule in c.rules.iter_mut().filter(|r| r.wallet == wallet_id(WALLET)) {
            rule.needs = (!text.is_empty()).then(|| text.parse().unwrap());
        }
    })
}

#[test]
fn groups_are_made_of_officers() {
    accepted(grouped(|_| ()));
    refused("groups", "ascending", grouped(|c| c.groups.reverse()));
    let at = "groups[treasury].members";
    refused(at, "ascending", grouped(|c| c.groups[1].members.reverse()));
    refused(
        at,
        "without members",
        grouped(|c| c.groups[1].members.clear()),
    );
    refused(
        at,
        "no member nobody",
        grouped(|c| c.groups[1].members = vec![member("nobody")]),
    );
    refused(
        at,
        "payments is no security officer",
        grouped(|c| c.groups[1].members = vec![member(OFFICER), member(PAYMENTS)]),
    );
}

#[test]
fn needs_can_be_met_by_different_people() {
    let at = "rules[hot-usdt-eip155-1].needs";
    accepted(needs("treasury:2,security:1"));
    accepted(needs("treasury:1|security:1"));
    refused(at, "no group board", needs("treasury:2|board:1"));
    refused(at, "could never be met", needs("treasury:3"));
    // The second alternative must be possible too: people rely on it.
    refused(at, "security:2 needs more", needs("treasury:2|security:2"));
    // Two groups with the same two people are not three.
    let overlapping = |text: &'static str| {
        grouped(move |c| {
            c.groups.push(Group {
                id: "vault".parse().unwrap(),
                members: c.groups[1].members.clone(),
            });
            usdt_rule(c).needs = Some(text.parse().unwrap());
        })
    };
    accepted(overlapping("treasury:1,vault:1"));
    refused(at, "could never be met", overlapping("treasury:2,vault:1"));
}

#[test]
fn a_cold_wallet_is_never_signed_without_two_people() {
    let at = "rules[hot-usdt-eip155-1].needs";
    refused(at, "without approvals", tiered(WalletTier::Cold, ""));
    accepted(tiered(WalletTier::Warm, ""));
    for tier in [WalletTier::Cold, WalletTier::Warm] {
        refused(at, "met by one person", tiered(tier, "treasury:1"));
        refused(
            at,
            "security:1 is met by one person",
            tiered(tier, "treasury:2|security:1"),
        );
        accepted(tiered(tier, "treasury:1,security:1"));
    }
    accepted(tiered(WalletTier::Hot, "treasury:1"));
}

fn cedar(text: &'static str) -> impl FnOnce(&mut PolicyBundle) {
    grouped(move |c| {
        set_tier(c, WALLET, WalletTier::Cold);
        c.rules.retain(|r| r.wallet != wallet_id(WALLET));
        c.cedar = vec![CedarFile {
            name: "hot.cedar".into(),
            text: text.into(),
        }];
    })
}

#[test]
fn cedar_permits_are_held_to_the_same() {
    let permit = r#"@id("a") @needs("treasury:2") permit (principal, action, resource == Countersign::Wallet::"hot");"#;
    accepted(cedar(permit));
    let at = "rules/hot.cedar:1";
    let alone = r#"@id("a") @needs("treasury:1") permit (principal, action, resource == Countersign::Wallet::"hot");"#;
    refused(at, "met by one person", cedar(alone));
    let without = r#"@id("a") permit (principal, action, resource == Countersign::Wallet::"hot");"#;
    refused(at, "without approvals", cedar(without));
    // A file that permits nothing for the wallet is no rule for it.
    let forbid = r#"@id("a") @reason("closed") forbid (principal, action, resource);"#;
    refused("wallets[hot]", "no rule permits", cedar(forbid));
    refused("cedar[x.txt].name", "below rules/", |c| {
        let (name, text) = ("x.txt".into(), String::new());
        c.cedar = vec![CedarFile { name, text }];
    });
}

#[test]
fn every_wallet_that_can_sign_has_a_rule() {
    refused("wallets[hot]", "no rule permits", |c| {
        c.rules.retain(|r| r.wallet != wallet_id(WALLET));
    });
    accepted(|c| {
        c.rules.retain(|r| r.wallet != wallet_id(WALLET));
        c.keys[0].state = KeyState::Deactivated;
    });
}

#[test]
fn nobody_ends_a_freeze_or_gives_amounts_back_alone() {
    refused("quorums.unfreeze", "at least two", |c| {
        c.quorums.unfreeze = 1
    });
    refused("quorums.unfreeze", "at least one", |c| {
        c.quorums.unfreeze = 0
    });
    refused("quorums.unfreeze", "no freeze could ever be ended", |c| {
        c.quorums.unfreeze = 4;
    });
    accepted(|c| c.quorums.unfreeze = 3);
    accepted(|c| {
        for id in OTHER_OFFICERS {
            of(c, id).roles = [Role::PolicyApprover].into();
        }
        c.quorums.unfreeze = 1;
    });
    for needed in [0, 1] {
        refused("quorums.observation", "at least two", move |c| {
            c.quorums.observation = needed;
        });
    }
    refused("quorums.observation", "never be met", |c| {
        c.quorums.observation = 3;
    });
    refused("quorums.observation", "never be met", |c| {
        c.members.retain(|m| m.id != member(OBSERVER));
    });
    accepted(|c| {
        c.members
            .retain(|m| !m.roles.contains(&Role::ChainObserver));
        c.quorums.observation = 0;
    });
}

#[test]
fn approvals_and_delays_are_bounded_in_time() {
    let at = "timing.max_approval_life_seconds";
    for life in [0, 59, 30 * 86_400 + 1] {
        refused(at, "60 to 2592000", move |c| {
            c.timing.max_approval_life_seconds = life;
        });
    }
    refused("timing.activation_delay_seconds", "at most 2592000", |c| {
        c.timing.activation_delay_seconds = 30 * 86_400 + 1;
    });
    accepted(|c| {
        c.timing.max_approval_life_seconds = 30 * 86_400;
        c.timing.activation_delay_seconds = 30 * 86_400;
    });
    refused("supersedes", "ascending", |c| {
        c.supersedes = vec![crate::Hash::ZERO, crate::Hash::ZERO];
    });
}

#[test]
fn two_quorums_of_a_ledger_group_share_an_honest_node() {
    accepted(limited(|_| ()));
    let at = |field: &str| format!("ledger_groups[{LEDGERS}].{field}");
    refused(
        "ledger_groups",
        "ascending",
        limited(|c| {
            c.ledger_groups.push(c.ledger_groups[0].clone());
        }),
    );
    refused(
        &at("nodes"),
        "ascending",
        limited(|c| {
            c.ledger_groups[0].nodes.reverse();
        }),
    );
    refused(
        &at("nodes"),
        "node-9 is no member",
        limited(|c| {
            c.ledger_groups[0].nodes.push(member("node-9"));
        }),
    );
    refused(
        &at("quorum"),
        "never be met",
        limited(|c| {
            c.ledger_groups[0].quorum = 4;
        }),
    );
    refused(
        &at("quorum"),
        "more than half of 3",
        limited(|c| {
            c.ledger_groups[0].quorum = 1;
        }),
    );
    refused(
        &at("quorum"),
        "more than half of 4",
        limited(|c| {
            c.ledger_groups[0].max_faulty = 1;
        }),
    );
    accepted(limited(|c| {
        c.ledger_groups[0].max_faulty = 1;
        c.ledger_groups[0].quorum = 3;
    }));
}

#[test]
fn no_domain_holds_more_of_a_ledger_than_may_lie() {
    let at = format!("ledger_groups[{LEDGERS}].nodes");
    // Nodes besides those of the keys: four in a group of which one may lie.
    let wide = |hosts: [&'static str; 4], faulty: u16| {
        limited(move |c| {
            for (i, host) in hosts.iter().enumerate() {
                let mut extra = of(c, "node-1").clone();
                extra.id = member(&format!("node-{}", i + 4));
                extra.keys[0].public_key = IdentityKey::from_seed(&[i as u8; 32]).public();
                let domains = extra.domains.as_mut().unwrap();
                domains.hosting = (*host).into();
                domains.administration = format!("team {i}");
                c.members.push(extra.clone());
                c.ledger_groups[0].nodes.push(extra.id);
            }
            c.members.sort_by(|a, b| a.id.cmp(&b.id));
            c.ledger_groups[0].quorum = 5;
            c.ledger_groups[0].max_faulty = faulty;
        })
    };
    accepted(wide(["a", "b", "c", "d"], 1));
    refused(&at, "could lie together", wide(["a", "a", "c", "d"], 1));
    accepted(wide(["a", "a", "c", "d"], 2));
    accepted(wide(["a", "a", "c", "d"], 0));
    refused(&at, "are a quorum alone", |c| {
        wide(["x"; 4], 0)(c);
        of(c, "node-1").domains.as_mut().unwrap().hosting = "x".into();
    });
}

#[test]
fn the_nodes_of_a_limited_wallet_keep_its_ledgers() {
    let at = |field: &str| format!("limits[{USDT_LIMIT}].{field}");
    refused(
        "limits",
        "ascending",
        limited(|c| c.limits.push(c.limits[0].clone())),
    );
    refused(
        &at("ledger_group"),
        "no ledger group elsewhere",
        limited(|c| {
            c.limits[0].ledger_group = "elsewhere".parse().unwrap();
        }),
    );
    refused(
        &at("ledger_group"),
        "also signed by node-3",
        limited(|c| {
            c.ledger_groups[0].nodes.pop();
        }),
    );
    refused(
        &at("ledger_group"),
        "quorum must not be smaller",
        limited(|c| {
            c.keys[0].threshold = 3;
        }),
    );
    refused(
        &at("scope.wallets"),
        "no wallet nothing",
        limited(|c| {
            c.limits[0].scope.wallets.push(wallet_id("nothing"));
        }),
    );
    refused(
        &at("scope.wallets"),
        "ascending",
        limited(|c| {
            c.limits[0].scope.wallets.push(wallet_id(WALLET));
        }),
    );
    refused(
        &at("scope.initiators"),
        "officer is no payment service",
        limited(|c| {
            c.limits[0].scope.initiators = vec![member(OFFICER)];
        }),
    );
    refused(
        &at("scope"),
        "limit nothing",
        limited(|c| {
            c.limits[0].scope.tier = Some(WalletTier::Cold);
        }),
    );
    refused(
        &at("scope"),
        "limit nothing",
        limited(|c| {
            c.limits[0].scope.destination = Some(Address::Solana([7; 32]));
        }),
    );
    refused(
        &at("scope.destination"),
        "no address of",
        limited(|c| {
            c.limits[0].scope.destination = Some(Address::Tron([7; 20]));
            c.limits[0].scope.network = Some(Network::ETHEREUM);
        }),
    );
    refused(
        &at("scope.network"),
        "nothing there is on",
        limited(|c| {
            c.limits[0].scope.network = Some(Network::TRON);
        }),
    );
    accepted(limited(|c| {
        c.limits[0].scope = LimitScope {
            network: Some(Network::ETHEREUM),
            destination: Some(Address::Evm([7; 20])),
            initiators: vec![member(PAYMENTS)],
            tier: Some(WalletTier::Hot),
            wallets: Vec::new(),
        };
    }));
}

#[test]
fn limits_count_what_the_bundle_knows() {
    let at = |field: &str| format!("limits[{USDT_LIMIT}].{field}");
    let edit = |change: fn(&mut Limit)| limited(move |c| change(&mut c.limits[0]));
    let max = Amount::from(1_u64);
    refused(
        &at("measure"),
        "not in assets",
        limited(move |c| {
            let asset = "eip155:1/erc20:0x6666666666666666666666666666666666666666";
            let asset = asset.parse().unwrap();
            c.limits[0].measure = Measure::Amount { asset, max };
        }),
    );
    refused(
        &at("measure"),
        "no fee cap",
        limited(move |c| {
            let network = Network::evm(10).unwrap();
            c.limits[0].measure = Measure::Fee { network, max };
        }),
    );
    accepted(limited(move |c| {
        let network = Network::ETHEREUM;
        c.limits[0].measure = Measure::Fee { network, max };
    }));
    refused(
        &at("measure"),
        "no reference prices",
        limited(move |c| {
            c.limits[0].measure = Measure::Value { max };
        }),
    );
    for seconds in [0, 59, 31 * 86_400 + 1] {
        refused(
            &at("period"),
            "31 days",
            limited(move |c| {
                c.limits[0].period = Period::Rolling { seconds };
            }),
        );
    }
    accepted(edit(|l| {
        l.period = Period::Rolling {
            seconds: 31 * 86_400,
        }
    }));
    accepted(edit(|l| l.period = Period::Outstanding));
    refused(
        &at("period"),
        "without chain observers",
        limited(|c| {
            c.members
                .retain(|m| !m.roles.contains(&Role::ChainObserver));
            c.quorums.observation = 0;
            c.limits[0].period = Period::Outstanding;
        }),
    );
}

#[test]
fn reference_prices_are_of_the_bundles_assets() {
    let priced = |change: fn(&mut Reference)| {
        move |c: &mut PolicyBundle| {
            let mut reference = Reference {
                currency: "USD".into(),
                decimals: 2,
                prices: vec![Price {
                    asset: usdt(),
                    per_unit: Amount::from(100_u64),
                }],
            };
            change(&mut reference);
            c.reference = Some(reference);
        }
    };
    accepted(priced(|_| ()));
    refused(
        "reference.currency",
        "1 to 128",
        priced(|r| r.currency.clear()),
    );
    refused(
        "reference.decimals",
        "at most 18",
        priced(|r| r.decimals = 19),
    );
    refused(
        "reference.prices",
        "ascending",
        priced(|r| {
            r.prices.push(r.prices[0].clone());
        }),
    );
    let other = "reference.prices[eip155:1/erc20:0x6666666666666666666666666666666666666666]";
    refused(
        other,
        "not in assets",
        priced(|r| {
            let asset = "eip155:1/erc20:0x6666666666666666666666666666666666666666";
            r.prices[0].asset = asset.parse().unwrap();
        }),
    );
}

/// An officer with an ES256 credential under a relying party, then the change.
fn with_credential(change: impl FnOnce(&mut PolicyBundle)) -> impl FnOnce(&mut PolicyBundle) {
    |c| {
        c.webauthn = Some(WebAuthnPolicy {
            rp_id: "approve.example.com".into(),
            origins: vec![
                "https://approve.example.com".into(),
                "https://eu.approve.example.com:8443".into(),
            ],
            allow_backup_eligible: false,
        });
        let secret = p256::SecretKey::from_slice(&[7; 32]).unwrap();
        let point = secret.public_key().to_encoded_point(true);
        of(c, OFFICER).credentials = vec![Credential {
            id: HexBytes(vec![1; 16]),
            algorithm: CredentialAlgorithm::Es256,
            public_key: HexBytes(point.as_bytes().to_vec()),
        }];
        change(c);
    }
}

#[test]
fn credentials_are_keys_of_one_officer() {
    accepted(with_credential(|_| ()));
    let at = format!("members[officer].credentials[0x{}]", "01".repeat(16));
    let key = format!("{at}.public_key");
    refused(
        "members[officer].credentials",
        "without webauthn",
        with_credential(|c| {
            c.webauthn = None;
        }),
    );
    refused(
        "members[author].credentials",
        "only security officers",
        with_credential(|c| {
            of(c, AUTHOR).credentials = std::mem::take(&mut of(c, OFFICER).credentials);
        }),
    );
    let short = format!("members[officer].credentials[0x{}]", "01".repeat(15));
    refused(
        &short,
        "16 to 1023",
        with_credential(|c| {
            of(c, OFFICER).credentials[0].id = HexBytes(vec![1; 15]);
        }),
    );
    refused(
        &key,
        "compressed",
        with_credential(|c| {
            of(c, OFFICER).credentials[0].public_key.0.pop();
        }),
    );
    refused(
        &key,
        "compressed",
        with_credential(|c| {
            of(c, OFFICER).credentials[0].public_key.0[0] = 4;
        }),
    );
    // x = p is no coordinate.
    refused(
        &key,
        "no point of P-256",
        with_credential(|c| {
            of(c, OFFICER).credentials[0].public_key.0[1..].fill(0xff);
        }),
    );
    refused(
        &key,
        "no usable Ed25519",
        with_credential(|c| {
            of(c, OFFICER).credentials[0].algorithm = CredentialAlgorithm::Eddsa;
        }),
    );
    refused(
        &at,
        "also a key of author",
        with_credential(|c| {
            let key = of(c, AUTHOR).keys[0].public_key;
            let credential = &mut of(c, OFFICER).credentials[0];
            credential.algorithm = CredentialAlgorithm::Eddsa;
            credential.public_key = HexBytes(key.as_bytes().to_vec());
        }),
    );
    let twice = format!("members[officer-2].credentials[0x{}]", "01".repeat(16));
    for what in ["also a credential of officer", "also a key of officer"] {
        refused(
            &twice,
            what,
            with_credential(|c| {
                of(c, OTHER_OFFICERS[0]).credentials = of(c, OFFICER).credentials.clone();
            }),
        );
    }
}

#[test]
fn a_relying_party_is_a_host_with_secure_origins() {
    let set = |rp_id: &'static str, origins: &'static [&'static str]| {
        with_credential(move |c| {
            let policy = c.webauthn.as_mut().unwrap();
            policy.rp_id = rp_id.into();
            policy.origins = origins.iter().map(|o| (*o).to_owned()).collect();
        })
    };
    for rp_id in [
        "",
        "Example.com",
        "https://example.com",
        "example.com:1",
        "-a.com",
        "a..b",
    ] {
        refused(
            "webauthn.rp_id",
            "host name",
            set(rp_id, &["https://example.com"]),
        );
    }
    refused(
        "webauthn.origins",
        "without an origin",
        set("example.com", &[]),
    );
    refused(
        "webauthn.origins",
        "ascending",
        set(
            "example.com",
            &["https://b.example.com", "https://a.example.com"],
        ),
    );
    for origin in [
        "http://example.com",
        "https://example.com/",
        "https://example.com:443",
        "https://example.com:0",
        "https://example.com:99999",
        "https://Example.com",
        "null",
    ] {
        let at = format!("webauthn.origins[{origin}]");
        refused(
            &at,
            "https://host",
            with_credential(move |c| {
                let policy = c.webauthn.as_mut().unwrap();
                policy.rp_id = "example.com".into();
                policy.origins = vec![origin.into()];
            }),
        );
    }
    for origin in ["https://notexample.com", "https://example.com.evil.net"] {
        let at = format!("webauthn.origins[{origin}]");
        refused(
            &at,
            "not below the relying party",
            with_credential(move |c| {
                let policy = c.webauthn.as_mut().unwrap();
                policy.rp_id = "example.com".into();
                policy.origins = vec![origin.into()];
            }),
        );
    }
}
