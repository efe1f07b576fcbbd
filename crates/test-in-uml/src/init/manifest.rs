//! The manifest of a workspace, with all that is in it as it was.

use std::path::Path;

use anyhow::{Context as _, Result};
use toml_edit::{Array, DocumentMut, Item, Table, value};

/// Returns true if a manifest is that of a workspace.
pub(super) fn is_workspace(text: &str) -> bool {
    text.parse::<DocumentMut>().is_ok_and(|manifest| manifest.contains_key("workspace"))
}

/// A manifest with these members, and with the folder of a module that is built for guests; a new one if there
/// was none.
///
/// # Errors
/// When what is there is no manifest.
pub(super) fn with_members(
    before: Option<&str>,
    members: &[&str],
    module: Option<&Path>,
) -> Result<String> {
    let mut manifest: DocumentMut = before.unwrap_or_default().parse()?;
    let is_new = !manifest.contains_key("workspace");
    let workspace = table(manifest.as_table_mut(), "workspace")?;
    if is_new {
        workspace.set_implicit(false);
        workspace["resolver"] = value("3");
    }
    let known = array(workspace, "members")?;
    for member in members {
        if known.iter().all(|there| there.as_str() != Some(member)) {
            known.push(*member);
        }
    }
    if let Some(module) = module {
        let uml = table(table(workspace, "metadata")?, "uml")?;
        let modules = array(uml, "modules")?;
        let module = module.display().to_string();
        if modules.iter().all(|there| there.as_str() != Some(&module)) {
            modules.push(module);
        }
    }
    Ok(manifest.to_string())
}

fn table<'a>(parent: &'a mut Table, name: &str) -> Result<&'a mut Table> {
    let item = parent.entry(name).or_insert_with(|| {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    });
    item.as_table_mut().with_context(|| format!("`{name}` is no table"))
}

fn array<'a>(parent: &'a mut Table, name: &str) -> Result<&'a mut Array> {
    let item = parent.entry(name).or_insert_with(|| value(Array::new()));
    item.as_array_mut().with_context(|| format!("`{name}` is no array"))
}
