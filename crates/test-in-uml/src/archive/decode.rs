//! The stream of a tar archive, whatever compressed it.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read, Seek as _};

use anyhow::{Context as _, Result, bail};
use bzip2::read::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::MtStreamBuilder;

const BUFFER: usize = 1 << 20;

/// Memory for the threads that decompress xz: a block of Debian's archives is 24 MiB.
const XZ_THREADING: u64 = 512 << 20;
/// Memory that no archive may make us take: the largest dictionary of `xz -9` needs 65 MiB.
const XZ_STOP: u64 = 1 << 30;

/// Reads the first bytes of `file` and decompresses accordingly. What follows the compressed
/// stream is an error of the reader, and so is a stream that ends early.
pub(super) fn reader(mut file: File) -> Result<Box<dyn Read>> {
    // `ustar` stands at 257 in the first header of any tar archive since 1988.
    let mut head = Vec::with_capacity(512);
    (&file).take(512).read_to_end(&mut head).context("cannot read it")?;
    file.rewind().context("cannot read it again")?;
    let file = BufReader::with_capacity(BUFFER, file);
    Ok(match head.as_slice() {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(file)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Box::new(Xz::new(file)?),
        [b'B', b'Z', b'h', ..] => Box::new(MultiBzDecoder::new(file)),
        plain if plain.get(257..262) == Some(b"ustar") => Box::new(file),
        _ => bail!("not a tar archive, plain or compressed by gzip, xz or bzip2"),
    })
}

/// One or more xz streams, decompressed by all CPUs where the archive is made of blocks.
struct Xz {
    /// Taken only while one stream follows another.
    stream: Option<XzDecoder<BufReader<File>>>,
}

impl Xz {
    fn new(file: BufReader<File>) -> Result<Self> {
        Ok(Self { stream: Some(decoder(file).context("cannot start to decompress")?) })
    }
}

fn decoder(file: BufReader<File>) -> io::Result<XzDecoder<BufReader<File>>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let stream = MtStreamBuilder::new()
        .threads(u32::try_from(threads).unwrap_or(1))
        .memlimit_threading(XZ_THREADING)
        .memlimit_stop(XZ_STOP)
        .decoder()?;
    Ok(XzDecoder::new_stream(file, stream))
}

impl Read for Xz {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(stream) = self.stream.as_mut() else { return Ok(0) };
            let count = stream.read(buffer)?;
            if count > 0 || buffer.is_empty() || stream.get_mut().fill_buf()?.is_empty() {
                return Ok(count);
            }
            // The decoder stops at the end of a stream: whatever follows must be another one.
            if let Some(ended) = self.stream.take() {
                self.stream = Some(decoder(ended.into_inner())?);
            }
        }
    }
}
