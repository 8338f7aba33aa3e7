//! Compressed answers, decoded piece by piece in bounded memory: a little input can stand for any amount of output, so output is made only
//! as far as there is room for it.

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::{Decompress, FlushDecompress, Status};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::io::Read as _;

/// Largest window of zstd in bytes: what RFC 9659 has clients of HTTP support. Brotli's is at most 16 MiB (RFC 7932, 9.1), deflate's 32 KiB.
const ZSTD_WINDOW: u64 = 8 << 20;
/// Largest block of zstd with its header, and the checksum behind it (RFC 8878, 3.1.1).
const ZSTD_BLOCK: usize = 128 * 1024;

/// What an answer says it is encoded in cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer's encoding is broken")]
pub struct Broken;

/// A decoder for one answer.
pub enum Decoder {
    /// As it is.
    Identity,
    /// gzip, one member after the other.
    Gzip(Box<Decompress>, bool),
    /// deflate: with zlib's header as it should be, or without; not known before the first byte.
    Deflate(Option<Box<Decompress>>, bool),
    /// br.
    Brotli(Box<Brotli>),
    /// zstd.
    Zstd(Box<Zstd>),
}

/// The names of what can be decoded, for `Accept-Encoding`.
pub const KNOWN: [&str; 6] = ["gzip", "x-gzip", "deflate", "br", "zstd", "identity"];

impl Decoder {
    /// The decoder for a `Content-Encoding`; nothing for one that is not known, or several.
    #[must_use]
    pub fn new(encoding: &str) -> Option<Self> {
        Some(match encoding.trim().to_ascii_lowercase().as_str() {
            "identity" => Self::Identity,
            "gzip" | "x-gzip" => Self::Gzip(Box::new(Decompress::new_gzip(15)), false),
            "deflate" => Self::Deflate(None, false),
            "br" => Self::Brotli(Box::default()),
            "zstd" => Self::Zstd(Box::default()),
            _ => return None,
        })
    }

    /// Decodes some of `input` into `out`: bytes taken, bytes made. Neither means that more input is needed.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<(usize, usize), Broken> {
        match self {
            Self::Identity => {
                let count = input.len().min(out.len());
                out[..count].copy_from_slice(&input[..count]);
                Ok((count, count))
            }
            Self::Gzip(inflate, ended) => {
                if *ended && !input.is_empty() {
                    **inflate = Decompress::new_gzip(15);
                    *ended = false;
                }
                flate(inflate, ended, input, out)
            }
            Self::Deflate(inflate, ended) => {
                let Some(first) = input.first() else {
                    return inflate.as_mut().map_or(Ok((0, 0)), |inflate| flate(inflate, ended, input, out));
                };
                // RFC 1950, 2.2: a header's first byte ends in 8. A raw stream's would be a stored block with an odd padding.
                let inflate = inflate.get_or_insert_with(|| Box::new(Decompress::new(first & 0x0f == 8)));
                flate(inflate, ended, input, out)
            }
            Self::Brotli(brotli) => brotli.step(input, out),
            Self::Zstd(zstd) => zstd.step(input, out),
        }
    }

    /// Whether the answer may end here.
    #[must_use]
    pub fn may_end(&self) -> bool {
        match self {
            Self::Identity => true,
            Self::Gzip(_, ended) | Self::Deflate(_, ended) => *ended,
            Self::Brotli(brotli) => brotli.ended,
            Self::Zstd(zstd) => zstd.between_frames(),
        }
    }
}

fn flate(inflate: &mut Decompress, ended: &mut bool, input: &[u8], out: &mut [u8]) -> Result<(usize, usize), Broken> {
    if *ended {
        // Behind the end of a stream that is not one of several members there is nothing.
        return if input.is_empty() { Ok((0, 0)) } else { Err(Broken) };
    }
    let (read, made) = (inflate.total_in(), inflate.total_out());
    let status = inflate.decompress(input, out, FlushDecompress::None).map_err(|_| Broken)?;
    *ended = status == Status::StreamEnd;
    let count = |now: u64, before: u64| usize::try_from(now - before).map_err(|_| Broken);
    Ok((count(inflate.total_in(), read)?, count(inflate.total_out(), made)?))
}

/// Brotli without the large windows that are none of HTTP's.
pub struct Brotli {
    state: BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    total: usize,
    ended: bool,
}

impl Default for Brotli {
    fn default() -> Self {
        Self {
            state: BrotliState::new_strict(StandardAlloc::default(), StandardAlloc::default(), StandardAlloc::default()),
            total: 0,
            ended: false,
        }
    }
}

impl Brotli {
    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<(usize, usize), Broken> {
        if self.ended {
            return if input.is_empty() { Ok((0, 0)) } else { Err(Broken) };
        }
        let (mut left, mut read, mut room, mut made) = (input.len(), 0, out.len(), 0);
        let result = BrotliDecompressStream(
            &mut left,
            &mut read,
            input,
            &mut room,
            &mut made,
            out,
            &mut self.total,
            &mut self.state,
        );
        match result {
            BrotliResult::ResultFailure => return Err(Broken),
            BrotliResult::ResultSuccess => self.ended = true,
            BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {}
        }
        Ok((read, made))
    }
}

/// zstd, one block at a time: the library decodes whatever blocks it is given at once.
pub struct Zstd {
    frame: FrameDecoder,
    /// The beginning of a frame's header or of a block, not whole yet.
    held: Vec<u8>,
    at: At,
    checksum: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Frame,
    Block,
}

impl Default for Zstd {
    fn default() -> Self {
        let mut frame = FrameDecoder::new();
        frame.set_max_window_size(ZSTD_WINDOW);
        Self {
            frame,
            held: Vec::new(),
            at: At::Frame,
            checksum: false,
        }
    }
}

impl Zstd {
    fn between_frames(&self) -> bool {
        self.at == At::Frame && self.held.is_empty() && self.frame.can_collect() == 0
    }

    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<(usize, usize), Broken> {
        let made = self.frame.read(out).map_err(|_| Broken)?;
        if made > 0 || out.is_empty() {
            return Ok((0, made));
        }
        let mut taken = 0;
        while let Some(need) = self.need()? {
            if self.held.len() >= need {
                self.decode()?;
                let made = self.frame.read(out).map_err(|_| Broken)?;
                if made > 0 {
                    return Ok((taken, made));
                }
                continue;
            }
            let count = (need - self.held.len()).min(input.len() - taken);
            if count == 0 {
                break;
            }
            self.held.extend_from_slice(&input[taken..taken + count]);
            taken += count;
        }
        Ok((taken, 0))
    }

    /// How many bytes the next step of decoding needs, as far as those held say. Never nothing; an option for the loop's sake.
    fn need(&self) -> Result<Option<usize>, Broken> {
        Ok(Some(match (self.at, self.held.as_slice()) {
            (At::Frame, [_, _, _, _, descriptor, ..]) => frame_header(*descriptor),
            (At::Frame, _) => 5,
            (At::Block, [a, b, c, ..]) => {
                let header = u32::from_le_bytes([*a, *b, *c, 0]);
                let (last, kind, size) = (header & 1 == 1, header >> 1 & 3, (header >> 3) as usize);
                let size = if kind == 1 { 1 } else { size };
                if size > ZSTD_BLOCK {
                    return Err(Broken);
                }
                3 + size + if last && self.checksum { 4 } else { 0 }
            }
            (At::Block, _) => 3,
        }))
    }

    /// Decodes what is held, which is whole once [`Zstd::need`] wants no more.
    fn decode(&mut self) -> Result<(), Broken> {
        match self.at {
            At::Frame => {
                self.checksum = self.held.get(4).is_some_and(|descriptor| descriptor & 4 != 0);
                // A frame that is to be skipped is one of another magic number, and an error as well.
                self.frame.reset(self.held.as_slice()).map_err(|_| Broken)?;
                self.at = At::Block;
            }
            At::Block => {
                let last = self.held.first().is_some_and(|first| first & 1 == 1);
                self.frame
                    .decode_blocks(self.held.as_slice(), BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(|_| Broken)?;
                if last {
                    self.at = At::Frame;
                }
            }
        }
        self.held.clear();
        Ok(())
    }
}

/// Bytes of a frame's header, magic number included (RFC 8878, 3.1.1.1).
fn frame_header(descriptor: u8) -> usize {
    let single = descriptor & 0x20 != 0;
    let size = match descriptor >> 6 {
        0 => usize::from(single),
        flag => 1 << flag,
    };
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    5 + usize::from(!single) + dictionary + size
}
