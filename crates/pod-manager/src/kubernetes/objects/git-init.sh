# Fills /workspace with the session's repository. POSIX sh; run by `sh -c` in the init container.
# Every value comes by environment (REPO_URL, BRANCH, SOURCE_BRANCH) and none is pasted into this text.
# Whatever is in the folder and not in a commit is never touched.
set -eu
cd /workspace
partial=.opencode-clone

# Our clones say when they are whole. One of the TypeScript router's is if a commit is checked out: one that was
# cut off has refs to nothing, or no index.
is_whole() {
  [ "$(git config --get opencode-router.cloned || true)" = true ] ||
    { git rev-parse --verify --quiet 'HEAD^{commit}' >/dev/null 2>&1 && [ -f .git/index ]; }
}
is_clean() { [ -z "$(git --no-optional-locks status --porcelain 2>/dev/null | head -n 1)" ]; }
has() { git show-ref --verify --quiet "$1"; }

# Says what the command says, as it comes. git ends the lines of its progress with a carriage return, and what a container
# says is passed on line by line.
in_lines() {
  if ! command -v stdbuf >/dev/null 2>&1; then
    "$@"
    return
  fi
  ended=$(mktemp)
  { "$@" 2>&1 && echo 0 >"$ended" || echo $? >"$ended"; } | stdbuf -o0 tr '\r' '\n'
  return "$(cat "$ended")"
}

# Keeps in $heard what the command says; gives its code.
said() {
  heard=$(mktemp) ended_with=$(mktemp)
  { "$@" 2>&1 && echo 0 >"$ended_with" || echo $? >"$ended_with"; } | tee "$heard"
  return "$(cat "$ended_with")"
}
away='Could not resolve host|Temporary failure in name resolution|Failed to connect|Connection refused|Connection timed out|Network is unreachable|No route to host'

fresh_clone() {
  rm -rf -- "$partial"
  if [ -e .git ]; then
    echo "an interrupted clone was found and is made anew" >&2
    mv -- .git ".git-interrupted-$(date +%s)"
  fi
  # What a Pod may reach is told to the network while it starts already: the first words can come too early.
  tries=1
  until said in_lines git clone --progress --no-checkout -- "$REPO_URL" "$partial"; do
    if [ "$tries" -ge 3 ] || ! grep -qE "$away" "$heard"; then exit 128; fi
    tries=$((tries + 1))
    echo "the remote could not be reached: trying again" >&2
    rm -rf -- "$partial"
    sleep 2
  done
  git -C "$partial" config opencode-router.cloned true
  mv -- "$partial/.git" .git
  rm -rf -- "$partial"
}

if [ -z "${REPO_URL:-}" ]; then
  if ! git rev-parse --verify --quiet 'HEAD^{commit}' >/dev/null 2>&1; then
    git init --quiet --initial-branch=main .
    git -c user.name=opencode -c user.email=opencode@localhost commit --quiet --allow-empty -m "Start"
  fi
  exit 0
fi

cloned=
if [ ! -e .git ] || ! is_whole; then
  fresh_clone
  cloned=1
elif is_clean; then
  in_lines git fetch --progress --prune -- origin || echo "the remote could not be reached: going on with what is here" >&2
else
  echo "there is uncommitted work: everything is left as it is" >&2
  exit 0
fi

if [ -z "$cloned" ] && [ "$(git symbolic-ref --quiet --short HEAD || true)" = "$BRANCH" ]; then
  exit 0
fi
# A repository without a commit: the branch is born with the first one.
if ! git rev-parse --verify --quiet 'HEAD^{commit}' >/dev/null 2>&1 && [ -z "$(git for-each-ref --count=1)" ]; then
  git symbolic-ref HEAD "refs/heads/$BRANCH"
  exit 0
fi
if has "refs/heads/$BRANCH"; then
  git checkout --quiet "$BRANCH" --
elif has "refs/remotes/origin/$BRANCH"; then
  git checkout --quiet --track -b "$BRANCH" "refs/remotes/origin/$BRANCH" --
elif [ -n "${SOURCE_BRANCH:-}" ]; then
  if ! has "refs/remotes/origin/$SOURCE_BRANCH"; then
    echo "opencode-router: branch_not_found" >&2
    exit 3
  fi
  git checkout --quiet --no-track -b "$BRANCH" "refs/remotes/origin/$SOURCE_BRANCH" --
else
  git checkout --quiet --no-track -b "$BRANCH" refs/remotes/origin/HEAD --
fi
