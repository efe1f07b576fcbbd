//! The recipe of a kernel: all that its binary depends on, and nothing else.

use std::ffi::CStr;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::era::{ERAS, Era};
use super::fragment::{ConfigRequest, Setting};
use super::patches::Series;
use crate::config::{Kernel, Start};
use crate::ctx::Ctx;
use crate::invocation;

/// Raised whenever what is done with a recipe changes, so that older entries are not found.
const VERSION: u32 = 2;

/// What a kernel binary is made from.
#[derive(Debug, Serialize)]
pub struct KernelRecipe<'a> {
    version: u32,
    source: Vec<String>,
    patches: Vec<String>,
    start: Start,
    settings: Vec<&'a Setting>,
    toolchain: &'a Toolchain,
    // Which era it is, is known only once the source is unpacked.
    eras: &'a [Era],
}

impl<'a> KernelRecipe<'a> {
    /// The recipe of `kernel`, whose source has one of the hashes `source`.
    pub fn new(
        kernel: &Kernel,
        source: Vec<String>,
        series: &Series,
        request: &'a ConfigRequest,
        toolchain: &'a Toolchain,
    ) -> Self {
        Self {
            version: VERSION,
            source,
            patches: series.hashes(),
            start: kernel.start,
            settings: request.settings().collect(),
            toolchain,
            eras: &ERAS,
        }
    }
}

/// The identity of the tools whose output ends up in the binary.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Toolchain {
    compiler: String,
    target: String,
    linker: String,
    libc: String,
}

/// A toolchain, and the files that it was asked of: as long as these are the same, so is it.
#[derive(Debug, Deserialize, Serialize)]
struct Known {
    files: Vec<ToolFile>,
    toolchain: Toolchain,
}

#[derive(Debug, PartialEq, Eq, Deserialize, Serialize)]
struct ToolFile {
    path: PathBuf,
    size: u64,
    modified: (i64, i64),
}

impl Toolchain {
    /// The toolchain of this host; asked anew only when its files are not those of the last time.
    ///
    /// # Errors
    /// When there is no compiler or linker.
    pub fn find(ctx: &Ctx) -> Result<Self> {
        let libc = libc_version();
        let files = [tool_file(&compiler_name())?, tool_file("ld")?, tool_file("as")?];
        let path = ctx.layout.facts().join("toolchain.json");
        let known = fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        if let Some(Known { files: seen, toolchain }) = known
            && seen == files
            && toolchain.libc == libc
        {
            return Ok(toolchain);
        }
        let name = compiler_name();
        let about = output(&name, "-v")?;
        let told = |prefix: &str| {
            let line = about.lines().find_map(|line| line.strip_prefix(prefix));
            let missing = || format!("`{name} -v` says no `{prefix}`: only gcc is known here");
            line.map(str::to_owned).with_context(missing)
        };
        let linker = output("ld", "--version")?;
        let linker = linker.lines().next().unwrap_or_default().to_owned();
        let toolchain =
            Self { compiler: told("gcc version ")?, target: told("Target: ")?, linker, libc };
        let known = Known { files: files.into(), toolchain };
        fs::create_dir_all(ctx.layout.facts()).context("cannot make the folder of facts")?;
        // Half a file is no JSON, and then only costs the question.
        fs::write(&path, serde_json::to_vec(&known)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(known.toolchain)
    }

    /// The compiler, by its version.
    pub fn compiler(&self) -> &str {
        self.compiler.trim()
    }

    /// The major version of the compiler.
    pub fn compiler_major(&self) -> &str {
        self.compiler.split('.').next().unwrap_or(&self.compiler)
    }
}

/// The compiler that the user asks for with `CC`, as make and cargo know it.
pub fn compiler_name() -> String {
    std::env::var("CC").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "gcc".into())
}

/// Where a program is that `PATH` finds.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.is_file())
}

fn tool_file(name: &str) -> Result<ToolFile> {
    let path = program(name)
        .with_context(|| format!("no `{name}` in PATH: run `{} setup`", invocation::command()))?;
    let path = path.canonicalize().with_context(|| format!("cannot find {}", path.display()))?;
    let meta = meta(&path)?;
    Ok(ToolFile { path, size: meta.len(), modified: (meta.mtime(), meta.mtime_nsec()) })
}

fn meta(path: &Path) -> Result<fs::Metadata> {
    fs::metadata(path).with_context(|| format!("cannot look at {}", path.display()))
}

fn output(program: &str, argument: &str) -> Result<String> {
    duct::cmd!(program, argument)
        .env("LC_ALL", "C")
        .stdin_null()
        .stderr_to_stdout()
        .read()
        .with_context(|| format!("cannot ask `{program} {argument}`"))
}

/// User Mode Linux is linked with the host's C library.
fn libc_version() -> String {
    // SAFETY: gnu_get_libc_version(3) returns a static string that ends with a NUL.
    let version = unsafe { CStr::from_ptr(nix::libc::gnu_get_libc_version()) };
    version.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::store::Key;

    fn toolchain(compiler: &str) -> Toolchain {
        Toolchain {
            compiler: compiler.into(),
            target: "x86_64-linux-gnu".into(),
            linker: "GNU ld".into(),
            libc: "2.36".into(),
        }
    }

    fn key(fragment: &str, source: &str, start: Start, compiler: &str) -> String {
        let kernel = Kernel {
            base: None,
            debian: None,
            tarballs: Vec::new(),
            tree: None,
            start,
            fragments: Vec::new(),
            patches: Vec::new(),
            append: Vec::new(),
            known_boot_complaints: Vec::new(),
        };
        let request = ConfigRequest::merge([(PathBuf::from("a"), fragment.to_owned())]).unwrap();
        let toolchain = toolchain(compiler);
        let source = vec![source.to_owned()];
        let recipe = KernelRecipe::new(&kernel, source, &Series::default(), &request, &toolchain);
        Key::of(&recipe).unwrap().as_str().to_owned()
    }

    #[test]
    fn a_kernel_is_another_when_anything_that_matters_is() {
        let same = key("CONFIG_A=y\nCONFIG_B=y", "s", Start::Allnoconfig, "12");
        assert_eq!(same, key("# why\nCONFIG_A=y\n\nCONFIG_B=y", "s", Start::Allnoconfig, "12"));
        for other in [
            key("CONFIG_A=y\nCONFIG_B=m", "s", Start::Allnoconfig, "12"),
            key("CONFIG_B=y\nCONFIG_A=y", "s", Start::Allnoconfig, "12"),
            key("CONFIG_A=y\nCONFIG_B=y", "t", Start::Allnoconfig, "12"),
            key("CONFIG_A=y\nCONFIG_B=y", "s", Start::Defconfig, "12"),
            key("CONFIG_A=y\nCONFIG_B=y", "s", Start::Allnoconfig, "13"),
        ] {
            assert_ne!(same, other);
        }
    }
}
