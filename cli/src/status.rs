//! `countersign status` and `countersign cancel`: what became of requests, and how to stop one.

use clap::Parser;
use countersign_coordinator::{RequestList, RequestView};
use countersign_policy::statement::{Cancel, CancelReason};
use countersign_policy::{Hash, Network, WalletId};

use crate::api::Api;
use crate::failure::Outcome;
use crate::output::Format;
use crate::profile::ProfileArg;
use crate::quorum::issue;
use crate::request::view::{REQUESTS, text};

/// Shows one request, or lists them.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  \
    countersign status 5f0c...               one request\n  \
    countersign status --state SIGNED --limit 20\n  \
    countersign status --external-id payout-1042")]
pub struct Args {
    /// The request's id. Without it, requests are listed.
    #[arg(value_name = "ID")]
    id: Option<Hash>,
    /// Only requests in this state: RECEIVED, AUTHORIZED, SIGNING, SIGNED, STOPPING, BLOCKED, REJECTED, EXPIRED, CANCELLED, FAILED.
    #[arg(long, conflicts_with = "id")]
    state: Option<String>,
    /// Only requests of this wallet.
    #[arg(long, conflicts_with = "id")]
    wallet: Option<WalletId>,
    /// Only requests on this network.
    #[arg(long, conflicts_with = "id")]
    network: Option<Network>,
    /// Only the request with this external id.
    #[arg(long, conflicts_with = "id")]
    external_id: Option<String>,
    /// Continues a list where the last one ended.
    #[arg(long, conflicts_with = "id")]
    cursor: Option<String>,
    /// The most requests to list.
    #[arg(long, conflicts_with = "id", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=200))]
    limit: u16,
    #[command(flatten)]
    profile: ProfileArg,
    #[command(flatten)]
    format: Format,
}

/// Stops a request that is not signed yet.
///
/// The answer says CANCELLED only when enough signers durably promised never to sign it; until then it is STOPPING, and it may
/// still turn out to be SIGNED. Never pay another way before that.
#[derive(Debug, Parser)]
pub struct CancelArgs {
    /// The request's id.
    #[arg(value_name = "ID")]
    id: Hash,
    /// Why, for people; at most 500 bytes.
    #[arg(long, default_value = "")]
    detail: String,
    #[command(flatten)]
    profile: ProfileArg,
    #[command(flatten)]
    format: Format,
}

/// Runs `status`.
pub async fn run(args: Args) -> Outcome {
    let profile = args.profile.load()?;
    let api = Api::new(&profile)?;
    if let Some(id) = args.id {
        let request: RequestView = api.get(&format!("{REQUESTS}/{id}")).await?;
        return args.format.show(&request, text);
    }
    let page: RequestList = api.get(&format!("{REQUESTS}?{}", args.query())).await?;
    args.format.show(&page, |page| {
        let mut lines: Vec<String> = page.requests.iter().map(line).collect();
        if lines.is_empty() {
            lines.push("no requests".to_owned());
        }
        if let Some(cursor) = &page.next_cursor {
            lines.push(format!("more: --cursor {cursor}"));
        }
        lines.join("\n")
    })
}

fn line(request: &RequestView) -> String {
    format!(
        "{} {:12} {:18} {}",
        request.id,
        request.state.as_str(),
        request.network.to_string(),
        request.external_id
    )
}

impl Args {
    fn query(&self) -> String {
        let mut query = vec![format!("limit={}", self.limit)];
        let network = self.network.map(|n| n.to_string());
        for (name, value) in [
            ("state", self.state.as_deref()),
            ("wallet", self.wallet.as_ref().map(WalletId::as_str)),
            ("network", network.as_deref()),
            ("external_id", self.external_id.as_deref()),
            ("cursor", self.cursor.as_deref()),
        ] {
            if let Some(value) = value {
                query.push(format!("{name}={}", percent_encode(value)));
            }
        }
        query.join("&")
    }
}

/// RFC 3986: everything but unreserved characters is written as `%XX`.
fn percent_encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Runs `cancel`.
pub async fn cancel(args: CancelArgs) -> Outcome {
    let profile = args.profile.load()?;
    let body = Cancel {
        request: args.id,
        reason: CancelReason::Initiator,
        detail: args.detail,
    };
    let envelope = issue(&profile, body, 86_400)?;
    let path = format!("{REQUESTS}/{}/cancel", args.id);
    let request: RequestView = Api::new(&profile)?.post(&path, &envelope).await?;
    args.format.show(&request, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_value_cannot_add_parameters() {
        assert_eq!(percent_encode("a-b.c_d~1"), "a-b.c_d~1");
        assert_eq!(
            percent_encode("x&state=SIGNED#é"),
            "x%26state%3DSIGNED%23%C3%A9"
        );
    }
}
