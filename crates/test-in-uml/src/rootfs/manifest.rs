//! The manifest: what a checkout cannot hold as files — nodes, owners, modes, users, passwords.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

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
    pub owner: String,
    pub group: String,
    #[serde(deserialize_with = "octal")]
    pub mode: u32,
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
    /// Reads the manifests at these paths: an entry takes the place of the one before it for the same path or
    /// user.
    pub fn read_all(paths: &[PathBuf]) -> Result<Self> {
        let mut all = Self { nodes: Vec::new(), files: BTreeMap::new(), users: BTreeMap::new() };
        for path in paths {
            let Self { nodes, files, users } = Self::read(path)?;
            all.nodes.retain(|known| nodes.iter().all(|node| node.path != known.path));
            all.nodes.extend(nodes);
            all.files.extend(files);
            all.users.extend(users);
        }
        Ok(all)
    }

    fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the manifest {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("in {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let manifest: Self = toml::from_str(text)?;
        let mut places = BTreeSet::new();
        for node in &manifest.nodes {
            absolute(&node.path).context("nodes")?;
            ensure!(places.insert(&node.path), "nodes: {} is there twice", node.path);
            ensure!(
                node.major < 1 << 12 && node.minor < 1 << 20,
                "nodes: {}: Linux has majors below 4096 and minors below 1048576",
                node.path
            );
        }
        for path in manifest.files.keys() {
            absolute(path).context("files")?;
        }
        for (name, user) in &manifest.users {
            ensure!(
                is_name(name),
                "users: `{name}` is not a user name: write a-z, 0-9, `_` and `-`"
            );
            let hash = user.password.starts_with('$') && !user.password.contains([':', '\n']);
            ensure!(
                hash,
                "users.{name}.password: not a crypt(5) hash: `openssl passwd -6` makes one"
            );
            for group in &user.groups {
                ensure!(
                    is_name(group),
                    "users.{name}.groups: `{group}` is not the name of a group"
                );
            }
            absolute(&user.shell).with_context(|| format!("users.{name}.shell"))?;
        }
        Ok(manifest)
    }
}

/// As useradd(8) has it: such a name is a plain field of passwd(5), and names a folder.
fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c))
}

fn absolute(path: &str) -> Result<()> {
    let plain = path.split('/').skip(1).all(|part| !["", ".", ".."].contains(&part));
    let odd = |c: char| c.is_whitespace() || c.is_control() || "\":".contains(c);
    if !path.starts_with('/') || !plain || path.contains(odd) {
        bail!(
            "`{path}` is not an absolute path of the guest, without blanks, quotes, colons, `.` and \
             `..`"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_of_this_project_is_valid() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rootfs-overlay/manifest.toml");
        let manifest = Manifest::read(&path).unwrap();
        let ubd = manifest.nodes.iter().find(|node| node.path == "/dev/ubd0").unwrap();
        assert_eq!((ubd.kind.letter(), ubd.major, ubd.minor), ('b', 98, 0));
        assert_eq!(ubd.mode, 0o660);
        assert!(manifest.users.contains_key("uml"));
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let node = |path: &str, mode: &str, more: &str| {
            format!(
                "[[nodes]]\npath = '{path}'\nmode = '{mode}'\ntype = 'block'\nminor = 0\n\
                 owner = 'root'\ngroup = 'disk'\n{more}\n"
            )
        };
        let user = |name: &str, more: &str| {
            format!("[users.'{name}']\npassword = '$6$a$b'\nuid = 1000\n{more}\n")
        };
        let cases = [
            (node("/dev/x", "0999", "major = 98"), "0999"),
            (node("/dev/x", "77777", "major = 98"), "up to four octal digits"),
            (node("dev/x", "0660", "major = 98"), "nodes: `dev/x` is not an absolute path"),
            (node("/dev/../x", "0660", "major = 98"), "/dev/../x"),
            (node("/dev/a\tb", "0660", "major = 98"), "without blanks"),
            (node("/", "0660", "major = 98"), "`/` is not an absolute path"),
            (node("/dev/x", "0660", "major = 4096"), "/dev/x: Linux has majors below 4096"),
            (node("/dev/x", "0660", "major = -1"), "invalid value"),
            (node("/dev/x", "0660", "major = 98\nmojor = 1"), "unknown field `mojor`"),
            (node("/dev/x", "0660", ""), "missing field `major`"),
            (node("/dev/x", "0660", "major = 1").repeat(2), "nodes: /dev/x is there twice"),
            ("[files.'/etc/x']\nmod = '0600'".into(), "unknown field `mod`"),
            ("[files.'etc/x']\nmode = '0600'".into(), "files: `etc/x`"),
            ("[file.'/etc/x']\nmode = '0600'".into(), "unknown field `file`"),
            ("[users.u]\npassword = 'plain'".into(), "users.u.password"),
            ("[users.u]\npassword = '$6$a:0:'".into(), "users.u.password"),
            (user("a:b", ""), "`a:b` is not a user name"),
            (user("", ""), "`` is not a user name"),
            (user("..", ""), "`..` is not a user name"),
            (user("u", "groups = ['a,b']"), "users.u.groups: `a,b`"),
            (user("u", "shell = 'sh'"), "users.u.shell: `sh`"),
            (user("u", "shell = '/bin/sh:0'"), "users.u.shell"),
        ];
        for (text, expected) in cases {
            let error = format!("{:#}", Manifest::parse(&text).unwrap_err());
            assert!(error.contains(expected), "{text}: {error}");
        }
        Manifest::parse(&(node("/dev/x", "0660", "major = 98") + &user("u-2", ""))).unwrap();
    }
}

#[cfg(test)]
mod fuzz {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    proptest! {
        #[test]
        fn a_manifest_is_read_or_refused(words in vec(select(&[
            "[[nodes]]\n", "[users.u]\n", "[files.'/a']\n", "path", "type", "major", "minor", "owner", "group", "groups",
            "mode", "uid", "shell", "password", " = ", "'block'", "'/dev/x'", "'$6$a'", "'0660'", "98", "-1", "[]", "['a']",
            "\n", "'", "\"", "\\u0000", "ä", "[", "]", ".",
        ][..]), 0..40)) {
            if let Ok(manifest) = Manifest::parse(&words.concat()) {
                prop_assert!(manifest.nodes.iter().all(|node| node.path.starts_with('/')));
            }
        }

        #[test]
        fn no_name_of_a_manifest_ends_its_line_or_its_field(
            name in "[a-z:\\n/.,\" ä]{0,6}",
            path in "/?[a-z:\\n/.\" \t\r]{0,8}",
        ) {
            if is_name(&name) {
                prop_assert!(!name.contains([':', '\n', '/', '.', ',', ' ']), "{name:?}");
            }
            if absolute(&path).is_ok() {
                prop_assert!(path.split_whitespace().eq([path.as_str()]), "{path:?}");
                prop_assert!(!path.contains("/../") && !path.contains([':', '"']), "{path:?}");
            }
        }
    }
}
