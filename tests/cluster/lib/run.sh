# A run: the folder of one cluster, and the keeper, the process that supervises it. Sourced; needs common.sh.
#
# `$runs/<name>/` contains keeper (process id and start time), ready, kubeconfig, log/ and the parts' files.

# Prints a process's start time, which distinguishes it from a later process with the same id.
born() { awk '{ sub(/.*\) /, ""); print $20 }' "/proc/$1/stat" 2>/dev/null; }

# Whether the keeper of the run's folder $1 is alive.
kept() {
  local pid when
  [ -f "$1/keeper" ] || return 1
  read -r pid when <"$1/keeper"
  alive "$pid" && [ "$(born "$pid")" = "$when" ]
}

# The keeper's first step: from here on the folder is removed with it, whatever ends it, except after
# `kill -9`.
keeper_begins() {
  mkdir -p "$state/log"
  owner_born=$(born "$owner") || true
  echo "$$ $(born $$)" >"$state/keeper.new"
  mv "$state/keeper.new" "$state/keeper"
  trap keeper_ends EXIT
  trap 'exit 0' TERM INT HUP
}

keeper_is_ready() { touch "$state/ready"; }

keeper_ends() {
  local code=$?
  trap - EXIT
  trap '' TERM INT HUP
  if [ ${#pids[@]} != 0 ]; then
    kill -9 "${pids[@]}" 2>/dev/null || true
    wait 2>/dev/null || true
  fi
  # If it never became ready, its logs stay for `up` to show.
  if [ -e "$state/ready" ]; then remove_run "$state"; else touch "$state/failed"; fi
  exit "$code"
}

owner_lives() { [ "$owner" = 0 ] || { alive "$owner" && [ "$(born "$owner")" = "$owner_born" ]; }; }

# Removes the rest of the run in the folder $1, whose processes are gone.
remove_run() {
  await 10 processes_are_gone "$1" || say "The cluster in $1 left processes behind."
  remove_cgroups "opencode-cluster-$(basename "$1")"
  rm -rf --one-file-system "$1" || await 10 rm -rf --one-file-system "$1"
}

# Removes the control groups $1, innermost first, in each hierarchy. The kernel may need a moment for each.
remove_cgroups() {
  local top
  for top in /sys/fs/cgroup/"$1" /sys/fs/cgroup/*/"$1"; do
    [ -d "$top" ] || continue
    await 10 find "$top" -depth -type d -exec rmdir {} + || say "The control group $top could not be removed."
  done
}

# Removes the runs whose keeper was killed before it could do so, and those that never had one.
sweep_runs() {
  local one
  for one in "$runs"/*/; do
    one=${one%/}
    [ -d "$one" ] || continue
    if [ -f "$one/keeper" ] || [ -n "$(find "$one" -maxdepth 0 -mmin +60)" ]; then
      kept "$one" || remove_run "$one"
    fi
  done
}

# The first process of the run's namespaces is gone: the kernel ends it, and all others before it, with a
# killed keeper.
processes_are_gone() { [ ! -f "$1/first-process" ] || ! kill -0 "$(cat "$1/first-process")" 2>/dev/null; }
