//! The manifest: what a checkout cannot hold as files — nodes, owners, modes, users, passwords.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Deserializer};

/// The manifest.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    /// Device nodes, in the image and again after devtmpfs is mounted.
    #[serde(default)]
    pub nodes: Vec<Node>,
    /// Owners and modes of files and folders, by their path in the guest.
    #[serde(default)]
    pub files: BTreeMap<String, Attributes>,
    /// Users that are added, or whose password is set.
    #[serde(default)]
    pub users: BTreeMap<String, User>,
}

/// A device node.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Node {
    pub path: String,
    #[serde(rename = "type")]
    pub kind: NodeKind,
    pub major: u32,
    pub minor: u32,
    #[serde(flatten)]
    pub attributes: RequiredAttributes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum NodeKind {
    Block,
    Char,
}

impl NodeKind {
    /// As mknod(1) and debugfs(8) call it.
    pub fn letter(self) -> char {
        match self {
            NodeKind::Block => 'b',
            NodeKind::Char => 'c',
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct RequiredAttributes {
    pub owner: String,
    pub group: String,
    #[serde(deserialize_with = "octal")]
    pub mode: u32,
}

/// What differs from root:root and the mode of the checkout.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Attributes {
    pub owner: Option<String>,
    pub group: Option<String>,
    #[serde(default, deserialize_with = "some_octal")]
    pub mode: Option<u32>,
}

/// A user of the guest.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct User {
    /// As crypt(5) has it.
    pub password: String,
    /// Absent for a user that the suite has already.
    pub uid: Option<u32>,
    #[serde(default)]
    pub groups: Vec<String>,
    #[serde(default = "default_shell")]
    pub shell: String,
}

fn default_shell() -> String {
    "/bin/bash".into()
}

fn octal<'de, D: Deserializer<'de>>(reader: D) -> Result<u32, D::Error> {
    let text = String::deserialize(reader)?;
    u32::from_str_radix(&text, 8).ok().filter(|mode| *mode <= 0o7777).ok_or_else(|| {
        serde::de::Error::custom(format!("`{text}` is not a mode: write up to four octal digits"))
    })
}

fn some_octal<'de, D: Deserializer<'de>>(reader: D) -> Result<Option<u32>, D::Error> {
    octal(reader).map(Some)
}

impl Manifest {
    /// Reads the manifest at `path`.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the manifest {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("in {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let manifest: Self = toml::from_str(text)?;
        for node in &manifest.nodes {
            absolute(&node.path)?;
        }
        for path in manifest.files.keys() {
            absolute(path)?;
        }
        for (name, user) in &manifest.users {
            ensure!(user.password.starts_with('$'), "users.{name}.password: not a crypt(5) hash");
            let plain = |text: &str| !text.is_empty() && !text.contains([':', '\n', ',']);
            ensure!(plain(name), "users: `{name}` is not a user name");
            for word in user.groups.iter().chain([&user.shell]) {
                ensure!(plain(word), "users.{name}: `{word}` does not fit /etc/passwd");
            }
        }
        Ok(manifest)
    }
}

fn absolute(path: &str) -> Result<()> {
    let plain = path.split('/').skip(1).all(|part| !["", ".", ".."].contains(&part));
    if !path.starts_with('/') || !plain || path.contains(['"', '\n', ' ']) {
        bail!("`{path}` is not an absolute path of the guest, without blanks, `.` and `..`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_of_this_project_is_valid() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rootfs-overlay/manifest.toml");
        let manifest = Manifest::read(&path).unwrap();
        let ubd = manifest.nodes.iter().find(|node| node.path == "/dev/ubd0").unwrap();
        assert_eq!((ubd.kind.letter(), ubd.major, ubd.minor), ('b', 98, 0));
        assert_eq!(ubd.attributes.mode, 0o660);
        assert!(manifest.users.contains_key("uml"));
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let node = "type = 'block'\nmajor = 98\nminor = 0\nowner = 'root'\ngroup = 'disk'\n";
        let cases = [
            (format!("[[nodes]]\npath = '/dev/x'\nmode = '0999'\n{node}"), "0999"),
            (format!("[[nodes]]\npath = 'dev/x'\nmode = '0660'\n{node}"), "dev/x"),
            (format!("[[nodes]]\npath = '/dev/../x'\nmode = '0660'\n{node}"), "/dev/../x"),
            ("[users.u]\npassword = 'plain'".into(), "users.u.password"),
            ("[files.'/etc/x']\nmod = '0600'".into(), "mod"),
            ("[users.'a:b']\npassword = '$6$'".into(), "a:b"),
        ];
        for (text, expected) in cases {
            let error = format!("{:#}", Manifest::parse(&text).unwrap_err());
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
