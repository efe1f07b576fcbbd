use super::*;
use crate::config::Config;

#[test]
fn gits_words_are_understood() {
    let commit = "f".repeat(40);
    let other = "e".repeat(40);
    let goes_on = "Bisecting: 3 revisions left to test after this (roughly 2 steps)";
    assert_eq!(
        found(&format!("{goes_on}\n[{commit}] net: a title\n")),
        Some(Search::GoesOn(goes_on.into()))
    );
    assert_eq!(
        found(&format!("{commit} is the first bad commit\ncommit {commit}\nAuthor: a <a>\n")),
        Some(Search::Found(commit.clone()))
    );
    let skipped = format!(
        "There are only 'skip'ped commits left to test.\nThe first bad commit could be any \
         of:\n{commit}\n{other}\nWe cannot bisect more!\n"
    );
    assert_eq!(found(&skipped), Some(Search::OneOf(vec![commit, other])));
    assert_eq!(found(""), None);
}

/// A repository whose file `n` has the numbers of its commits, one after the other.
fn repository(dir: &Path, commits: usize) -> Vec<String> {
    let run = |args: &[&str]| git(dir, args).unwrap();
    run(&["init", "--quiet"]);
    let who = ["-c", "user.name=a", "-c", "user.email=a@example.org"];
    let commit = |number: usize| {
        std::fs::create_dir_all(dir.join("linux")).unwrap();
        std::fs::write(dir.join("linux/n"), number.to_string()).unwrap();
        run(&["add", "--all"]);
        let message = number.to_string();
        run(&[&who[..], &["commit", "--quiet", "--message", &message]].concat());
        run(&["rev-parse", "HEAD"])
    };
    (0..commits).map(commit).collect()
}

fn number(clone: &SharedClone) -> usize {
    std::fs::read_to_string(clone.tree().join("n")).unwrap().parse().unwrap()
}

#[test]
fn the_first_bad_commit_is_found_and_nothing_is_written_into_the_repository() {
    let (dir, checkout) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let commits = repository(dir.path(), 20);
    let ctx = Ctx::in_dir(checkout.path(), Config::from_metadata(&serde_json::json!({})).unwrap());
    let own = Repository::of(&dir.path().join("linux")).unwrap();
    let before = git(dir.path(), &["for-each-ref"]).unwrap();
    assert_eq!(own.commit("HEAD~19").unwrap(), commits[0]);
    assert!(own.commit("--all").is_err() && own.commit("HEAD~20").is_err());
    assert!(own.ensure_ancestor(&commits[3], &commits[2]).is_err());
    for (told, found) in [(Mark::Good, vec![13]), (Mark::Skip, vec![11, 12, 13])] {
        let clone = own.cloned(&ctx).unwrap();
        assert!(own.cloned(&ctx).is_err(), "two at once");
        git(&clone.folder, &["checkout", "--quiet", "--detach", &commits[19]]).unwrap();
        assert_eq!(number(&clone), 19);
        let mut search = clone.start(&commits[0], &commits[19]).unwrap();
        while let Search::GoesOn(_) = search {
            search = clone
                .mark(match number(&clone) {
                    11 | 12 => told,
                    number if number < 13 => Mark::Good,
                    _ => Mark::Bad,
                })
                .unwrap();
        }
        let mut ends = match search {
            Search::Found(commit) => vec![commit],
            Search::OneOf(commits) => commits,
            Search::GoesOn(_) => unreachable!("it went on until here"),
        };
        ends.sort_by_key(|commit| commits.iter().position(|other| other == commit));
        let expected: Vec<_> = found.iter().map(|number| commits[*number].clone()).collect();
        assert_eq!(ends, expected);
        clone.remove().unwrap();
    }
    assert!(!ctx.layout.bisect().exists());
    assert_eq!(git(dir.path(), &["for-each-ref"]).unwrap(), before);
    assert_eq!(git(dir.path(), &["status", "--porcelain"]).unwrap(), "");
    assert!(!dir.path().join(".git/BISECT_LOG").exists());
}
