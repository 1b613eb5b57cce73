//! The wire format, pinned: a change here is a change that other versions and other programs do not understand.

use std::fmt::Write as _;

use crate::bundle::Role;
use crate::statement::Kind;
use crate::testing::{TestDeployment, open_as, samples};

/// The payload as signed, made readable by line breaks outside of strings, with type, digest and signatures.
fn show(envelope: &crate::Envelope) -> String {
    let payload: serde_json::Value = serde_json::from_slice(envelope.payload()).unwrap();
    let mut out = format!(
        "{}\ndigest {}\n",
        envelope.payload_type(),
        envelope.digest()
    );
    for signature in envelope.signatures() {
        let (keyid, sig) = (&signature.keyid, hex::encode(&signature.sig));
        writeln!(out, "signed by {keyid} {sig}").unwrap();
    }
    out + &serde_json::to_string_pretty(&payload).unwrap()
}

#[test]
fn every_statement_has_its_golden_form() {
    let deployment = TestDeployment::with_single_keys(3, 2);
    let all = samples(&deployment);
    for kind in Kind::ALL {
        assert!(all.iter().any(|s| s.kind == kind), "no sample of {kind:?}");
    }
    for sample in all {
        open_as(&deployment, sample.kind, &sample.envelope).unwrap();
        insta::assert_snapshot!(sample.name, show(&sample.envelope));
    }
}

#[test]
fn the_envelope_has_its_golden_form() {
    let deployment = TestDeployment::with_single_keys(3, 2);
    let sample = samples(&deployment)
        .into_iter()
        .find(|s| s.kind == Kind::StopAck)
        .unwrap();
    insta::assert_snapshot!(serde_json::to_string(&sample.envelope).unwrap());
}

#[test]
fn who_may_issue_what() {
    let mut table = String::from(
        "x: may issue, q: may issue if a quorum signs, ?: decided with the content\n\n",
    );
    write!(table, "{:20}", "").unwrap();
    for role in Role::ALL {
        write!(table, " {:>16}", role.as_str()).unwrap();
    }
    table.push('\n');
    for kind in Kind::ALL {
        write!(table, "{:20}", kind.as_str()).unwrap();
        for role in Role::ALL {
            let mark = match kind {
                Kind::SignRequest | Kind::NodeTls => "?",
                _ if !kind.issuers().contains(&role) => ".",
                _ if kind.is_quorum_signed() => "q",
                _ => "x",
            };
            write!(table, " {mark:>16}").unwrap();
        }
        table.push('\n');
    }
    insta::assert_snapshot!(table);
}

#[test]
fn names_of_kinds_are_their_json_names() {
    for kind in Kind::ALL {
        assert_eq!(
            serde_json::to_string(&kind).unwrap(),
            format!("{:?}", kind.as_str())
        );
    }
    for role in Role::ALL {
        assert_eq!(
            serde_json::to_string(&role).unwrap(),
            format!("{:?}", role.as_str())
        );
    }
}
