//! What comes with the engine: the configuration, fragments, patches and the overlay of a workspace that has
//! none of its own, or not all.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Map, Value};

/// The configuration.
const CONFIG: &str = include_str!("../defaults/uml.toml");

/// The folder of the engine's files, as cargo has it where the engine was built: `cargo run` builds it anew
/// where that has moved.
pub fn dir() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/defaults"))
}

/// Returns true if a path leads to a file of the engine.
pub fn has(path: &Path) -> bool {
    path.starts_with(dir())
}

/// What is called `name`, of the engine and then of the workspace at `root`: what comes later is laid over what
/// comes before. What both mean by it is there once.
pub fn layers(root: &Path, name: &str) -> Vec<PathBuf> {
    let mut layers = vec![dir().join(name), root.join(name)];
    layers.retain(|layer| layer.exists());
    if let [engine, own] = layers.as_slice()
        && let (Ok(engine), Ok(own)) = (engine.canonicalize(), own.canonicalize())
        && engine == own
    {
        layers.remove(0);
    }
    layers
}

/// The configuration of a workspace that says this: a kernel or a value of its own takes the place of the
/// engine's, and the packages of its image come to those of the engine.
///
/// # Errors
/// When the engine's own is wrong.
pub fn complete(own: Option<&Value>) -> Result<Value> {
    let defaults: toml::Table = toml::from_str(CONFIG).context("in the engine's defaults")?;
    let mut whole = serde_json::to_value(defaults).context("in the engine's defaults")?;
    if let Some(own) = own {
        lay_over(&mut whole, own, &[]);
    }
    Ok(whole)
}

fn lay_over(value: &mut Value, own: &Value, path: &[&str]) {
    match (value, own) {
        (Value::Object(below), Value::Object(above)) if !is_kernel(path) => {
            lay_over_each(below, above, path);
        }
        (Value::Object(below), Value::Object(above)) if is_tree_alone(above) => {
            below.retain(|key, _| !matches!(key.as_str(), "debian" | "tarballs"));
            below.extend(above.clone());
        }
        (Value::Array(below), Value::Array(above)) if path == ["rootfs", "packages"] => {
            for item in above {
                if !below.contains(item) {
                    below.push(item.clone());
                }
            }
        }
        (value, own) => *value = own.clone(),
    }
}

fn lay_over_each(below: &mut Map<String, Value>, above: &Map<String, Value>, path: &[&str]) {
    for (key, own) in above {
        match below.get_mut(key) {
            Some(value) => lay_over(value, own, &[path, &[key]].concat()),
            None => drop(below.insert(key.clone(), own.clone())),
        }
    }
}

/// An entry is one thing: half of one and half of another would be neither.
fn is_kernel(path: &[&str]) -> bool {
    matches!(path, ["kernels", _])
}

/// The same kernel, out of a tree of the user's own.
fn is_tree_alone(kernel: &Map<String, Value>) -> bool {
    kernel.len() == 1 && kernel.contains_key("tree")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_workspace_says_is_laid_over_what_the_engine_has() {
        let alone = complete(None).unwrap();
        assert_eq!(alone["kernel"][0], "3.0");
        let own = json!({
            "kernel": ["mine"],
            "rootfs": { "packages": ["tcpdump", "acl"] },
            "kernels": {
                "mine": { "fragments": ["x"] },
                "7.3": { "fragments": ["y"] },
                "3.0": { "tree": "../linux" },
            },
        });
        let whole = complete(Some(&own)).unwrap();
        assert_eq!(whole["kernel"], json!(["mine"]));
        assert_eq!(whole["rootfs"]["suite"], alone["rootfs"]["suite"]);
        let packages = whole["rootfs"]["packages"].as_array().unwrap();
        assert_eq!(packages.len(), alone["rootfs"]["packages"].as_array().unwrap().len() + 1);
        assert_eq!(whole["kernels"]["7.3"], json!({ "fragments": ["y"] }));
        assert_eq!(whole["kernels"]["6.12"], alone["kernels"]["6.12"]);
        let mut of_tree = alone["kernels"]["3.0"].clone();
        of_tree.as_object_mut().unwrap().remove("tarballs");
        of_tree["tree"] = json!("../linux");
        assert_eq!(whole["kernels"]["3.0"], of_tree);
        assert_eq!(whole["kernels"]["mine"], json!({ "fragments": ["x"] }));
    }

    #[test]
    fn a_layer_of_both_is_there_once() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(layers(root.path(), "kconfig"), [dir().join("kconfig")]);
        std::fs::create_dir(root.path().join("kconfig")).unwrap();
        let own = root.path().join("kconfig");
        assert_eq!(layers(root.path(), "kconfig"), [dir().join("kconfig"), own.clone()]);
        std::fs::remove_dir(&own).unwrap();
        std::os::unix::fs::symlink(dir().join("kconfig"), &own).unwrap();
        assert_eq!(layers(root.path(), "kconfig"), [own]);
        assert_eq!(layers(root.path(), "no-such-thing"), Vec::<PathBuf>::new());
    }
}
