//! Each thing that a rule may not do: with its file, its line and what to do about it.

use std::fmt::Write as _;

use super::{file, problems, with_rules};
use crate::bundle::{BundleChain, WalletTier};
use crate::{Facts, Outcome, Standing, decide};

/// The problems of one rule with this condition.
fn condition(condition: &str) -> Vec<String> {
    let text = format!("@id(\"r\")\npermit (principal, action, resource)\nwhen {{ {condition} }};");
    problems(with_rules(&text).content())
}

#[test]
fn sound_rules_have_no_problems() {
    let text = r#"
        // Everything that people write.
        @id("hot-usdt")
        @reason("hot wallet, listed destination, at most 25 000 USDT")
        permit (
          principal in Countersign::Role::"payment-service",
          action == Countersign::Action::"sign",
          resource in Countersign::Tier::"hot"
        ) when {
          context.kind == "token-transfer" &&
          context.assets == ["eip155:1/erc20:0xdac17f958d2ee523a2206206994597c13d831ec7"] &&
          context.destinationListed &&
          context has amountMicro && context.amountMicro <= 25000000000 &&
          context has feeMicro && context.feeMicro <= 50000000
        };

        @id("large")
        @needs("treasury:2|security:1,treasury:1")
        permit (principal == Countersign::Member::"payments", action, resource == Countersign::Wallet::"hot")
        when {
          ["native-transfer", "token-transfer"].contains(context.kind) &&
          context has destinationActiveSince &&
          context.now.durationSince(context.destinationActiveSince) >= duration("24h") &&
          context.now.durationSince(context.requestIssuedAt) >= duration("1h")
        };

        @id("hours")
        forbid (principal, action, resource)
        unless { context.weekday <= 5 && context.hour >= 8 && context.hour < 18 };

        @id("tuesday")
        forbid (principal, action, resource)
        when {
          context.now.toTime() < duration("1h") || context.now > datetime("2030-01-01") ||
          (context has memo && context.memo like "0xdead*") || context.lost ||
          (context.approvals.treasury < 1 && context.destinationLabels.contains("exchange") && context.minute == 61)
        };
    "#;
    assert_eq!(problems(with_rules(text).content()), [] as [&str; 0]);
}

#[test]
fn each_problem_has_its_file_its_line_and_its_mend() {
    let mut all = String::new();
    for (name, text) in [
        (
            "syntax",
            "@id(\"a\")\npermit (principal, action, resource)\nwhen { context.kind = \"x\" };",
        ),
        (
            "not closed",
            "@id(\"a\")\npermit (principal, action, resource)",
        ),
        (
            "template",
            "@id(\"a\")\npermit (principal == ?principal, action, resource);",
        ),
        (
            "no id",
            "// a comment\npermit (principal, action, resource);",
        ),
        (
            "bad id",
            "@id(\"A B\")\npermit (principal, action, resource);",
        ),
        (
            "the same id",
            "@id(\"a\")\npermit (principal, action, resource);\n@id(\"a\")\nforbid (principal, action, resource);",
        ),
        (
            "the id of a transfer rule",
            "@id(\"hot-usdt-eip155-1\")\nforbid (principal, action, resource);",
        ),
        (
            "unknown annotation",
            "@id(\"a\")\n@limit(\"5\")\nforbid (principal, action, resource);",
        ),
        (
            "bad reason",
            "@id(\"a\")\n@reason(\"\")\nforbid (principal, action, resource);",
        ),
        (
            "needs on a forbid",
            "@id(\"a\")\n@needs(\"treasury:1\")\nforbid (principal, action, resource);",
        ),
        (
            "bad needs",
            "@id(\"a\")\n@needs(\"treasury\")\npermit (principal, action, resource);",
        ),
        (
            "unknown group",
            "@id(\"a\")\n@needs(\"board:1\")\npermit (principal, action, resource);",
        ),
        (
            "needs that cannot be met",
            "@id(\"a\")\n@needs(\"security:2\")\npermit (principal, action, resource);",
        ),
        (
            "unknown member",
            "@id(\"a\")\npermit (principal == Countersign::Member::\"mallory\", action, resource);",
        ),
        (
            "unknown wallet",
            "@id(\"a\")\npermit (principal, action, resource == Countersign::Wallet::\"hto\");",
        ),
        (
            "unknown role",
            "@id(\"a\")\npermit (principal in Countersign::Role::\"payer\", action, resource);",
        ),
        (
            "unknown action",
            "@id(\"a\")\npermit (principal, action == Countersign::Action::\"approve\", resource);",
        ),
        (
            "unknown type",
            "@id(\"a\")\npermit (principal is Countersign::Membr, action, resource);",
        ),
        (
            "a carriage return hides a rule",
            "@id(\"a\") // comment\rforbid (principal, action, resource);",
        ),
        (
            "direction of writing",
            "@id(\"a\")\nforbid (principal, action, resource); // \u{202e}",
        ),
    ] {
        let found = problems(with_rules(text).content());
        assert!(!found.is_empty(), "{name}: must be refused");
        let _ = writeln!(all, "{name}:");
        for problem in found {
            let _ = writeln!(all, "  {problem}");
        }
    }
    insta::assert_snapshot!(all);
}

#[test]
fn conditions_that_are_refused() {
    let mut all = String::new();
    for text in [
        // Would overflow, and Cedar would skip the rule.
        "context.permission + 1 > 0",
        "context.hour - 1 > 0",
        "context.hour * 2 > 0",
        "-context.permission > 0",
        "context.now.offset(duration(\"1d\")) > context.requestIssuedAt",
        // Could fail.
        "context.amountMicro <= 5",
        "context.now > datetime(context.kind)",
        "context.contract == \"x\"",
        "decimal(\"1.0\").lessThan(decimal(context.kind))",
        "duration(\"1 day\") > duration(\"1h\")",
        "principal.hasTag(\"a\")",
        // Means nothing.
        "context.unknown",
        "context.kind == 5",
        "context.kind == \"tranfer\"",
        "[\"native-transfer\", \"transfer\"].contains(context.kind)",
        "context.destinationLabels.contains(\"exchnage\")",
        "context.network == \"eip155:01\"",
        "context.assets.contains(\"eip155:1/erc20:0xdAC17F958D2ee523a2206206994597C13D831ec7\")",
        "context has contract && context.contract == \"0xdac17f958d2ee523a2206206994597c13d831ec7\"",
        "context.approvals.board >= 1",
        "principal in Countersign::Group::\"board\"",
        "resource == Countersign::Tier::\"hot\"",
        "context.hour < 8 && false",
    ] {
        let found = condition(text);
        assert!(!found.is_empty(), "{text}: must be refused");
        let _ = writeln!(all, "{text}:");
        for problem in found {
            let _ = writeln!(all, "  {problem}");
        }
    }
    insta::assert_snapshot!(all);
}

/// What is accepted can be evaluated on the stack of a thread, and what is refused is refused without exhausting one.
#[test]
fn nesting_is_bounded_and_what_is_accepted_can_be_evaluated() {
    let nested = |levels: usize| "context.lost".to_owned() + &" || context.lost".repeat(levels);
    let accepted = with_rules(&format!(
        "@id(\"r\") forbid (principal, action, resource) when {{ {} }};",
        nested(60)
    ));
    let request = accepted.usdt_request("p", 5);
    let bundle = accepted.bundle();
    let request = bundle.directory().open(&request).unwrap();
    let facts = Facts::establish(&bundle, request.body()).unwrap();
    let decision = decide(
        &bundle,
        &request,
        &facts,
        &Standing::unencumbered(),
        accepted.now(),
    );
    assert_eq!(decision.outcome, Outcome::Allow, "{:?}", decision.reasons);

    let refused = |text: &str, what: &str| {
        let found = condition(text);
        assert!(found.iter().any(|p| p.contains(what)), "{found:?}");
    };
    refused(&nested(64), "nested more than 64 levels");
    refused(&nested(130), "nested more than 64 levels");
    refused(&nested(150), "longer than 2048 characters");
    refused(
        &format!("context{}", ".a".repeat(950)),
        "nested more than 64 levels",
    );
    let brackets = |n: usize| format!("{}true{}", "(".repeat(n), ")".repeat(n));
    refused(&brackets(900), "brackets are nested more than 32 levels");
    refused(
        &"[".repeat(1_900),
        "brackets are nested more than 32 levels",
    );
    refused(&"if true then true else ".repeat(90), "");
    refused(&format!("{}true", "!".repeat(1_900)), "");
}

#[test]
fn all_problems_of_all_files_are_told_at_once() {
    let mut deployment = with_rules(
        "@id(\"a\")\npermit (principal, action, resource);\n\nbroken;\n\nforbid (principal, action, resource);",
    );
    deployment.content_mut().cedar.push(file(
        "warm.cedar",
        "@id(\"a\") forbid (principal, action, resource) when { context.x };",
    ));
    let found = problems(deployment.content());
    let places: Vec<_> = found
        .iter()
        .map(|p| p.split(": ").next().unwrap())
        .collect();
    assert_eq!(
        places,
        ["hot.cedar:4", "hot.cedar:6", "warm.cedar:1", "warm.cedar:1"]
    );
    let genesis = deployment.genesis();
    let error = BundleChain::from_genesis(&genesis, genesis.digest()).unwrap_err();
    assert!(
        error.to_string().contains("; rules/hot.cedar:4: "),
        "{error}"
    );
}

#[test]
fn a_cold_wallet_needs_approvals_wherever_a_scope_reaches_it() {
    let rule = |scope: &str, needs: &str| {
        let text = format!("@id(\"a\") {needs} permit (principal, action, {scope});");
        let mut deployment = with_rules(&text);
        crate::testing::cold::set_tier(
            deployment.content_mut(),
            crate::testing::WALLET,
            WalletTier::Cold,
        );
        problems(deployment.content())
    };
    for scope in [
        "resource",
        "resource in Countersign::Tier::\"cold\"",
        "resource == Countersign::Wallet::\"hot\"",
    ] {
        assert!(
            rule(scope, "")[0].contains("a cold wallet could be signed without approvals"),
            "{scope}"
        );
        assert!(
            rule(scope, "@needs(\"treasury:1\")")[0].contains("is met by one person"),
            "{scope}"
        );
        assert_eq!(
            rule(scope, "@needs(\"treasury:1,security:1\")"),
            [] as [&str; 0],
            "{scope}"
        );
    }
    for scope in [
        "resource in Countersign::Tier::\"hot\"",
        "resource == Countersign::Wallet::\"hot-solana\"",
    ] {
        assert_eq!(rule(scope, ""), [] as [&str; 0], "{scope}");
    }
}

#[test]
fn a_file_that_is_too_large_is_not_even_read() {
    let text = " ".repeat(256 * 1024 + 1);
    assert!(problems(with_rules(&text).content())[0].contains("larger than 256 KiB"));
}
