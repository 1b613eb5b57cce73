//! Statements as this program signs them: by one member, or by an author and approvers together.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use countersign_policy::bundle::{ActiveBundle, Role};
use countersign_policy::statement::{Body, Statement};
use countersign_policy::{Envelope, MemberId};

use crate::clock;
use crate::failure::{Failure, OrFail as _, Outcome};
use crate::profile::Profile;

/// Who signs.
#[derive(Debug, Clone, Default, Args)]
pub struct Signers {
    /// A member that signs: the policy author and approvers, once each. MEMBER alone takes the key file that the profile names.
    /// Without this option: every author and approver the profile has a key of.
    #[arg(long = "sign", value_name = "MEMBER[=FILE]", value_parser = signer)]
    sign: Vec<(MemberId, Option<PathBuf>)>,
}

fn signer(text: &str) -> Result<(MemberId, Option<PathBuf>), String> {
    let (member, file) = match text.split_once('=') {
        Some((member, file)) => (member, Some(PathBuf::from(file))),
        None => (text, None),
    };
    let member = MemberId::new(member).map_err(|e| e.to_string())?;
    Ok((member, file))
}

impl Signers {
    /// A statement of the one author among the signers, signed by all of them.
    ///
    /// Whether they are a quorum is for the bundle to say; whoever submits it checks that first.
    pub fn issue<B: Body>(
        &self,
        profile: &Profile,
        active: &ActiveBundle,
        body: B,
        seconds: u64,
    ) -> Outcome<Envelope> {
        let given: BTreeMap<MemberId, PathBuf> = self
            .sign
            .iter()
            .filter_map(|(member, file)| Some((member.clone(), file.clone()?)))
            .collect();
        let members: Vec<MemberId> = if self.sign.is_empty() {
            profile.signers.keys().cloned().collect()
        } else {
            self.sign.iter().map(|(member, _)| member.clone()).collect()
        };
        let with = |role| {
            members
                .iter()
                .filter(move |member| active.has_role(member, role))
        };
        let author = with(Role::PolicyAuthor).next().ok_or_else(|| {
            Failure::usage(
                "no policy author is among the signers: name one with --sign MEMBER=FILE",
            )
        })?;
        let now = clock::now();
        let statement = Statement::new(
            profile.genesis_hash,
            author.clone(),
            now,
            now.plus_seconds(seconds),
            body,
            &mut rand_core::OsRng,
        );
        let mut envelope = statement
            .sign(&profile.signer(author, &given)?)
            .or_broken("cannot sign")?;
        for approver in with(Role::PolicyApprover) {
            let key = profile.signer(approver, &given)?;
            envelope
                .add_signature(approver.as_str(), &key)
                .or_broken("cannot sign")?;
        }
        Ok(envelope)
    }
}

/// A statement of the profile's own member that counts for `seconds`.
pub fn issue<B: Body>(profile: &Profile, body: B, seconds: u64) -> Outcome<Envelope> {
    let now = clock::now();
    let statement = Statement::new(
        profile.genesis_hash,
        profile.member.clone(),
        now,
        now.plus_seconds(seconds),
        body,
        &mut rand_core::OsRng,
    );
    statement
        .sign(&profile.statement_key()?)
        .or_broken("cannot sign the statement")
}

/// On whose behalf a command acts, when it is not the profile's member.
#[derive(Debug, Clone, Default, Args)]
pub struct Actor {
    /// Acts as this member. MEMBER alone takes the key file that the profile names.
    #[arg(long = "as", value_name = "MEMBER[=FILE]", value_parser = signer)]
    member: Option<(MemberId, Option<PathBuf>)>,
}

impl Actor {
    /// The profile with this member's statement key. What is read is read as the profile's own member, so the API is made first.
    pub fn act(&self, mut profile: Profile) -> Outcome<Profile> {
        let Some((member, file)) = &self.member else {
            return Ok(profile);
        };
        let known = profile.signers.get(member).cloned();
        profile.statement_key_file = file.clone().or(known).ok_or_else(|| {
            Failure::usage(format!(
                "there is no key file of {member} here: name it with --as {member}=FILE"
            ))
        })?;
        profile.member = member.clone();
        Ok(profile)
    }
}
