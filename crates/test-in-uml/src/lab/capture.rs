//! The frames of a network, as Wireshark opens them.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};

/// So many bytes of frames are kept of a network: its last ones.
const MOST: usize = 32 << 20;

/// So many bytes of one frame are kept: all of it, unless a sender left it to its card to cut.
const LONGEST: usize = 2048;

/// A frame that passed.
#[derive(Debug)]
struct Frame {
    at: Duration,
    beginning: Vec<u8>,
    length: usize,
}

/// The last frames of a network.
#[derive(Debug, Default)]
pub struct Capture {
    frames: VecDeque<Frame>,
    size: usize,
}

impl Capture {
    /// Takes a frame that passes now.
    pub(super) fn take(&mut self, frame: &[u8]) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let beginning = frame[..frame.len().min(LONGEST)].to_vec();
        self.size += beginning.len();
        self.frames.push_back(Frame { at: now, beginning, length: frame.len() });
        while self.size > MOST
            && let Some(oldest) = self.frames.pop_front()
        {
            self.size -= oldest.beginning.len();
        }
    }

    /// Writes them to a new file, as pcapng, with the network's name.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path, network: &str) -> Result<()> {
        let what = || format!("cannot write {}", path.display());
        let file = BufWriter::new(File::create(path).with_context(what)?);
        let mut writer = PcapNgWriter::new(file).with_context(what)?;
        let mut interface = InterfaceDescriptionBlock::new(DataLink::ETHERNET, 0);
        // The library gives times in nanoseconds; without this they are read as microseconds.
        interface.options.push(InterfaceDescriptionOption::IfTsResol(9));
        interface.options.push(InterfaceDescriptionOption::IfName(Cow::Borrowed(network)));
        writer.write_pcapng_block(interface).with_context(what)?;
        for Frame { at, beginning, length } in &self.frames {
            let block = EnhancedPacketBlock {
                interface_id: 0,
                timestamp: *at,
                original_len: u32::try_from(*length).unwrap_or(u32::MAX),
                data: Cow::Borrowed(beginning),
                options: Vec::new(),
            };
            writer.write_pcapng_block(block).with_context(what)?;
        }
        writer.into_inner().flush().with_context(what)
    }
}

#[cfg(test)]
mod tests {
    use pcap_file::pcapng::{Block, PcapNgReader};

    use super::*;

    #[test]
    fn the_last_frames_are_read_back_with_their_times() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lan.pcapng");
        let mut capture = Capture::default();
        let frame = |number: u32| [&number.to_be_bytes()[..], &[0; 60 << 10]].concat();
        let count = 30_000;
        (0..count).for_each(|number| capture.take(&frame(number)));
        capture.write(&path, "lan").unwrap();
        let mut reader = PcapNgReader::new(File::open(&path).unwrap()).unwrap();
        let mut numbers = Vec::new();
        while let Some(block) = reader.next_block() {
            if let Block::EnhancedPacket(packet) = block.unwrap() {
                assert_eq!((packet.original_len, packet.data.len()), (4 + (60 << 10), LONGEST));
                let number: [u8; 4] = packet.data[..4].try_into().unwrap();
                numbers.push(u32::from_be_bytes(number));
            }
        }
        assert_eq!(numbers.last(), Some(&(count - 1)));
        assert!(numbers.is_sorted() && numbers.len() == MOST / LONGEST);
    }
}
