//! Time limits, written as humantime(3) has them: `90s`, `2m`.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserializer, Serializer};

/// Less is no time for a guest, and more is no limit: adding it to the clock has to work.
const SENSIBLE: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(24 * 60 * 60);

pub(super) fn deserialize<'de, D: Deserializer<'de>>(reader: D) -> Result<Duration, D::Error> {
    let hint = "write a time between `1s` and `24h`, for example `90s`";
    let time: Duration = humantime_serde::deserialize(reader)
        .map_err(|error| D::Error::custom(format!("{error}: {hint}")))?;
    if SENSIBLE.contains(&time) { Ok(time) } else { Err(D::Error::custom(hint)) }
}

pub(super) fn serialize<S: Serializer>(time: &Duration, writer: S) -> Result<S::Ok, S::Error> {
    humantime_serde::serialize(time, writer)
}
