//! SHA-256, as the store and its users write it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context as _, Result};
use ring::digest::{Context, SHA256};

/// Bytes in lowercase hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The SHA-256 of a file, in lowercase hexadecimal.
///
/// # Errors
/// When the file cannot be read.
pub fn sha256_of(path: &Path) -> Result<String> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let hash = sha256(&file).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(hex(&hash))
}

/// The SHA-256 of what is left to read of a file, by a library in assembly: each run reads kernels and images,
/// and in an unoptimized build, as a workspace has it by default, another would take most of the start.
///
/// # Errors
/// When it cannot be read.
pub fn sha256(mut file: impl Read) -> std::io::Result<[u8; 32]> {
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            let mut hash = [0; 32];
            hash.copy_from_slice(context.finish().as_ref());
            return Ok(hash);
        }
        context.update(&buffer[..count]);
    }
}
