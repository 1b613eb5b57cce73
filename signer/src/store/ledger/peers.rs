//! What peers' ledgers say, and what they have of ours.

use countersign_policy::statement::{Directory, LedgerEntry, Statement, StatementError, Verified};
use countersign_policy::{Envelope, Hash, MemberId, Timestamp};

use super::index::Author;
use super::own::MAX_ENTRIES;
use super::taken::Taken;
use super::{Fallible, LedgerPosition};
use crate::store::rows::Write;
use crate::store::state::{Peer, State};
use crate::store::{OpError, Store, StoreError};

/// Why a peer's entries are refused. Entries before the offending one were taken.
#[derive(Debug, Clone, thiserror::Error)]
pub enum IngestRefusal {
    /// An entry is no acceptable statement.
    #[error("entry {index} of {peer} is not acceptable: {reason}")]
    Statement {
        /// Whose entries.
        peer: MemberId,
        /// Which of those given, from 0.
        index: usize,
        /// What [`StatementError`] says.
        reason: String,
    },
    /// An entry that somebody else signed.
    #[error("an entry given as {peer}'s is by {issuer}")]
    Issuer {
        /// Whose entries they should be.
        peer: MemberId,
        /// Who signed.
        issuer: MemberId,
    },
    /// Entries are missing in between. Ask for what follows `have`.
    #[error("{peer}'s entry {found} cannot follow entry {have}")]
    Gap {
        /// Whose entries.
        peer: MemberId,
        /// The last one known.
        have: u64,
        /// The one given.
        found: u64,
    },
    /// Two different entries under one sequence number, or one that does not continue what the peer signed before. The
    /// peer is banned, durably, with both entries as evidence.
    #[error("{peer} signed two histories: at its entry {sequence} they differ; it is banned")]
    Equivocation {
        /// Who.
        peer: MemberId,
        /// Where its histories differ.
        sequence: u64,
    },
    /// The peer was caught before.
    #[error("{peer} is banned for signing two histories")]
    Banned {
        /// Who.
        peer: MemberId,
    },
    /// More than 1,000 entries at once.
    #[error("{0} entries at once; at most {MAX_ENTRIES} are taken")]
    TooMany(usize),
    /// This node is no peer of itself: see [`Store::check_own`].
    #[error("these are entries of this node itself")]
    Own,
}

/// How far a peer's ledger is known, and how far the peer knows ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerPosition {
    /// The last entry of the peer's ledger that is stored durably.
    pub known: LedgerPosition,
    /// The last entry of our ledger that the peer said it has.
    pub acknowledged: u64,
    /// Whether the peer was caught signing two histories.
    pub banned: bool,
}

impl Default for PeerPosition {
    fn default() -> Self {
        Self {
            known: LedgerPosition::EMPTY,
            acknowledged: 0,
            banned: false,
        }
    }
}

impl Store {
    /// Takes entries of a peer's ledger, oldest first. Entries known already are passed over if they are the same.
    /// They count at once for every later decision and are durable with the next durable operation. What the peer says of a
    /// time that is still to come counts as if it were said `now`: nothing counts for longer than its limit's span.
    ///
    /// # Errors
    /// [`IngestRefusal`] or a [`StoreError`]. An equivocation is durable when it is reported.
    pub async fn ingest(
        &self,
        peer: &MemberId,
        entries: Vec<Envelope>,
        directory: &Directory,
        now: Timestamp,
    ) -> Result<LedgerPosition, OpError<IngestRefusal>> {
        self.ingest_with(peer, entries, None, directory, now).await
    }

    /// The same, and remembers how far the peer says it knows our ledger ([`Store::acknowledged`]) if its entries are taken.
    ///
    /// # Errors
    /// [`IngestRefusal`] or a [`StoreError`].
    pub async fn ingest_with(
        &self,
        peer: &MemberId,
        entries: Vec<Envelope>,
        acknowledged: Option<u64>,
        directory: &Directory,
        now: Timestamp,
    ) -> Result<LedgerPosition, OpError<IngestRefusal>> {
        if *peer == *self.node() {
            return Err(OpError::Refused(IngestRefusal::Own));
        }
        if entries.len() > MAX_ENTRIES {
            return Err(OpError::Refused(IngestRefusal::TooMany(entries.len())));
        }
        let known = self.taken();
        let (mut unknown, mut names) = (Vec::new(), Vec::new());
        for (index, envelope) in entries.iter().enumerate() {
            let name = Taken::name(peer, envelope);
            if !known.contains(&name) {
                unknown.push((index, envelope));
                names.push(name);
            }
        }
        let given = !entries.is_empty();
        let mut taken = None;
        if let Some(chain) = open_chain(peer, &unknown, directory) {
            taken = self
                .take(peer, given, chain, (Proof::Last, now), acknowledged)
                .await?;
        }
        let taken = match taken {
            Some(taken) => taken,
            // Something is wrong with one of them: each is held against its own signature, and the first at fault is named.
            None => {
                let open = |(index, envelope): &(usize, &Envelope)| {
                    open_entry(peer, *index, envelope, directory)
                };
                let opened = unknown.iter().map(open).collect::<Result<_, _>>();
                let opened = opened.map_err(OpError::Refused)?;
                let taken = self.take(peer, given, opened, (Proof::Each, now), acknowledged);
                taken
                    .await?
                    .ok_or(StoreError::Internal("entries stay without proof"))?
            }
        };
        if taken.is_ok() {
            known.remember(names);
        }
        if let Err(IngestRefusal::Equivocation { .. }) = &taken {
            // The ban leaves this process (as a refusal, in a log) only once it is on disk.
            self.settled().await?;
        }
        taken.map_err(OpError::Refused)
    }

    async fn take(
        &self,
        peer: &MemberId,
        given: bool,
        entries: Vec<Verified<LedgerEntry>>,
        how: (Proof, Timestamp),
        acknowledged: Option<u64>,
    ) -> Result<Option<Result<LedgerPosition, IngestRefusal>>, StoreError> {
        let peer = peer.clone();
        self.lazily(move |state, writes| {
            let taken = state.ingest(&peer, given, &entries, how, writes)?;
            if let (Some(Ok(_)), Some(sequence)) = (&taken, acknowledged) {
                state.acknowledged(&peer, sequence, writes)?;
            }
            Ok(taken)
        })
        .await
    }

    /// Waits until everything that was taken before is durable.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn settled(&self) -> Result<(), StoreError> {
        self.durably(|_, _| Ok(())).await
    }

    /// How far a peer's ledger is known here, and ours there.
    ///
    /// # Errors
    /// [`StoreError`] once the store refuses to work.
    pub fn peer_position(&self, peer: &MemberId) -> Result<PeerPosition, StoreError> {
        self.published(|p| p.peers.get(peer).copied().unwrap_or_default())
    }

    /// The head of a peer's ledger when it ended at `sequence`, as far as it is known here.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn peer_head_at(
        &self,
        peer: &MemberId,
        sequence: u64,
    ) -> Result<Option<Hash>, StoreError> {
        let peer = peer.clone();
        self.observe(move |state| match sequence {
            0 => Some(LedgerPosition::EMPTY.head),
            _ => state.peer(&peer)?.digest_at(sequence),
        })
        .await
    }

    /// Whether a peer was caught signing two histories.
    ///
    /// # Errors
    /// [`StoreError`] once the store refuses to work.
    pub fn peer_banned(&self, peer: &MemberId) -> Result<bool, StoreError> {
        self.peer_position(peer).map(|position| position.banned)
    }

    /// Remembers how far a peer says it knows our ledger; lower than before when the peer lost some. Becomes durable with
    /// the next durable operation: losing it means sending more than needed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn acknowledged(&self, peer: &MemberId, sequence: u64) -> Result<(), StoreError> {
        let peer = peer.clone();
        self.lazily(move |state, writes| state.acknowledged(&peer, sequence, writes))
            .await
    }

    /// The own entries that a peer lacks, by what it acknowledged: at most `limit`, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn entries_for(
        &self,
        peer: &MemberId,
        limit: usize,
    ) -> Result<Vec<Envelope>, StoreError> {
        let from = self.peer_position(peer)?.acknowledged;
        self.entries_after(from, limit).await
    }
}

/// What was verified of entries that are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    /// The signature of the last one, which vouches for the others by their chain.
    Last,
    /// Every signature: each entry is evidence by itself.
    Each,
}

/// The entries as a chain by `peer`, of which only the last one's signature is verified. None when they are no such chain.
fn open_chain(
    peer: &MemberId,
    entries: &[(usize, &Envelope)],
    directory: &Directory,
) -> Option<Vec<Verified<LedgerEntry>>> {
    let entries: Vec<&Envelope> = entries.iter().map(|(_, envelope)| *envelope).collect();
    let opened = directory.open_chain(&entries, |entry: &LedgerEntry| entry.previous);
    opened
        .ok()
        .filter(|chain| chain.iter().all(|entry| entry.issuer() == peer))
}

fn open_entry(
    peer: &MemberId,
    index: usize,
    envelope: &Envelope,
    directory: &Directory,
) -> Result<Verified<LedgerEntry>, IngestRefusal> {
    let refused = |error: StatementError| IngestRefusal::Statement {
        peer: peer.clone(),
        index,
        reason: error.to_string(),
    };
    let entry = directory.open::<LedgerEntry>(envelope).map_err(refused)?;
    if entry.issuer() == peer {
        return Ok(entry);
    }
    Err(IngestRefusal::Issuer {
        peer: peer.clone(),
        issuer: entry.issuer().clone(),
    })
}

/// How far a peer's clock may be ahead, in seconds: the most that a bundle can allow.
const MAX_SKEW_SECONDS: u64 = 60;

/// When a peer reserved something, as far as it can be believed at `now`: nobody reserves in the future, and what says so
/// would count until then.
pub(in crate::store) fn believable(said: Timestamp, now: Timestamp) -> Timestamp {
    said.min(now.plus_seconds(MAX_SKEW_SECONDS))
}

/// Reads an entry without verifying anything.
pub(in crate::store) fn parse_entry(envelope: &Envelope) -> Option<Statement<LedgerEntry>> {
    serde_json::from_slice(envelope.payload()).ok()
}

impl State {
    /// Takes entries. None when they have to be proven one by one first.
    fn ingest(
        &mut self,
        peer: &MemberId,
        given: bool,
        entries: &[Verified<LedgerEntry>],
        how: (Proof, Timestamp),
        writes: &mut Vec<Write>,
    ) -> Fallible<Option<Result<LedgerPosition, IngestRefusal>>> {
        let author = self.author_of(peer, writes)?;
        // Entries that were recognised are not among `entries`; a banned peer gets no other answer for them.
        if given && self.peer(peer).is_some_and(|state| state.banned) {
            return Ok(Some(Err(IngestRefusal::Banned { peer: peer.clone() })));
        }
        for entry in entries {
            match self.ingest_one(peer, author, entry, how, writes)? {
                Some(Ok(())) => {}
                Some(Err(refusal)) => return Ok(Some(Err(refusal))),
                None => return Ok(None),
            }
        }
        Ok(Some(Ok(self
            .peer(peer)
            .map_or(LedgerPosition::EMPTY, Peer::position))))
    }

    /// Takes one entry. None when it proves two histories and is no evidence by itself yet.
    fn ingest_one(
        &mut self,
        peer: &MemberId,
        author: Author,
        entry: &Verified<LedgerEntry>,
        (proof, now): (Proof, Timestamp),
        writes: &mut Vec<Write>,
    ) -> Fallible<Option<Result<(), IngestRefusal>>> {
        let LedgerEntry {
            sequence, previous, ..
        } = *entry.body();
        let state = self
            .peers
            .get_mut(peer)
            .ok_or(StoreError::Internal("a peer without state"))?;
        if state.banned {
            return Ok(Some(Err(IngestRefusal::Banned { peer: peer.clone() })));
        }
        let have = state.position();
        if sequence > have.sequence.saturating_add(1) {
            return Ok(Some(Err(IngestRefusal::Gap {
                peer: peer.clone(),
                have: have.sequence,
                found: sequence,
            })));
        }
        let (same, differs_at) = if sequence <= have.sequence {
            (state.digest_at(sequence) == Some(entry.digest()), sequence)
        } else {
            // The peer signed entry `have` as well: a successor that names another one proves two histories.
            (previous == have.head, have.sequence)
        };
        if !same && proof == Proof::Last {
            // A ban needs an entry that its own signature proves.
            return Ok(None);
        }
        if !same {
            state.banned = true;
            writes.push(Write::equivocation(author, differs_at, entry.envelope())?);
            return Ok(Some(Err(IngestRefusal::Equivocation {
                peer: peer.clone(),
                sequence: differs_at,
            })));
        }
        if sequence > have.sequence {
            state.digests.push(entry.digest());
            let at = believable(entry.statement().issued_at, now);
            let event = &entry.body().event;
            self.index.apply((author, peer), sequence, at, event);
            writes.push(Write::entry(author, sequence, entry.envelope())?);
        }
        Ok(Some(Ok(())))
    }

    fn acknowledged(
        &mut self,
        peer: &MemberId,
        sequence: u64,
        writes: &mut Vec<Write>,
    ) -> Fallible<()> {
        let author = self.author_of(peer, writes)?;
        let sequence = sequence.min(self.own.len() as u64);
        if let Some(state) = self.peers.get_mut(peer)
            && state.acknowledged != sequence
        {
            state.acknowledged = sequence;
            writes.push(Write::Acknowledged { author, sequence });
        }
        Ok(())
    }

    fn peer(&self, peer: &MemberId) -> Option<&Peer> {
        self.peers.get(peer)
    }

    fn author_of(&mut self, peer: &MemberId, writes: &mut Vec<Write>) -> Fallible<Author> {
        if let Some(known) = self.peers.get(peer) {
            return Ok(known.author);
        }
        let author = u16::try_from(self.authors.len())
            .map(Author)
            .map_err(|_| StoreError::Internal("too many authors"))?;
        writes.push(Write::Author {
            author,
            member: peer.clone(),
        });
        self.authors.push(peer.clone());
        self.peers.insert(peer.clone(), Peer::new(author));
        Ok(author)
    }
}

impl Peer {
    fn digest_at(&self, sequence: u64) -> Option<Hash> {
        let index = usize::try_from(sequence.checked_sub(1)?).ok()?;
        self.digests.get(index).copied()
    }
}
