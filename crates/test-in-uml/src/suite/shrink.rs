//! The smallest part of a sequence that still does something: delta debugging ("Simplifying and Isolating Failure-Inducing Input",
//! A. Zeller and R. Hildebrandt, IEEE Transactions on Software Engineering 28, 2002).

/// The smallest part of a sequence, in its order, that still `fails`, which the whole is taken to do: without any one of its items it
/// does not.
///
/// # Errors
/// Whatever `fails` errs with.
pub fn smallest<T: Clone, E>(
    whole: &[T],
    mut fails: impl FnMut(&[T]) -> Result<bool, E>,
) -> Result<Vec<T>, E> {
    if fails(&[])? {
        return Ok(Vec::new());
    }
    let (mut part, mut pieces) = (whole.to_vec(), 2);
    while part.len() > 1 {
        let size = part.len().div_ceil(pieces);
        let mut less = None;
        for start in (0..part.len()).step_by(size) {
            let end = (start + size).min(part.len());
            let without = [&part[..start], &part[end..]].concat();
            if fails(&without)? {
                less = Some(without);
                break;
            }
        }
        match less {
            Some(less) => (part, pieces) = (less, (pieces - 1).max(2)),
            None if size == 1 => break,
            None => pieces = (pieces * 2).min(part.len()),
        }
    }
    Ok(part)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    /// The smallest part of so many items that has all of these, and the number of times it was asked.
    fn shrunk(count: usize, needed: &BTreeSet<usize>) -> (Vec<usize>, usize) {
        let whole: Vec<usize> = (0..count).collect();
        let mut asked = 0;
        let found = smallest(&whole, |part| {
            asked += 1;
            Ok::<_, Infallible>(needed.iter().all(|one| part.contains(one)))
        });
        (found.unwrap(), asked)
    }

    #[test]
    fn one_of_many_is_found_in_few_steps() {
        let (found, asked) = shrunk(256, &BTreeSet::from([200]));
        assert_eq!(found, [200]);
        assert!(asked < 30, "{asked}");
    }

    #[test]
    fn what_fails_without_any_needs_none() {
        assert_eq!(shrunk(100, &BTreeSet::new()), (Vec::new(), 1));
    }

    proptest! {
        #[test]
        fn what_is_left_is_what_is_needed(
            count in 0_usize..60,
            needed in proptest::collection::btree_set(0_usize..60, 0..6),
        ) {
            let needed: BTreeSet<usize> = needed.into_iter().filter(|one| *one < count).collect();
            let (found, _) = shrunk(count, &needed);
            prop_assert!(found.iter().eq(&needed), "{:?}", found);
        }
    }
}
