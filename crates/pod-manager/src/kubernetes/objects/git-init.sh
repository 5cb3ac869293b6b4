# Fills a folder (WORKSPACE) with the session's repository. POSIX sh; run by `sh -c`: by serve.sh before
# opencode, or in an init container. Values come from the environment (REPO_URL, BRANCH, SOURCE_BRANCH); none
# is pasted into this text.
#
# With BESIDE it returns as soon as no file of the repository will change, and fetches beside opencode.
#
# A clone that is already there may hold work. The rules for it are those of the local backend
# (local/git/branch.rs), and one table of repository states tests both (tests/it/resume).
set -eu
cd "${WORKSPACE:-/workspace}"
beside=
partial=.opencode-clone
network_errors='Could not resolve host|Temporary failure in name resolution|Failed to connect'
network_errors="$network_errors|Connection refused|Connection timed out"
network_errors="$network_errors|Network is unreachable|No route to host"

# Adds a setting that wins over every configuration file.
config() {
  export "GIT_CONFIG_KEY_$count=$1" "GIT_CONFIG_VALUE_$count=$2"
  count=$((count + 1))
  export GIT_CONFIG_COUNT="$count"
}
# A setting as it is without the repository.
outside() { (cd / && git config "$@") || true; }

# A repository is not trusted: its configuration must not make git run a program.
count=${GIT_CONFIG_COUNT:-0}
config core.fsmonitor false
config core.hooksPath /dev/null
config core.askPass ''
config core.pager cat
config core.alternateRefsCommand true
config gc.auto 0
config maintenance.auto false
config advice.detachedHead false
config fetch.recurseSubmodules false
config submodule.recurse false
config http.lowSpeedLimit 1
config http.lowSpeedTime 120
unset GIT_ASKPASS SSH_ASKPASS
export GIT_TERMINAL_PROMPT=0 GIT_ALLOW_PROTOCOL=http:https:ssh:git:file
# Keeps git from using a repository further up if this one is damaged.
GIT_CEILING_DIRECTORIES=$(dirname "$PWD")
export GIT_CEILING_DIRECTORIES
if [ -z "${GIT_SSH_COMMAND:-}${GIT_SSH:-}" ]; then
  GIT_SSH_COMMAND=$(outside --get core.sshCommand)
  export GIT_SSH_COMMAND="${GIT_SSH_COMMAND:-ssh -o BatchMode=yes}"
fi

# The same for settings whose names are the repository's to choose. Helpers and filters from outside stay.
disable_programs() {
  export GIT_PROXY_COMMAND="${GIT_PROXY_COMMAND-}"
  helpers=$(outside --get-regexp '^credential\.(.*\.)?helper$')
  config credential.helper ''
  while read -r key value; do
    [ -z "$key" ] || config "$key" "$value"
  done <<END
$helpers
END
  filters='^filter\..*\.(clean|smudge|process|required)$'
  filters=$(git config --show-scope --name-only --get-regexp "$filters" || true)
  while read -r scope key; do
    case $scope in local | worktree) config "$key" "$(outside --get "$key")" ;; esac
  done <<END
$filters
END
}

# Runs a command, beside opencode at the lowest priority.
gently() {
  if [ -n "$beside" ]; then nice -n 19 "$@"; else "$@"; fi
}

# Passes on a command's output line by line: git ends its progress lines with a carriage return, and a
# container's log is read by lines.
by_line() {
  if ! command -v stdbuf >/dev/null 2>&1; then
    "$@"
    return
  fi
  code=$(mktemp)
  { "$@" 2>&1 && echo 0 >"$code" || echo $? >"$code"; } | stdbuf -o0 tr '\r' '\n'
  return "$(cat "$code")"
}

# Copies a command's output to the file $output; returns the command's exit code.
record() {
  output=$(mktemp) recorded=$(mktemp)
  { "$@" 2>&1 && echo 0 >"$recorded" || echo $? >"$recorded"; } | tee "$output"
  return "$(cat "$recorded")"
}

# Whether the clone was ever finished. Ours are moved here when they are; a clone of the TypeScript router
# that was cut off has no index yet.
is_whole() {
  [ -e .git ] && { [ ! -d .git ] || [ -e .git/index ] ||
    [ "$(git config --file .git/config --get opencode-router.cloned || true)" = true ]; }
}

leave() {
  echo "$1: the files are left as they are" >&2
  exit 0
}

is_commit() { git -C "$1" rev-parse --verify --quiet "$2^{commit}" >/dev/null; }

# Sets $plan to how the session's branch is checked out in the repository $1, and $start to where it begins.
plan_checkout() {
  start=
  if is_commit "$1" "refs/heads/$BRANCH"; then
    plan=local
  elif is_commit "$1" "refs/remotes/origin/$BRANCH"; then
    plan=remote start=refs/remotes/origin/$BRANCH
  else
    plan=create
    if [ -z "${SOURCE_BRANCH:-}" ]; then
      set -- "$1" refs/remotes/origin/HEAD
    else
      set -- "$1" "refs/remotes/origin/$SOURCE_BRANCH" "refs/heads/$SOURCE_BRANCH"
    fi
    repository=$1
    shift
    for name; do
      if is_commit "$repository" "$name"; then
        start=$name
        return
      fi
    done
    plan=missing
    if refs=$(git -C "$repository" for-each-ref --count=1) && [ -z "$refs" ]; then plan=unborn; fi
  fi
}

# `--no-overwrite-ignore`: an ignored file is in no commit.
checkout() {
  case $plan in
    local) git checkout --quiet --no-overwrite-ignore "$BRANCH" -- ;;
    remote) git checkout --quiet --no-overwrite-ignore --track -b "$BRANCH" "$start" -- ;;
    create) git checkout --quiet --no-overwrite-ignore --no-track -b "$BRANCH" "$start" -- ;;
    unborn) git symbolic-ref HEAD "refs/heads/$BRANCH" ;;
  esac
}

clone() {
  # The router reads this line.
  echo "opencode-router: cloning" >&2
  rm -rf -- "$partial"
  # A Pod's network policies can take effect a little after its start: the first attempts may fail.
  tries=1
  until record by_line \
    git clone --progress --no-checkout --no-recurse-submodules -- "$REPO_URL" "$partial"; do
    if [ "$tries" -ge 3 ] || ! grep -qE "$network_errors" "$output"; then exit 128; fi
    tries=$((tries + 1))
    echo "the remote is unreachable; trying again" >&2
    rm -rf -- "$partial"
    sleep 2
  done
  plan_checkout "$partial"
  if [ "$plan" = missing ]; then
    rm -rf -- "$partial"
    echo "opencode-router: branch_not_found ${SOURCE_BRANCH:-}" >&2
    exit 3
  fi
  if [ -e .git ]; then
    echo "an interrupted clone was found; cloning again" >&2
    mv -- .git ".git-interrupted-$(date +%s)"
  fi
  git -C "$partial" config opencode-router.cloned true
  mv -- "$partial/.git" .git
  rm -rf -- "$partial"
  checkout
}

# Whether the session's branch is checked out: then a refresh changes no file.
is_on_branch() {
  [ "$(git symbolic-ref --quiet HEAD)" = "refs/heads/$BRANCH" ] && is_commit . "refs/heads/$BRANCH"
}

# Fetches, and checks the session's branch out if nothing can be lost by it.
refresh() {
  disable_programs
  changes=$(gently git --no-optional-locks status --porcelain --untracked-files=normal --ignore-submodules=none) ||
    leave "git cannot read the repository"
  [ -z "$changes" ] || leave "there are uncommitted changes"
  git_dir=$(git rev-parse --absolute-git-dir)
  for name in MERGE_HEAD CHERRY_PICK_HEAD REVERT_HEAD BISECT_LOG rebase-merge rebase-apply sequencer; do
    [ ! -e "$git_dir/$name" ] || leave "a merge, rebase or the like is in progress ($name)"
  done
  for name in index.lock HEAD.lock; do
    [ ! -e "$git_dir/$name" ] || leave "the repository is locked ($name)"
  done
  # The refspec is given here: one of the repository's own could overwrite or delete local branches.
  by_line gently git fetch --progress --no-recurse-submodules --no-prune --no-prune-tags --refmap= \
    --upload-pack=git-upload-pack -- origin '+refs/heads/*:refs/remotes/origin/*' ||
    echo "the remote is unreachable; continuing without it" >&2
  # opencode runs by now, and what is checked out is the session's business.
  [ -z "$beside" ] || exit 0
  head=$(git symbolic-ref --quiet HEAD || true)
  if [ -z "$head" ] && is_commit . HEAD &&
    [ -z "$(git for-each-ref --count=1 --contains=HEAD refs/heads refs/remotes refs/tags)" ]; then
    leave "the commits that are checked out are on no branch"
  fi
  plan_checkout .
  if [ "$plan" = local ] && [ "$head" = "refs/heads/$BRANCH" ]; then exit 0; fi
  [ "$plan" != missing ] || leave "the branch $BRANCH no longer exists"
  checkout || leave "the branch $BRANCH cannot be checked out"
}

if [ -z "${REPO_URL:-}" ]; then
  if ! is_whole; then
    git init --quiet --initial-branch=main .
    set -- commit --quiet --allow-empty --no-verify --no-gpg-sign -m "Start"
    # A git before 2.32 does not read the system's configuration that names the author.
    git -c user.useConfigOnly=true "$@" 2>/dev/null ||
      git -c user.name=opencode -c user.email=opencode@localhost "$@"
  fi
elif is_whole; then
  if [ -n "${BESIDE:-}" ] && is_on_branch 2>/dev/null; then
    beside=1
    # The subshell ends at once, so that the Pod's first process reaps the other one.
    (refresh &)
  else
    refresh
  fi
else
  clone
fi
