//! Finds the commit that is built. Part of the build script.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Length to which a commit id is cut.
const ID_LENGTH: usize = 7;

/// Text for a revision and a date that the builder has named; `None` if it has not named a commit id.
pub(crate) fn named(revision: Option<&str>, date: Option<&str>) -> Option<String> {
    let id = revision?.trim();
    if id.len() < ID_LENGTH || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let short = &id[..ID_LENGTH];
    // A date such as 2026-11-27, or the day of an RFC 3339 time.
    let day = date.and_then(|date| date.trim().get(..10)).unwrap_or_default();
    Some(if day.is_empty() { short.to_owned() } else { format!("{short} {day}") })
}

/// Text for the commit that is checked out in `root`, such as `af3e3f8 2026-11-27`; `None` without git, and if `root` is not
/// the top of a repository: an unpacked archive may lie inside another one.
pub(crate) fn checked_out(root: &Path) -> Option<String> {
    let top = PathBuf::from(git(root, &["rev-parse", "--show-toplevel"])?);
    if top.canonicalize().ok()? != root.canonicalize().ok()? {
        return None;
    }
    git(root, &["log", "-1", "--abbrev=7", "--format=%h %cs"])
}

/// Files that change when another commit is checked out or made. Only files that exist: a missing one makes cargo run the
/// build script every time.
pub(crate) fn watched(root: &Path) -> Vec<PathBuf> {
    // HEAD names a branch or a commit. A new commit on the branch is written to the log of HEAD, and without such a log
    // to the file of the branch, or to all of them packed in one file.
    let branch = git(root, &["symbolic-ref", "--quiet", "HEAD"]);
    let names = ["HEAD", "logs/HEAD", "packed-refs"].into_iter().chain(branch.as_deref());
    let paths = names.filter_map(|name| git(root, &["rev-parse", "--git-path", name]));
    paths.map(|path| root.join(path)).filter(|path| path.exists()).collect()
}

fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| output.status.success() && !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(root: &Path, arguments: &[&str]) {
        let who = ["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"];
        let output = Command::new("git").arg("-C").arg(root).args(who).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn repository() -> tempfile::TempDir {
        let folder = tempfile::TempDir::new().unwrap();
        run(folder.path(), &["init", "--quiet"]);
        run(folder.path(), &["commit", "--quiet", "--allow-empty", "-m", "first"]);
        folder
    }

    /// Contents of everything that is watched.
    fn contents(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let read = |path: PathBuf| (path.clone(), std::fs::read(path).unwrap());
        watched(root).into_iter().map(read).collect()
    }

    #[test]
    fn a_commit_has_its_id_and_its_day() {
        let folder = repository();
        let text = checked_out(folder.path()).unwrap();
        let (id, day) = text.split_once(' ').unwrap();
        assert!(id.len() >= ID_LENGTH && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{text}");
        assert_eq!(day.len(), "2026-11-27".len(), "{text}");
    }

    #[test]
    fn a_folder_inside_another_repository_and_a_folder_without_one_have_no_commit() {
        let folder = repository();
        let archive = folder.path().join("archive");
        std::fs::create_dir(&archive).unwrap();
        assert_eq!(checked_out(&archive), None);
        let plain = tempfile::TempDir::new().unwrap();
        assert_eq!(checked_out(plain.path()), None);
        assert!(watched(plain.path()).is_empty());
    }

    #[test]
    fn a_new_commit_changes_what_is_watched_with_and_without_a_log() {
        for has_log in ["true", "false"] {
            let folder = tempfile::TempDir::new().unwrap();
            let root = folder.path();
            run(root, &["init", "--quiet"]);
            run(root, &["config", "core.logAllRefUpdates", has_log]);
            run(root, &["commit", "--quiet", "--allow-empty", "-m", "first"]);
            let before = contents(root);
            run(root, &["commit", "--quiet", "--allow-empty", "-m", "second"]);
            let after = contents(root);
            assert_ne!(before, after, "after a commit");
            // Packed, the branch has no file of its own until the next commit.
            run(root, &["pack-refs", "--all"]);
            let before = contents(root);
            run(root, &["commit", "--quiet", "--allow-empty", "-m", "third"]);
            run(root, &["pack-refs", "--all"]);
            assert_ne!(before, contents(root), "after a commit on a packed branch");
            let before = contents(root);
            run(root, &["checkout", "--quiet", "--detach", "HEAD~1"]);
            assert_ne!(before, contents(root), "after a checkout");
        }
    }

    #[test]
    fn a_builder_may_name_the_commit() {
        let id = Some("af3e3f8c0ffee0123456789abcdef0123456789a");
        assert_eq!(named(id, Some("2026-11-27T10:00:00Z")).as_deref(), Some("af3e3f8 2026-11-27"));
        assert_eq!(named(id, Some("")).as_deref(), Some("af3e3f8"));
        assert_eq!(named(id, None).as_deref(), Some("af3e3f8"));
        for unknown in [None, Some(""), Some("unknown"), Some("af3")] {
            assert_eq!(named(unknown, Some("2026-11-27")), None, "{unknown:?}");
        }
    }
}
