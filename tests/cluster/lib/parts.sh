# Starts and supervises the processes ("parts") of a cluster. Sourced by their supervisor; needs common.sh and
# `$state`.
#
# Each part logs to `$state/log/<part>.log`, and ends with its supervisor, whatever ends that. A part that
# ends by itself is restarted. `stop` and `start` arrive through the named pipe `$state/control`;
# `$state/held` lists the stopped parts. If a cluster has two supervisors, the outer one uses other names for
# these.

control_name=control held_name=held
declare -A pids=() commands=() held=()
parts=()

# The kernel ends a process that is started with this when its parent ends, even after `kill -9`.
dies_with_us=(setpriv --pdeathsig KILL --)

# Starts the part $1 with the program and arguments that follow.
start() {
  parts+=("$1")
  commands[$1]=$(printf '%q ' "${dies_with_us[@]}" "${@:2}")
  launch "$1"
}

launch() {
  eval "exec ${commands[$1]}" </dev/null >>"$state/log/$1.log" 2>&1 &
  pids[$1]=$!
}

# Waits at most $2 seconds for the check that follows; if it fails, reports that the part $1 ended or is not
# ready.
await_part() {
  local name=$1 until=$(($(now) + $2 * 1000))
  shift 2
  until "$@" >/dev/null 2>&1; do
    if ! alive "${pids[$name]}" || [ "$(now)" -ge "$until" ]; then
      grep -E '^[EF][0-9]{4}|level=(error|fatal)|"level":"(error|fatal)"|rror:' "$state/log/$name.log" | tail -n 5 >&2 || tail -n 5 "$state/log/$name.log" >&2
      say "$name did not become ready (the last lines of its log are above)."
      return 1
    fi
    sleep 0.05
  done
}

# Supervises the parts until this process gets a signal, or the command `$1` fails.
keep() {
  local verb part piece line=
  [ -p "$state/$control_name" ] || mkfifo "$state/$control_name"
  exec {control}<>"$state/$control_name"
  while "$@"; do
    # A read whose time ends in the middle of a line has consumed what it returns: the rest follows later.
    if IFS= read -r -t 0.3 piece <&"$control"; then
      read -r verb part <<<"$line$piece"
      line=
    else
      verb='' part='' line+=$piece
    fi
    if [ -n "${part:+${commands[$part]:-}}" ]; then
      say "$verb $part"
      case $verb in
        start) unset "held[$part]" ;;
        stop)
          held[$part]=1
          kill -9 "${pids[$part]}" 2>/dev/null || true
          wait "${pids[$part]}" 2>/dev/null || true
          ;;
      esac
    fi
    for part in "${parts[@]}"; do
      if [ -z "${held[$part]:-}" ] && ! kill -0 "${pids[$part]}" 2>/dev/null; then
        say "starting $part (again)"
        launch "$part"
      fi
    done
    printf '%s\n' "${!held[@]}" >"$state/$held_name.new"
    mv "$state/$held_name.new" "$state/$held_name"
  done
}

# Starts etcd on the address $1 and the ports $2 (clients) and $3 (peers). Its data need not survive a power
# cut.
start_etcd() {
  start etcd "$assets/etcd" --name test --data-dir "$state/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls "http://$1:$2" --advertise-client-urls "http://$1:$2" \
    --listen-peer-urls "http://$1:$3" --initial-advertise-peer-urls "http://$1:$3" --initial-cluster "test=http://$1:$3"
  await_part etcd 60 curl -sf --noproxy '*' "http://$1:$2/health"
}

# Starts the API server on the address $1 and the port $2, with etcd at $3; further arguments are passed on.
start_apiserver() {
  local address=$1 port=$2 etcd=$3 pki=$state/pki
  shift 3
  start kube-apiserver "$assets/kube-apiserver" --etcd-servers "$etcd" --bind-address "$address" --advertise-address "$address" \
    --secure-port "$port" --cert-dir "$state/apiserver" --client-ca-file "$pki/ca.crt" \
    --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" \
    --authorization-mode Node,RBAC --allow-privileged --service-cluster-ip-range 10.96.0.0/16 \
    --service-account-issuer https://kubernetes.default.svc --service-account-key-file "$pki/service-accounts.pub" \
    --service-account-signing-key-file "$pki/service-accounts.key" "$@"
  await_part kube-apiserver 180 curl -sf --noproxy '*' --cacert "$pki/ca.crt" "https://$address:$port/readyz"
}
