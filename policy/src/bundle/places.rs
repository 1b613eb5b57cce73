//! Where things stand in a bundle, so that a decision looks nothing up by walking through everything.

use std::collections::HashMap;

use super::model::PolicyBundle;
use crate::id::{MemberId, WalletId};
use crate::{Address, Network};

/// The places of what every decision looks up.
#[derive(Debug)]
pub(super) struct Places {
    destinations: HashMap<(Network, Address), usize>,
    members: HashMap<MemberId, usize>,
    wallets: HashMap<WalletId, usize>,
}

impl Places {
    /// Of a valid bundle, where each of them stands once.
    pub(super) fn of(bundle: &PolicyBundle) -> Self {
        let book = bundle.address_book.iter().enumerate();
        let members = bundle.members.iter().enumerate();
        let wallets = bundle.wallets.iter().enumerate();
        Self {
            destinations: book
                .map(|(place, entry)| ((entry.network, entry.address), place))
                .collect(),
            members: members.map(|(place, m)| (m.id.clone(), place)).collect(),
            wallets: wallets.map(|(place, w)| (w.id.clone(), place)).collect(),
        }
    }

    pub(super) fn destination(&self, network: &Network, address: &Address) -> Option<usize> {
        self.destinations.get(&(*network, *address)).copied()
    }

    pub(super) fn member(&self, id: &MemberId) -> Option<usize> {
        self.members.get(id).copied()
    }

    pub(super) fn wallet(&self, id: &WalletId) -> Option<usize> {
        self.wallets.get(id).copied()
    }
}
