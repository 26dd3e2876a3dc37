//! Capture files: pcap and pcapng, as a stream, become frames. Layer: bin. Nothing that a file says makes it
//! take more memory than one block of [`MAX_BLOCK_BYTES`].

use std::io::{self, Cursor, Read};
use std::time::SystemTime;

use anyhow::{Context, bail};
use pcap_parser::traits::{PcapNGPacketBlock, PcapReaderIterator};
use pcap_parser::{
    Block, InterfaceDescriptionBlock, LegacyPcapReader, OptionCode, PcapBlockOwned, PcapError,
    PcapNGReader, parse_pcap_header, parse_sectionheaderblock,
};

use super::time;

/// Bytes that are read at a time.
const BUFFER_BYTES: usize = 256 * 1024;
/// The longest block: far above the largest frame, and enough for lists of names.
const MAX_BLOCK_BYTES: usize = 16 * 1024 * 1024;
/// Interfaces of one section of a pcapng file.
const MAX_INTERFACES: usize = 4096;
/// The type of the block that begins a section, in either order.
const SECTION: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// What that block says about the order of its bytes.
const ORDER: u32 = 0x1a2b_3c4d;
/// What is wrong with a block that is all there, and in which something claims more than there is room for.
const CONTRADICTION: &str = "lengths that contradict each other";

/// What was captured at one moment.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    /// `None` when the file says a time that there is not.
    pub(super) time: Option<SystemTime>,
    /// Which header it begins with: a number of the registry at tcpdump.org.
    pub(super) link: u32,
    pub(super) bytes: &'a [u8],
    /// Bytes that it had on the network.
    pub(super) sent_bytes: usize,
}

/// Who takes the frames.
pub(super) trait Sink {
    /// Takes a frame. Returns whether to go on.
    fn frame(&mut self, frame: &Frame<'_>) -> io::Result<bool>;

    /// Told before a read that may wait for whoever writes the capture.
    fn before_waiting(&mut self) -> io::Result<()>;
}

/// Hands all frames of a capture to a sink.
///
/// # Errors
///
/// When it is no capture, ends too early, is damaged or cannot be read, or the sink fails. The sink has had
/// all frames before that.
pub(super) fn read(input: impl Read + Send, sink: &mut impl Sink) -> anyhow::Result<()> {
    let (mut reader, is_ng) = open(input)?;
    let mut section = Section { is_ng, ..Section::default() };
    let mut capacity = BUFFER_BYTES;
    loop {
        match step(&mut *reader, &mut section, sink)? {
            Step::Read(bytes) => reader.consume(bytes),
            Step::End => return Ok(()),
            Step::More { is_full } => {
                let before = reader.data().len();
                sink.before_waiting()?;
                let is_stuck = refill(&mut *reader)? && reader.data().len() == before;
                if is_full || is_stuck {
                    capacity *= 2;
                    if capacity > MAX_BLOCK_BYTES || !reader.grow(capacity) {
                        bail!("the capture is damaged at byte {}: no end", reader.consumed());
                    }
                }
            }
            Step::Short if reader.data().is_empty() => return Ok(()),
            Step::Short => bail!(
                "the capture is cut short: it ends in the middle of what begins at byte {}",
                reader.consumed()
            ),
            Step::Damaged(what) => {
                bail!("the capture is damaged at byte {}: {what}", reader.consumed())
            }
        }
    }
}

/// Recognizes the format by the first block, and says whether it is pcapng. That it comes piece by piece
/// from a pipe is as good.
fn open<'r>(
    mut input: impl Read + Send + 'r,
) -> anyhow::Result<(Box<dyn PcapReaderIterator + Send + 'r>, bool)> {
    let mut head = Vec::new();
    loop {
        let is_ng = match (parse_sectionheaderblock(&head), parse_pcap_header(&head)) {
            (Ok(_), _) => Some(true),
            (_, Ok(_)) => Some(false),
            (Err(error), Err(other)) if error.is_incomplete() || other.is_incomplete() => None,
            _ => bail!("this is no capture, neither pcap nor pcapng"),
        };
        let Some(is_ng) = is_ng else {
            if head.starts_with(&SECTION) && has_whole_block(&head, false) {
                bail!("the capture is damaged at byte 0: {CONTRADICTION}");
            }
            let mut piece = [0; 4096];
            let length = input.read(&mut piece).context("cannot be read")?;
            if length == 0 {
                bail!("the capture is cut short: it ends in its header, at byte {}", head.len());
            }
            head.extend_from_slice(&piece[..length]);
            if head.len() > BUFFER_BYTES {
                bail!("the capture is damaged at byte 0: no end");
            }
            continue;
        };
        let input = Cursor::new(head).chain(input);
        let reader = if is_ng {
            boxed(PcapNGReader::new(BUFFER_BYTES, input))
        } else {
            boxed(LegacyPcapReader::new(BUFFER_BYTES, input))
        };
        return Ok((reader?, is_ng));
    }
}

fn boxed<'r>(
    reader: Result<impl PcapReaderIterator + Send + 'r, PcapError<&'static [u8]>>,
) -> anyhow::Result<Box<dyn PcapReaderIterator + Send + 'r>> {
    Ok(Box::new(reader.context("cannot be read")?))
}

/// Reads on. Returns whether there can be more.
fn refill(reader: &mut dyn PcapReaderIterator) -> anyhow::Result<bool> {
    if reader.refill().is_err() {
        bail!("the capture cannot be read beyond byte {}", reader.consumed());
    }
    Ok(!reader.reader_exhausted())
}

enum Step {
    /// A block of so many bytes is done with.
    Read(usize),
    End,
    /// The next block is not there yet, or has no room.
    More {
        is_full: bool,
    },
    /// It never comes.
    Short,
    Damaged(&'static str),
}

fn step(
    reader: &mut dyn PcapReaderIterator,
    section: &mut Section,
    sink: &mut impl Sink,
) -> io::Result<Step> {
    let step = match reader.next() {
        Ok((bytes, block)) => match section.frame(&block) {
            Ok(Some(frame)) if !sink.frame(&frame)? => Step::End,
            Ok(_) => Step::Read(bytes),
            Err(what) => Step::Damaged(what),
        },
        Err(PcapError::Eof) => Step::End,
        Err(PcapError::UnexpectedEof) => Step::Short,
        Err(PcapError::Incomplete(_)) => Step::More { is_full: false },
        Err(PcapError::BufferTooSmall) => Step::More { is_full: true },
        Err(_) => Step::Damaged("this is no block of a capture"),
    };
    let lacks_something = matches!(step, Step::More { .. } | Step::Short);
    if lacks_something && section.is_ng && has_whole_block(reader.data(), section.is_big_endian) {
        return Ok(Step::Damaged(CONTRADICTION));
    }
    Ok(step)
}

/// Whether a block of pcapng begins here and ends before the bytes do, by the length that it gives first.
fn has_whole_block(bytes: &[u8], is_big_endian: bool) -> bool {
    let word = |at: usize| bytes.get(at..)?.first_chunk::<4>().copied();
    let (Some(kind), Some(length)) = (word(0), word(4)) else { return false };
    let is_big_endian = match (kind == SECTION, word(8)) {
        (true, Some(order)) => u32::from_be_bytes(order) == ORDER,
        _ => is_big_endian,
    };
    let read = if is_big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
    bytes.len() as u64 >= u64::from(read(length))
}

/// What the blocks before say about those that follow.
#[derive(Default)]
struct Section {
    is_ng: bool,
    /// Of a pcap file: link and whether times have nanoseconds.
    whole: Option<(u32, bool)>,
    is_big_endian: bool,
    interfaces: Vec<Interface>,
}

struct Interface {
    link: u32,
    /// 0 is no limit.
    max_bytes: u32,
    resolution: u8,
    offset_seconds: i64,
}

impl Section {
    /// The frame in a block, if it has one.
    ///
    /// # Errors
    ///
    /// What is wrong with the block.
    fn frame<'a>(
        &mut self,
        block: &'a PcapBlockOwned<'_>,
    ) -> Result<Option<Frame<'a>>, &'static str> {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                let link = header.network.0.cast_unsigned();
                self.whole = Some((link, header.is_nanosecond_precision()));
            }
            PcapBlockOwned::Legacy(block) => {
                let (link, has_nanoseconds) = self.whole.ok_or("no header")?;
                let time = time::of_pcap(block.ts_sec, block.ts_usec, has_nanoseconds);
                let sent_bytes = block.origlen as usize;
                return Ok(Some(Frame { time, link, bytes: block.data, sent_bytes }));
            }
            PcapBlockOwned::NG(Block::SectionHeader(header)) => {
                self.is_big_endian = header.big_endian();
                self.interfaces.clear();
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(block)) => self.describe(block)?,
            PcapBlockOwned::NG(Block::EnhancedPacket(block)) => {
                let interface = self.interface(block.if_id)?;
                let ticks = u64::from(block.ts_high) << 32 | u64::from(block.ts_low);
                let time = time::of_pcapng(ticks, interface.resolution, interface.offset_seconds);
                let (link, sent_bytes) = (interface.link, block.origlen as usize);
                return Ok(Some(Frame { time, link, bytes: block.packet_data(), sent_bytes }));
            }
            PcapBlockOwned::NG(Block::SimplePacket(block)) => {
                let interface = self.interface(0)?;
                let most = match interface.max_bytes {
                    0 => block.origlen,
                    most => most.min(block.origlen),
                };
                let bytes = &block.data[..block.data.len().min(most as usize)];
                let (link, sent_bytes) = (interface.link, block.origlen as usize);
                return Ok(Some(Frame { time: None, link, bytes, sent_bytes }));
            }
            PcapBlockOwned::NG(_) => {}
        }
        Ok(None)
    }

    fn describe(&mut self, block: &InterfaceDescriptionBlock<'_>) -> Result<(), &'static str> {
        if self.interfaces.len() == MAX_INTERFACES {
            return Err("too many interfaces");
        }
        self.interfaces.push(Interface {
            link: block.linktype.0.cast_unsigned(),
            max_bytes: block.snaplen,
            resolution: block.if_tsresol,
            offset_seconds: self.offset_seconds(block),
        });
        Ok(())
    }

    /// Not by `InterfaceDescriptionBlock::ts_offset`, which takes every file for one of little-endian order.
    fn offset_seconds(&self, block: &InterfaceDescriptionBlock<'_>) -> i64 {
        let mut options = block.options.iter();
        let offset = options.find(|option| option.code == OptionCode::IfTsoffset);
        match offset.and_then(|option| option.value().first_chunk().copied()) {
            Some(bytes) if self.is_big_endian => i64::from_be_bytes(bytes),
            Some(bytes) => i64::from_le_bytes(bytes),
            None => 0,
        }
    }

    fn interface(&self, number: u32) -> Result<&Interface, &'static str> {
        self.interfaces.get(number as usize).ok_or("a frame of an interface that is not described")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sniff::pcap::link;
    use proptest::prelude::*;

    /// Looks into every frame, as the command does.
    #[derive(Default)]
    struct Looking(usize);

    impl Sink for Looking {
        fn frame(&mut self, frame: &Frame<'_>) -> io::Result<bool> {
            self.0 += 1;
            link::content(frame);
            Ok(true)
        }

        fn before_waiting(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(12 + body.len()).unwrap().to_le_bytes();
        [&kind.to_le_bytes()[..], &length, body, &length].concat()
    }

    /// A pcapng file with a frame.
    fn file(link: u16, frame: &[u8]) -> Vec<u8> {
        let section = [&[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0][..], &[0xff; 8]].concat();
        let link = [&link.to_le_bytes()[..], &[0; 6]].concat();
        let length = u32::try_from(frame.len()).unwrap().to_le_bytes();
        let padding = vec![0; frame.len().next_multiple_of(4) - frame.len()];
        let packet = [&[0; 12][..], &length, &length, frame, &padding].concat();
        [block(0x0a0d_0d0a, &section), block(1, &link), block(6, &packet)].concat()
    }

    #[test]
    fn a_block_without_end_is_damage_and_takes_no_memory() {
        let mut looking = Looking::default();
        let endless = [file(101, &[7; 40]), 6_u32.to_le_bytes().to_vec(), vec![0xf0; 4]].concat();
        let endless = Cursor::new(endless).chain(io::repeat(1));
        let error = read(endless, &mut looking).unwrap_err().to_string();
        assert!(error.contains("damaged at byte") && error.contains("no end"), "{error}");
        assert_eq!(looking.0, 1, "what came before");
    }

    proptest! {
        #[test]
        fn arbitrary_files_end(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            link in prop::sample::select(vec![0, 1, 12, 101, 108, 113, 228, 276, 7]),
            alterations in proptest::collection::vec((0..400_usize, any::<u8>()), 0..4),
        ) {
            let _ = read(&*bytes, &mut Looking::default());
            let mut looking = Looking::default();
            let mut whole = file(link, &bytes);
            prop_assert!(read(&*whole, &mut looking).is_ok());
            prop_assert_eq!(looking.0, 1);
            for (at, byte) in alterations {
                if let Some(altered) = whole.get_mut(at) {
                    *altered = byte;
                }
            }
            let _ = read(&*whole, &mut Looking::default());
        }
    }
}
