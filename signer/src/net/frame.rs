//! Frames: one protocol message between two nodes, in a compact form with one encoding.
//!
//! A batch is `"CSF1"`, the number of frames (2 bytes), then each frame: channel (32), execution (32), round (2), kind (1),
//! sender (length 1, then ASCII), recipient (same), body (length 4, then bytes). The answer is `"CSA1"`, the number (2), then
//! one [`Verdict`] byte for each frame of the batch. Integers are big endian; nothing may follow.

use thiserror::Error;

use countersign_policy::{Hash, MemberId};

/// The largest body of a frame, in bytes.
pub const MAX_BODY_BYTES: usize = 4 << 20;
/// The largest number of frames in a batch.
pub const MAX_BATCH_FRAMES: usize = 64;
/// The largest batch, in bytes.
pub const MAX_BATCH_BYTES: usize = 8 << 20;

const BATCH_MAGIC: [u8; 4] = *b"CSF1";
const VERDICT_MAGIC: [u8; 4] = *b"CSA1";
const MAX_MEMBER_BYTES: usize = 64;
/// Bytes of a frame besides member ids and body.
const FIXED_BYTES: usize = 32 + 32 + 2 + 1 + 1 + 1 + 4;
/// Bytes of a batch besides its frames.
pub(super) const BATCH_HEADER_BYTES: usize = BATCH_MAGIC.len() + 2;

/// What a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// A node's confirm of a signing session.
    Confirm = 1,
    /// A protocol message to all parties, the same for each.
    Broadcast = 2,
    /// A protocol message to one party.
    PointToPoint = 3,
    /// What a party heard in a broadcast round.
    Echo = 4,
    /// Anything else that a session says to its peers.
    Control = 5,
}

impl FrameKind {
    fn from_byte(byte: u8) -> Option<Self> {
        [
            Self::Confirm,
            Self::Broadcast,
            Self::PointToPoint,
            Self::Echo,
            Self::Control,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
    }
}

/// One message from one node to another.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// The session or ceremony it belongs to.
    pub channel: Hash,
    /// The execution, which both sides computed for themselves.
    pub execution: Hash,
    /// The protocol's round.
    pub round: u16,
    /// What it is for.
    pub kind: FrameKind,
    /// Who sent it; must be the member that the connection authenticates.
    pub from: MemberId,
    /// Who it is for.
    pub to: MemberId,
    /// The message; may hold material meant for the recipient only.
    pub body: Vec<u8>,
}

impl Frame {
    /// Bytes that the frame takes in a batch.
    pub fn encoded_len(&self) -> usize {
        FIXED_BYTES
            .saturating_add(self.from.as_str().len())
            .saturating_add(self.to.as_str().len())
            .saturating_add(self.body.len())
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frame")
            .field("channel", &self.channel)
            .field("execution", &self.execution)
            .field("round", &self.round)
            .field("kind", &self.kind)
            .field("from", &self.from)
            .field("to", &self.to)
            .field("bytes", &self.body.len())
            .finish()
    }
}

/// What the recipient did with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Verdict {
    /// Taken, or had been taken before; not to be sent again.
    Taken = 0,
    /// Not for this recipient, this sender or this time; not to be sent again.
    Dropped = 1,
    /// No room at present; to be sent again a little later.
    Busy = 2,
}

/// Bytes that are no batch, or frames that make none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FrameError {
    /// Not this format or not this version.
    #[error("not a batch of this version")]
    Magic,
    /// Ends in the middle.
    #[error("the batch ends in the middle")]
    Truncated,
    /// Bytes after the end.
    #[error("{0} bytes after the end")]
    Trailing(usize),
    /// No frame, or too many.
    #[error("a batch has 1 to {MAX_BATCH_FRAMES} frames, this one has {0}")]
    Count(usize),
    /// Larger than allowed.
    #[error("{what} of {bytes} bytes, at most {limit} allowed")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A kind or verdict that does not exist.
    #[error("{0} is no kind of frame or verdict")]
    Kind(u8),
    /// A name that cannot be a member's.
    #[error("not a member id")]
    Member,
}

/// Encodes 1 to [`MAX_BATCH_FRAMES`] frames.
pub fn encode_batch<'f>(
    frames: impl ExactSizeIterator<Item = &'f Frame> + Clone,
) -> Result<Vec<u8>, FrameError> {
    if frames.len() == 0 || frames.len() > MAX_BATCH_FRAMES {
        return Err(FrameError::Count(frames.len()));
    }
    let size = frames
        .clone()
        .map(Frame::encoded_len)
        .fold(BATCH_HEADER_BYTES, usize::saturating_add);
    limit("batch", size, MAX_BATCH_BYTES)?;
    let count = u16::try_from(frames.len()).map_err(|_| FrameError::Count(frames.len()))?;
    let mut out = Vec::with_capacity(size);
    out.extend_from_slice(&BATCH_MAGIC);
    out.extend_from_slice(&count.to_be_bytes());
    for frame in frames {
        encode_frame(frame, &mut out)?;
    }
    Ok(out)
}

fn encode_frame(frame: &Frame, out: &mut Vec<u8>) -> Result<(), FrameError> {
    limit("body", frame.body.len(), MAX_BODY_BYTES)?;
    out.extend_from_slice(frame.channel.as_bytes());
    out.extend_from_slice(frame.execution.as_bytes());
    out.extend_from_slice(&frame.round.to_be_bytes());
    out.push(frame.kind as u8);
    for member in [&frame.from, &frame.to] {
        let length = u8::try_from(member.as_str().len()).map_err(|_| FrameError::Member)?;
        out.push(length);
        out.extend_from_slice(member.as_str().as_bytes());
    }
    let length = u32::try_from(frame.body.len()).map_err(|_| FrameError::Truncated)?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&frame.body);
    Ok(())
}

/// Decodes a batch: the whole of `bytes`, within all limits, or nothing.
pub fn decode_batch(bytes: &[u8]) -> Result<Vec<Frame>, FrameError> {
    limit("batch", bytes.len(), MAX_BATCH_BYTES)?;
    let (count, mut reader) = Reader::open(bytes, BATCH_MAGIC)?;
    let frames = (0..count)
        .map(|_| reader.frame())
        .collect::<Result<Vec<_>, _>>()?;
    reader.finish()?;
    Ok(frames)
}

/// Encodes the answer to a batch.
pub fn encode_verdicts(verdicts: &[Verdict]) -> Result<Vec<u8>, FrameError> {
    let count = u16::try_from(verdicts.len()).map_err(|_| FrameError::Count(verdicts.len()))?;
    let mut out = VERDICT_MAGIC.to_vec();
    out.extend_from_slice(&count.to_be_bytes());
    out.extend(verdicts.iter().map(|verdict| *verdict as u8));
    Ok(out)
}

/// Decodes the answer to a batch.
pub fn decode_verdicts(bytes: &[u8]) -> Result<Vec<Verdict>, FrameError> {
    let (count, mut reader) = Reader::open(bytes, VERDICT_MAGIC)?;
    let verdicts = (0..count)
        .map(|_| reader.verdict())
        .collect::<Result<Vec<_>, _>>()?;
    reader.finish()?;
    Ok(verdicts)
}

fn limit(what: &'static str, bytes: usize, limit: usize) -> Result<(), FrameError> {
    if bytes > limit {
        return Err(FrameError::TooLarge { what, bytes, limit });
    }
    Ok(())
}

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn open(bytes: &'b [u8], magic: [u8; 4]) -> Result<(usize, Self), FrameError> {
        let mut reader = Self(bytes);
        if reader.array::<4>()? != magic {
            return Err(FrameError::Magic);
        }
        let count = usize::from(u16::from_be_bytes(reader.array()?));
        if count == 0 || count > MAX_BATCH_FRAMES {
            return Err(FrameError::Count(count));
        }
        Ok((count, reader))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(FrameError::Truncated)?;
        self.0 = rest;
        Ok(*head)
    }

    fn slice(&mut self, length: usize) -> Result<&'b [u8], FrameError> {
        let (head, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(FrameError::Truncated)?;
        self.0 = rest;
        Ok(head)
    }

    fn byte(&mut self) -> Result<u8, FrameError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn member(&mut self) -> Result<MemberId, FrameError> {
        let length = usize::from(self.byte()?);
        limit("member id", length, MAX_MEMBER_BYTES)?;
        let text = std::str::from_utf8(self.slice(length)?).map_err(|_| FrameError::Member)?;
        MemberId::new(text).map_err(|_| FrameError::Member)
    }

    fn frame(&mut self) -> Result<Frame, FrameError> {
        let channel = Hash::from_bytes(self.array()?);
        let execution = Hash::from_bytes(self.array()?);
        let round = u16::from_be_bytes(self.array()?);
        let kind = self.byte()?;
        let kind = FrameKind::from_byte(kind).ok_or(FrameError::Kind(kind))?;
        let from = self.member()?;
        let to = self.member()?;
        let length = usize::try_from(u32::from_be_bytes(self.array()?)).unwrap_or(usize::MAX);
        limit("body", length, MAX_BODY_BYTES)?;
        Ok(Frame {
            channel,
            execution,
            round,
            kind,
            from,
            to,
            body: self.slice(length)?.to_vec(),
        })
    }

    fn verdict(&mut self) -> Result<Verdict, FrameError> {
        match self.byte()? {
            0 => Ok(Verdict::Taken),
            1 => Ok(Verdict::Dropped),
            2 => Ok(Verdict::Busy),
            other => Err(FrameError::Kind(other)),
        }
    }

    fn finish(self) -> Result<(), FrameError> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(FrameError::Trailing(self.0.len()))
    }
}

#[cfg(test)]
mod tests;
