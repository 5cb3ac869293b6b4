//! The table: how a user can have left a repository, and what a resume may do with it.

/// What a resume does with a clone.
#[derive(Debug, Clone, Copy)]
pub(super) enum Expected {
    /// Every file, branch and setting stays as it is.
    Untouched,
    /// The session's branch is checked out; nothing is lost.
    CheckedOut,
}
use Expected::{CheckedOut, Untouched};

pub(super) struct State {
    pub(super) name: &'static str,
    /// Shell commands that make the state, run in a clone with the branch `release` checked out.
    /// `$REMOTE` is the remote's bare repository, `$ROOT` a folder outside of the clone.
    pub(super) made_by: &'static str,
    pub(super) expected: Expected,
}

const fn state(name: &'static str, made_by: &'static str, expected: Expected) -> State {
    State { name, made_by, expected }
}

/// The remote has `main` (README.md) and `release` (README.md changed, and notes.log).
pub(super) const STATES: &[State] = &[
    // Clean trees.
    state("on its branch", "true", Untouched),
    state("on its branch with unpushed commits", "git commit -q --allow-empty -m mine", Untouched),
    state("on another branch", "git switch -q main", CheckedOut),
    state(
        "on another branch with unpushed commits",
        "git switch -q -c mine main; git commit -q --allow-empty -m mine",
        CheckedOut,
    ),
    state(
        "its branch has unpushed commits",
        "git commit -q --allow-empty -m mine; git switch -q main",
        CheckedOut,
    ),
    state("its branch was renamed", "git commit -q --allow-empty -m mine; git branch -q -m mine", CheckedOut),
    state("an unborn branch", "git switch -q --orphan fresh", CheckedOut),
    state("a stash", "echo mine > README.md; git stash -q; git switch -q main", CheckedOut),
    state("a tag with the name of the branch", "git tag release origin/main; git switch -q main", CheckedOut),
    state(
        "a file with the name of the branch",
        "git switch -q main; touch release; git add release; \
        git commit -q -m file",
        CheckedOut,
    ),
    state(
        "a remote with the name of the branch",
        "git remote add release $REMOTE; git fetch -q release; git switch -q main",
        CheckedOut,
    ),
    // Uncommitted work.
    state("a changed file", "git switch -q main; echo mine > README.md", Untouched),
    state("a staged file", "git switch -q main; echo mine > new; git add new", Untouched),
    state("a deleted file", "git switch -q main; rm README.md", Untouched),
    state("a file that is to be added", "git switch -q main; echo mine > new; git add -N new", Untouched),
    state("an untracked file", "git switch -q main; echo mine > new", Untouched),
    state(
        "an untracked file that status does not show",
        "git switch -q main; echo mine > new; git config status.showUntrackedFiles no",
        Untouched,
    ),
    state(
        "an ignored file",
        "git switch -q main; echo '*.o' > .git/info/exclude; echo mine > a.o",
        CheckedOut,
    ),
    state(
        "an ignored file that the branch has too",
        "git switch -q main; echo '*.log' > .git/info/exclude; echo mine > notes.log",
        Untouched,
    ),
    state(
        "an ignored folder where the branch has a file",
        "git switch -q main; echo notes.log > .git/info/exclude; mkdir notes.log; echo mine > notes.log/a",
        Untouched,
    ),
    state(
        "a change that is assumed not to be there",
        "git switch -q main; git update-index --assume-unchanged README.md; echo mine > README.md",
        Untouched,
    ),
    state(
        "a change that is to be skipped",
        "git switch -q main; git update-index --skip-worktree README.md; echo mine > README.md",
        Untouched,
    ),
    state(
        "a file that is no longer executable, with core.fileMode off",
        "git switch -q main; git config core.fileMode false; chmod +x README.md",
        CheckedOut,
    ),
    // Submodules, sparse trees, more than one tree.
    state(
        "a clean submodule",
        "git switch -q main; git -c protocol.file.allow=always submodule --quiet add $REMOTE sub; \
         git commit -q -m sub",
        CheckedOut,
    ),
    state(
        "a submodule with changes, set to be ignored",
        "git switch -q main; git -c protocol.file.allow=always submodule --quiet add $REMOTE sub; \
         git config -f .gitmodules submodule.sub.ignore all; git add .; git commit -q -m sub; \
         git config submodule.sub.ignore all; echo mine > sub/README.md",
        Untouched,
    ),
    state(
        "a submodule with commits",
        "git switch -q main; git -c protocol.file.allow=always submodule --quiet add $REMOTE sub; \
         git commit -q -m sub; git -C sub commit -q --allow-empty -m mine",
        Untouched,
    ),
    state(
        "a sparse tree",
        "git switch -q main; mkdir in out; touch in/a out/b; git add .; git commit -q -m folders; \
         git sparse-checkout set in",
        CheckedOut,
    ),
    state(
        "a second tree that has the branch",
        "git switch -q main; git worktree add -q $ROOT/second release",
        Untouched,
    ),
    state(
        "a second tree with loose commits",
        "git switch -q main; git worktree add -q --detach $ROOT/second; \
         git -C $ROOT/second commit -q --allow-empty -m mine",
        CheckedOut,
    ),
    state(
        "a git folder elsewhere",
        "git switch -q main; mv .git $ROOT/elsewhere.git; echo \"gitdir: $ROOT/elsewhere.git\" > .git",
        CheckedOut,
    ),
    // A detached HEAD.
    state("detached at a commit of a branch", "git switch -q --detach main", CheckedOut),
    state(
        "detached at a commit of a tag",
        "git switch -q --detach; git commit -q --allow-empty -m mine; git tag mine",
        CheckedOut,
    ),
    state(
        "detached at a commit of no branch",
        "git switch -q --detach; git commit -q --allow-empty -m mine",
        Untouched,
    ),
    state(
        "detached at a commit of a stash only",
        "git switch -q --detach; git commit -q --allow-empty -m mine; echo mine > README.md; git stash -q",
        Untouched,
    ),
    state(
        "detached at a commit of a deleted branch",
        "git switch -q -c mine; git commit -q --allow-empty -m mine; git switch -q --detach; \
         git branch -q -D mine",
        Untouched,
    ),
    state(
        "detached at a commit of a remote branch that was deleted",
        "git switch -q -c gone; git commit -q --allow-empty -m gone; git push -q origin gone; \
         git switch -q --detach; git branch -q -D gone; git -C $REMOTE branch -q -D gone; \
         git config fetch.prune true",
        CheckedOut,
    ),
    // Operations in progress, with a clean tree.
    state(
        "a merge",
        "git switch -q -c mine main; git commit -q --allow-empty -m mine; \
         git merge -q -s ours --no-commit release",
        Untouched,
    ),
    state(
        "a merge with conflicts",
        "git switch -q -c mine main; echo mine > README.md; git commit -qam mine; \
         git merge -q release || true",
        Untouched,
    ),
    state(
        "a cherry-pick",
        "git switch -q -c mine main; echo mine > README.md; git commit -qam mine; \
         git cherry-pick release >/dev/null 2>&1 || true; git checkout -q HEAD -- .; git rm -qf notes.log",
        Untouched,
    ),
    state(
        "a sequence of cherry-picks between two of them",
        "git switch -q -c mine main; echo mine > README.md; git commit -qam mine; git branch -q two release; \
         git switch -q two; git commit -q --allow-empty -m empty; git switch -q mine; \
         git cherry-pick main..two >/dev/null 2>&1 || true; git add .; git commit -q -m picked",
        Untouched,
    ),
    state(
        "a revert",
        "echo mine > README.md; git commit -qam mine; echo more > README.md; git commit -qam more; \
         git switch -q -c other; git revert --no-edit HEAD~1 >/dev/null 2>&1 || true; \
         git checkout -q HEAD -- .",
        Untouched,
    ),
    state(
        "a rebase",
        "git switch -q -c mine; git commit -q --allow-empty -m mine; \
         git rebase -q --keep-empty -f -x false main >/dev/null 2>&1 || true",
        Untouched,
    ),
    state(
        "a rebase by patches",
        "git switch -q -c mine main; echo mine > README.md; git commit -qam mine; \
         git rebase -q --apply release >/dev/null 2>&1 || true; git checkout -q HEAD -- .",
        Untouched,
    ),
    state(
        "patches that are applied",
        "git switch -q main; echo mine > README.md; git commit -qam mine; git format-patch -q -1 -o $ROOT; \
         git reset -q --hard release; git am -q $ROOT/0001-mine.patch >/dev/null 2>&1 || true",
        Untouched,
    ),
    state(
        "a bisection",
        "git bisect start -q release main >/dev/null; git checkout -q --detach main",
        Untouched,
    ),
    state(
        "no commit at all",
        "git switch -q main; git switch -q --orphan fresh; git branch -q -D release main; \
         git tag -l | xargs -r git tag -d; git remote remove origin",
        CheckedOut,
    ),
    // Damage and leftovers.
    state("a lock of the index", "git switch -q main; touch .git/index.lock", Untouched),
    state("a lock of HEAD", "git switch -q main; touch .git/HEAD.lock", Untouched),
    state("a damaged index", "git switch -q main; echo damaged > .git/index", Untouched),
    state("no HEAD", "git switch -q main; rm .git/HEAD", Untouched),
    state("a damaged HEAD", "git switch -q main; echo damaged > .git/HEAD", Untouched),
    state("a damaged configuration", "git switch -q main; echo '[damaged' > .git/config", Untouched),
    state(
        "a bare repository by its configuration",
        "git switch -q main; git config core.bare true",
        Untouched,
    ),
    state(
        "a format that git does not know",
        "git switch -q main; git config core.repositoryFormatVersion 1; git config extensions.future true",
        Untouched,
    ),
    // Remotes.
    state(
        "a mirror of the remote",
        "git switch -q -c mine; git commit -q --allow-empty -m mine; \
         git config remote.origin.fetch '+refs/*:refs/*'; git config remote.origin.mirror true; \
         git config remote.origin.prune true",
        CheckedOut,
    ),
    state(
        "a mirror of the remote's branches with unpushed commits",
        "git commit -q --allow-empty -m mine; git switch -q main; git config fetch.prune true; \
         git config remote.origin.fetch '+refs/heads/*:refs/heads/*'",
        CheckedOut,
    ),
    state(
        "tags of its own, with tags pruned",
        "git switch -q main; git tag mine; git config fetch.pruneTags true; git config fetch.prune true; \
         git config remote.origin.tagOpt --tags",
        CheckedOut,
    ),
    state(
        "its branch is gone from the remote",
        "git commit -q --allow-empty -m mine; git switch -q main; git -C $REMOTE branch -q -D release",
        CheckedOut,
    ),
    state(
        "its branch was overwritten on the remote",
        "git commit -q --allow-empty -m mine; git switch -q main; git -C $REMOTE branch -q -f release main",
        CheckedOut,
    ),
    state("no remote", "git switch -q main; git remote remove origin", CheckedOut),
    state("a remote that is gone", "git switch -q main; rm -rf $REMOTE", CheckedOut),
    state(
        "its branch is gone everywhere",
        "git switch -q main; git branch -q -D release; git remote remove origin",
        Untouched,
    ),
];
