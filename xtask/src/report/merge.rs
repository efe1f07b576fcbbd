//! The reports of a run's parts made into one.

use super::model::Shard;

/// The parts that should be there and are not: of `slice:1/3` and `slice:3/3`, `slice:2/3`.
pub(super) fn missing_parts(shards: &[Shard]) -> Vec<String> {
    let mut kinds: Vec<(&str, usize)> = Vec::new();
    for (kind, _, of) in shards.iter().filter_map(|shard| parts(shard.partition.as_deref()?)) {
        if !kinds.contains(&(kind, of)) {
            kinds.push((kind, of));
        }
    }
    let there = |name: &String| shards.iter().any(|shard| shard.partition.as_ref() == Some(name));
    let all =
        kinds.into_iter().flat_map(|(kind, of)| (1..=of).map(move |i| format!("{kind}:{i}/{of}")));
    all.filter(|name| !there(name)).collect()
}

fn parts(partition: &str) -> Option<(&str, usize, usize)> {
    let (kind, numbers) = partition.split_once(':')?;
    let (number, of) = numbers.split_once('/')?;
    Some((kind, number.parse().ok()?, of.parse().ok()?))
}
