# Runs in the session image as its user, started by tests/cluster/session-image: an empty home, no network but
# loopback. /names lists the DNS names that were queried.
set -u
failed=0
promise() {
  local sentence=$1 started output
  shift
  started=$(date +%s%3N)
  if output=$("$@" 2>&1); then
    printf 'ok      %s (%d ms)\n' "$sentence" $(($(date +%s%3N) - started))
  else
    printf 'BROKEN  %s (%d ms)\n%s\n' "$sentence" $(($(date +%s%3N) - started)) "$output"
    failed=1
  fi
}
await() {
  local until=$(($(date +%s) + 30))
  until "$@" >/dev/null 2>&1; do
    [ "$(date +%s)" -lt "$until" ] || { echo "not within 30 s: $*" && return 1; }
    sleep 0.05
  done
}

has_tools() {
  local one missing=
  for one in bash cc curl fd gh git git-lfs jq less make node npm patch ps python3 rg ssh tini unzip xz; do
    command -v "$one" >/dev/null || missing+=" $one"
  done
  [ -z "$missing" ] || { echo "missing:$missing" && return 1; }
}
# opencode's terminals are login shells.
has_node_in_terminals() { bash -lc 'command -v node && command -v npm && [ "$PATH" != "${PATH%/home/opencode/.local/bin}" ]'; }
is_the_user() { [ "$(id -u):$(id -g):$HOME" = 1000:1000:/home/opencode ]; }
writes_nowhere_else() { ! touch /usr/local/bin/new /opt/opencode/new /etc/new 2>/dev/null; }
health() { curl -sf --max-time 1 http://127.0.0.1:4096/global/health; }
starts() { await health; }
# Creating a session sets up its project; opencode then downloads its plugin package if it is missing.
makes_a_session() { curl -sf --max-time 20 -X POST -H 'content-type: application/json' -d '{}' http://127.0.0.1:4096/session | jq -e '.id | startswith("ses_")'; }
# opencode's own page and its first requests; each request waits for its answer.
shows_its_page() {
  local path
  for path in / /config /provider /agent /path /command; do curl -sf --max-time 20 -o /dev/null "http://127.0.0.1:4096$path" || { echo "$path" && return 1; }; done
}
has_the_package() { [ "$(readlink ~/.config/opencode/node_modules)" = /opt/opencode/plugin/node_modules ] && [ ! -e ~/.npm ]; }
of_its_version() {
  [ "$(jq -r .version /opt/opencode/plugin/node_modules/@opencode-ai/plugin/package.json)" = $(/opt/opencode/bin/opencode --version) ]
}
asks_for_nothing() { ! [ -s /names ] || { sort -u /names && return 1; }; }
the_name_server_hears() { ! curl -v --max-time 5 http://heard.example/ && grep -qx heard.example /names; }
ends() {
  kill -TERM "$server"
  local started=$(date +%s%3N)
  while kill -0 "$server" 2>/dev/null && [ $(($(date +%s%3N) - started)) -lt 2000 ]; do sleep 0.02; done
  ! kill -0 "$server" 2>/dev/null
}

mkdir -p ~/repo && cd ~/repo && git init --quiet
promise "The user of the image is 1000 and no other, at home in /home/opencode" is_the_user
promise "The tools that a coding agent takes for granted are there" has_tools
promise "Terminals find node and npm, too" has_node_in_terminals
promise "Of the image itself, its user can write nothing" writes_nowhere_else
promise "The package that opencode else downloads is of opencode's own version" of_its_version
opencode serve --hostname 127.0.0.1 --port 4096 >/tmp/opencode.log 2>&1 &
server=$!
promise "opencode starts without any network but loopback" starts
promise "It makes a session there" makes_a_session
promise "It shows its page there" shows_its_page
promise "Its package for plugins is the image's, and npm downloaded nothing" has_the_package
promise "It ends within 2 s of one SIGTERM" ends
promise "It asked for the address of no server in all that time" asks_for_nothing
promise "Had it asked, that would have been noticed" the_name_server_hears
exit "$failed"
