# Starts opencode in a session's container. POSIX sh; run by `sh -c`. Values come from the environment; none
# is pasted into this text. The first argument, if any, is the script that prepares the repository
# (git-init.sh). Without it, an init container has done that.
#
# An image may bring its own configuration, agents and skills in /etc/opencode-defaults, scripts in its folder
# init-scripts, and a plugin in /etc/opencode-plugin/index.ts: the folders of the TypeScript router's image.
defaults=/etc/opencode-defaults
plugin=/etc/opencode-plugin/index.ts
config=${XDG_CONFIG_HOME:-$HOME/.config}/opencode
state=${XDG_STATE_HOME:-$HOME/.local/state}/opencode-router
repo=$HOME/repo
termination=/dev/termination-log
prepared=/tmp/.opencode-router-prepared
newline='
'

notice() { echo "opencode-router: $*" >&2; }

# Unsets every variable that git and its transports do not read: they are the user's and the team's keys.
unset_secrets() {
  for name in $(env | sed -n 's/^\([A-Za-z_][A-Za-z_0-9]*\)=.*/\1/p'); do
    case $name in
      PATH | LANG | LANGUAGE | LC_* | TZ | GIT_* | SSL_* | CURL_* | *_proxy | *_PROXY) ;;
      OPENCODE_ROUTER_*) ;;
      *) unset "$name" ;;
    esac
  done
}

# Prepares the repository, once in a Pod: if opencode is restarted, the branch stays as it is. git sees
# neither the home nor any secret but the token of the sign-in.
prepare_repository() {
  # Once the container has ended, its status has this text: then it was git that failed.
  { echo "opencode-router: preparing the repository" >"$termination"; } 2>/dev/null
  mkdir -p "$repo" && (
    unset_secrets
    export WORKSPACE="$repo" BESIDE=1 HOME=/tmp GITHUB_TOKEN="${OPENCODE_ROUTER_GITHUB_TOKEN:-}"
    export REPO_URL="${OPENCODE_ROUTER_REPO_URL:-}" BRANCH="${OPENCODE_ROUTER_BRANCH:-}"
    export SOURCE_BRANCH="${OPENCODE_ROUTER_SOURCE_BRANCH:-}"
    unset OPENCODE_ROUTER_GITHUB_TOKEN
    exec sh -c "$1"
  ) || exit
  { printf '' >"$termination"; } 2>/dev/null
  { echo done >"$prepared"; } 2>/dev/null
}

if [ -n "${1:-}" ]; then
  [ -e "$prepared" ] || prepare_repository "$1"
  # The router reads this line.
  notice "the repository is ready"
  unset OPENCODE_ROUTER_GITHUB_TOKEN OPENCODE_ROUTER_REPO_URL OPENCODE_ROUTER_BRANCH
  unset OPENCODE_ROUTER_SOURCE_BRANCH
fi
cd "$repo" || exit

# The team's variables, from the ConfigMap. A file that the shell can't parse would end this script.
if [ -f "$HOME/.opencode/.env" ]; then
  if sh -n "$HOME/.opencode/.env"; then
    set -a
    . "$HOME/.opencode/.env"
    set +a
  else
    notice "the ConfigMap's .env can't be parsed; continuing without it"
  fi
fi

# Copies a file so that it is there whole or not at all.
install_file() {
  { mkdir -p "$(dirname "$2")" && cp "$1" "$2.opencode-router" && mv -f "$2.opencode-router" "$2"; } ||
    notice "$2 can't be written"
}

sum_of() { sha256sum <"$1" | cut -d ' ' -f 1; }

# Prints a checksum and a name for each of the image's files.
list_defaults() {
  (cd "$defaults" && find -L . -type f ! -path './init-scripts/*' -exec sha256sum {} +) | LC_ALL=C sort -k 2
}

# Sets $was to the checksum that the image's file $1 had at the last start.
look_up() {
  was=${before%%"  $1$newline"*}
  if [ "$was" = "$before" ]; then was=; else was=${was##*"$newline"}; fi
}

# Installs the image's files into opencode's configuration, as a package manager installs configuration files:
# what was changed or removed in the session stays so, and every other file follows the image.
install_defaults() {
  mkdir -p "$state" || return 0
  now=$(list_defaults)
  if [ ! -e "$config" ] && [ ! -e "$state/defaults" ]; then
    rm -rf -- "$config.opencode-router"
    mkdir -p "$(dirname "$config")" && cp -RL "$defaults" "$config.opencode-router" &&
      rm -rf -- "$config.opencode-router/init-scripts" && chmod -R u+w "$config.opencode-router" &&
      mv -- "$config.opencode-router" "$config" || notice "the image's configuration can't be installed"
  fi
  before=$newline
  [ ! -f "$state/defaults" ] || before=$newline$(cat "$state/defaults")$newline
  if [ "$before" = "$newline$now$newline" ]; then return 0; fi
  while IFS= read -r line; do
    sum=${line%% *} name=${line#*  }
    look_up "$name"
    if [ -z "$name" ] || [ "$was" = "$sum" ]; then continue; fi
    if [ ! -e "$config/$name" ]; then
      [ -n "$was" ] || install_file "$defaults/$name" "$config/$name"
      continue
    fi
    found=$(sum_of "$config/$name")
    case $name in
      # On a volume of the TypeScript router: it copied these again at each start, all others once.
      ./.agentskills/* | ./.ade/* | ./skills-lock.json) was=${was:-$found} ;;
    esac
    if [ "$found" = "$was" ] && [ "$found" != "$sum" ]; then install_file "$defaults/$name" "$config/$name"; fi
  done <<END
$now
END
  while IFS= read -r line; do
    sum=${line%% *} name=${line#*  }
    if [ -n "$name" ] && [ ! -e "$defaults/$name" ] && [ -f "$config/$name" ] &&
      [ "$(sum_of "$config/$name")" = "$sum" ]; then
      rm -f -- "$config/$name"
    fi
  done <<END
$before
END
  printf '%s\n' "$now" >"$state/defaults.new" && mv -f "$state/defaults.new" "$state/defaults"
}

# Runs the image's scripts at each start. They may fail, and together may take two minutes.
run_init_scripts() {
  # shellcheck disable=SC2016 # expanded by the inner shell
  timeout -k 5 120 sh -c 'for script; do [ ! -f "$script" ] || sh "$script" || echo "opencode-router: $script failed" >&2; done' \
    sh "$defaults"/init-scripts/*.sh </dev/null || notice "the image's init-scripts took too long; continuing"
}

# Adds the image's plugin. opencode joins the lists of plugins of all its configurations.
add_plugin() {
  entry=file://$plugin
  if [ -z "${OPENCODE_CONFIG_CONTENT:-}" ]; then
    OPENCODE_CONFIG_CONTENT="{\"plugin\":[\"$entry\"]}"
  elif joined=$(printf '%s' "$OPENCODE_CONFIG_CONTENT" |
    jq -c --arg entry "$entry" '.plugin = ((.plugin // []) - [$entry] + [$entry])' 2>/dev/null); then
    OPENCODE_CONFIG_CONTENT=$joined
  else
    notice "OPENCODE_CONFIG_CONTENT is set and can't be changed; the image's plugin is not loaded"
  fi
  export OPENCODE_CONFIG_CONTENT
}

if [ -d "$defaults" ]; then
  install_defaults
  run_init_scripts
fi
[ ! -f "$plugin" ] || add_plugin

# Where the browser's DevTools are, unless the user named another browser.
if [ -n "${OPENCODE_BROWSER_URL:-}" ]; then
  case ${PLAYWRIGHT_MCP_CDP_ENDPOINT:-} in
    http://?* | https://?* | ws://?* | wss://?*) ;;
    *) export PLAYWRIGHT_MCP_CDP_ENDPOINT="$OPENCODE_BROWSER_URL" ;;
  esac
fi

# The image's agent, which tells the router what listens here and relays connections to it. The
# subshell ends at once, so that the Pod's first process reaps it.
if command -v opencode-session-agent >/dev/null 2>&1; then (opencode-session-agent &); fi

exec opencode serve --hostname 0.0.0.0 --port 4096
