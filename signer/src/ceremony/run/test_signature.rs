//! The test signature of a ceremony: over a preimage that can be no transaction, with the share as it was stored.

use std::sync::Arc;

use countersign_policy::statement::{KeyCeremony, Verified};
use countersign_policy::{DerivationPath, Signature};

use super::{Ceremonies, Test, blame, on_worker};
use crate::ceremony::auxiliary;
use crate::ceremony::phases::{Phase, link};
use crate::gate::TestSpend;
use crate::net::Channel;
use crate::session::indexes;
use crate::threshold::{
    self, Fault, Lane, LoadedShare, Material, PresignaturePool, Signers, SigningContext, Watermarks,
};

impl Ceremonies {
    pub(super) async fn test_signature(
        &self,
        order: &Verified<KeyCeremony>,
        share: &Arc<LoadedShare>,
        aux: &str,
        test: Test,
    ) -> Result<Signature, String> {
        let parts = self.engine.parts();
        let body = order.body();
        let spend = TestSpend::new(body.protocol, order.digest(), &body.key, &test.signers);
        let signers = share
            .signers(&indexes(&body.nodes, &test.signers))
            .map_err(|e| e.to_string())?;
        let material = match test.presign {
            Some(channel) => {
                self.test_presignature(order, share, &signers, (test.index, channel, aux), &spend)
                    .await?
            }
            None => Material::Fresh,
        };
        let context = SigningContext {
            execution: spend.execution(),
            signers,
            path: DerivationPath::master(),
            preimage: spend.preimage().clone(),
        };
        let channel = test.sign.ok_or("the test's channel is missing")?;
        let (share, nodes) = (Arc::clone(share), body.nodes.clone());
        let signed = on_worker(parts, Lane::Background, move || {
            let (open, first) = threshold::open(share, context, material)?;
            let mut link = link(channel, &nodes);
            for message in first {
                threshold::Link::send(&mut link, message)
                    .map_err(|_| Fault::blameless(threshold::FaultReason::Cancelled))?;
            }
            open.complete(spend.release(), &mut link)
        });
        signed.await?.map_err(|fault| blame(&body.nodes, &fault))
    }

    /// A CGGMP key signs with a presignature only: one is made and burnt for the test.
    async fn test_presignature(
        &self,
        order: &Verified<KeyCeremony>,
        share: &Arc<LoadedShare>,
        signers: &Signers,
        (index, channel, aux): (u16, Channel, &str),
        spend: &TestSpend,
    ) -> Result<Material, String> {
        let parts = self.engine.parts();
        let nodes = order.body().nodes.clone();
        let execution = Phase {
            ceremony: order.digest(),
            name: "test-presign",
            index,
        }
        .execution();
        let aux = auxiliary::load(parts, aux).await?;
        let (share, signers) = (Arc::clone(share), signers.clone());
        let made = on_worker(parts, Lane::Background, move || {
            let aux = aux.load(false).map_err(|e| e.to_string())?;
            let mut link = link(channel, &nodes);
            threshold::presign(
                &share,
                &aux,
                &signers,
                &DerivationPath::master(),
                execution,
                &mut link,
            )
            .map_err(|fault| blame(&nodes, &fault))
        });
        let presignature = made.await??;
        let pool = PresignaturePool::new(Watermarks { low: 0, high: 1 }, 1);
        let id = presignature.id();
        pool.insert(presignature).map_err(|e| e.to_string())?;
        pool.reserve(id, *spend.preimage().digest())
            .map(|burnt| Material::Presignature(Box::new(burnt)))
            .map_err(|e| e.to_string())
    }
}
