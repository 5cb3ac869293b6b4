# Runs in a session image with a configuration of its own, started by tests/cluster/session-variants: an empty
# home with a team's ConfigMap in ~/.opencode, no network but loopback.
set -u
failed=0
# Alpine's date knows no fractions.
milliseconds() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }
promise() {
  local sentence=$1 started output
  shift
  started=$(milliseconds)
  if output=$("$@" 2>&1); then
    printf 'ok      %s (%d ms)\n' "$sentence" $(($(milliseconds) - started))
  else
    printf 'BROKEN  %s (%d ms)\n%s\n' "$sentence" $(($(milliseconds) - started)) "$output"
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

get() { curl -sf --max-time 20 "http://127.0.0.1:4096$1"; }
serve() {
  sh -c "$(cat /serve.sh)" >/tmp/opencode.log 2>&1 &
  server=$!
}
starts() { await curl -sf --max-time 1 http://127.0.0.1:4096/global/health || { cat /tmp/opencode.log && return 1; }; }
# SIGTERM, again where opencode's first installation of its package takes the first.
end() {
  until ! kill -TERM "$server" 2>/dev/null; do sleep 0.2; done
  wait "$server"
}
# The image's username is overridden, its other settings stay.
merges() {
  get /config | jq -e '.username == "from the ConfigMap" and .snapshot == false and .share == "disabled" and (.instructions | index("house-rules.md"))'
}
has_agent() { get /agent | jq -e 'map(.name) | index("house")'; }
has_skill() { get /skill | jq -e 'map(.name) | index("house-style")'; }
ran_script() { [ "$(wc -l <~/setup-skills.log)" = "$1" ] && get /skill | jq -e 'map(.name) | index("dev-server")'; }
has_variable() { tr '\0' '\n' <"/proc/$(pgrep -o -x opencode)/environ" | grep -x 'TEAM_VARIABLE=from the team'; }
has_plugin() {
  if [ ! -e /etc/opencode-plugin ]; then ! [ -e ~/plugin.log ]; else get /session >/dev/null && await grep -q 'loaded for' ~/plugin.log; fi
}
keeps_changes() {
  grep -q mine ~/.config/opencode/agents/house.md && ! [ -e ~/.config/opencode/skills/house-style/SKILL.md ] && get /agent | jq -e 'map(.name) | index("mine")'
}

mkdir -p ~/repo && cd ~/repo && git init --quiet
serve
promise "opencode starts by the Pod's command" starts
promise "The ConfigMap's opencode.json overrides the image's, setting by setting" merges
promise "The image's agent is there" has_agent
promise "The image's skill is there" has_skill
promise "The image's init script ran" ran_script 1
promise "The ConfigMap's .env is in the environment" has_variable
promise "The image's plugin is loaded, if it has one" has_plugin
end
echo mine >>~/.config/opencode/agents/house.md
cp ~/.config/opencode/agents/house.md ~/.config/opencode/agents/mine.md
rm ~/.config/opencode/skills/house-style/SKILL.md
serve
promise "It starts again" starts
promise "What the user changed, added and removed stays" keeps_changes
promise "The image's init script runs at each start" ran_script 2
end
exit "$failed"
