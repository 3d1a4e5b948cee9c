#!/bin/bash
# A Docker Swarm of three machines on this one, every container of which is run by bb-oci.
#
#   sudo examples/swarm/swarm.sh [PATH-OF-BB-OCI]
#
# Each machine is a network namespace with mounts, a host name and a dockerd of its own; a bridge joins them. All of it
# lies in namespaces of this script's: nothing is added to the host's network, and the end of their first process ends
# everything. Only a directory below $TMPDIR and cgroups below /bb-swarm-N are on the host, and they are removed.
# Needs root, Docker's dockerd, containerd, ip, iptables, and a static busybox.
set -euo pipefail

readonly MACHINES=(one two three)
readonly REPLICAS=6
# Seconds to wait for anything; a busy host needs many.
PATIENCE=${PATIENCE:-120}

say() { printf '\n== %s\n' "$*"; }
fail() {
  printf 'swarm.sh: %s\n' "$*" >&2
  exit 1
}

# until_true WHAT COMMAND...: waits until COMMAND succeeds.
until_true() {
  local what=$1 deadline=$((SECONDS + PATIENCE))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || fail "Waited $PATIENCE s for: $what"
    sleep 0.2
  done
}

### On the host: namespaces, and the removal of what is not in them.

outside() {
  local runtime program
  runtime=$(realpath -- "${1:-$(dirname -- "$0")/../../dist/bb-oci}")
  [[ $EUID == 0 ]] || fail "Only root can start dockerd"
  [[ -x $runtime ]] || fail "There is no runtime at $runtime: build it with \"bun run build\", or name another"
  for program in dockerd containerd docker ip iptables busybox unshare nsenter setpriv; do
    command -v "$program" >/dev/null || fail "$program is not installed"
  done

  directory=$(mktemp -d "${TMPDIR:-/tmp}/bb-swarm-XXXXXX")
  cgroup=/bb-swarm-$$
  holder=
  trap clean EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  # In the background, as bash acts on signals during `wait` only. Should this script be killed, all the rest is too.
  setpriv --pdeathsig KILL \
    unshare --net --mount --pid --ipc --uts --fork --kill-child --mount-proc \
    bash "$0" --inside "$runtime" "$directory" "$cgroup" &
  holder=$!
  local status=0
  wait "$holder" || status=$?
  holder=
  exit "$status"
}

clean() {
  local status=$?
  trap '' INT TERM HUP
  if [[ -n $holder ]]; then
    # unshare's child is PID 1 of its namespace: unshare ends once no process is left there.
    local init
    init=$(<"/proc/$holder/task/$holder/children") || true
    # shellcheck disable=SC2086  # the file's words are process ids
    kill -KILL ${init:-$holder} || true
    wait "$holder" 2>/dev/null || true
  fi
  if ((status > 0 && status < 128)); then tail -n 15 "$directory"/*/dockerd.log >&2 || true; fi
  until_true "its cgroups to be removed" remove_cgroups
  until_true "its files to be removed" rm -rf --one-file-system -- "$directory"
  exit "$status"
}

remove_cgroups() {
  local top failed=0
  for top in /sys/fs/cgroup{,/*}"$cgroup"; do
    [[ -d $top ]] || continue
    find "$top" -depth -type d -exec rmdir {} + || failed=1
  done
  return $failed
}

### Inside: PID 1 of its namespaces.

# on MACHINE COMMAND...
on() {
  local machine=$1
  shift
  nsenter --target "$(<"$directory/$machine/pid")" --net --mount --uts -- "$@"
}
manager() { on one docker "$@"; }

join_machines() {
  ip link set lo up
  ip link add swarm0 type bridge
  ip link set swarm0 up
}

# start_machine NAME ADDRESS: a network namespace at the bridge, mounts, a host name, and dockerd.
start_machine() {
  local name=$1 address=$2 place=$directory/$1
  mkdir -p "$place"
  unshare --net --mount --uts bash -c '
    hostname "$1"
    # dockerd keeps its plugins, network namespaces and sockets in /run, and here each has one of its own.
    mount -t tmpfs tmpfs /run
    ip link set lo up
    echo $$ >"$2/pid"
    exec sleep infinity' bash "$name" "$place" &
  until_true "$name's namespaces" test -s "$place/pid"
  ip link add "$name" type veth peer name eth0 netns "$(<"$place/pid")"
  ip link set "$name" master swarm0 up
  on "$name" ip address add "$address/24" dev eth0
  on "$name" ip link set eth0 up
  # What containerd writes to the directory for temporary files when it is slow to answer goes with the rest.
  TMPDIR=$place on "$name" dockerd --data-root "$place/data" --exec-root /run/docker --pidfile /run/docker.pid \
    --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "$cgroup/$name" \
    --add-runtime "bantubox=$runtime" --default-runtime bantubox \
    >"$place/dockerd.log" 2>&1 &
}

# An image with nothing but busybox, of which every machine has a copy: there is no registry here.
make_image() {
  local root=$directory/root applet
  mkdir -p "$root/bin" "$root/tmp" "$root/www"
  cp "$(command -v busybox)" "$root/bin/busybox"
  for applet in $(busybox --list); do [[ $applet == busybox ]] || ln -s busybox "$root/bin/$applet"; done
  tar -C "$root" -cf "$directory/busybox.tar" .
}

ready() { (($(manager node ls --format '{{.Status}}' | grep -c Ready) == ${#MACHINES[@]})); }

# Where the service's replicas run, a line each.
places() {
  manager service ps web --filter desired-state=running --format '{{.Node}} {{.CurrentState}}' |
    sed -n 's/ Running .*//p' | sort
}

# settled MACHINE...: all replicas run, and on these machines only.
settled() {
  local actual machines wanted name count=0
  actual=$(places)
  machines=$(uniq <<<"$actual")
  wanted=$(printf '%s\n' "$@" | sort)
  [[ $machines == "$wanted" ]] && (($(wc -l <<<"$actual") == REPLICAS)) || return
  # What the swarm believes lags behind what the machines do.
  for name in "$@"; do ((count += $(containers "$name" | wc -l))); done
  ((count == REPLICAS))
}

# The service's running containers on a machine, an id each line.
containers() { on "$1" docker ps --no-trunc --quiet --filter label=com.docker.swarm.service.name=web; }

# One line a container, as its own machine sees it: what Docker says runs it, and what the runtime says of it.
show() {
  local machine id name used
  printf '%-8s %-8s %-10s %s\n' TASK MACHINE RUNTIME BB-OCI
  for machine in "$@"; do
    for id in $(containers "$machine"); do
      name=$(on "$machine" docker inspect --format '{{index .Config.Labels "com.docker.swarm.task.name"}}' "$id")
      used=$(on "$machine" docker inspect --format '{{.HostConfig.Runtime}}' "$id")
      printf '%-8s %-8s %-10s %s\n' "$(cut -d . -f 1,2 <<<"$name")" "$machine" "$used" "$(state "$machine" "$id")"
    done
  done
}

# bb_oci MACHINE ARGUMENT...: the runtime, in the directory that Docker gives it for what it knows of containers.
bb_oci() { on "$1" "$runtime" --root /run/docker/runtime-runc/moby "${@:2}"; }

state() { bb_oci "$1" state "$2" | sed -nE 's/^ *"status": *"([a-z]+)".*/\1/p'; }

inside() {
  readonly runtime=$1 directory=$2 cgroup=$3
  local name number=0 token victim

  say "Three machines, joined by a bridge"
  make_image
  join_machines
  for name in "${MACHINES[@]}"; do start_machine "$name" "10.77.0.$((++number))"; done
  for name in "${MACHINES[@]}"; do
    until_true "dockerd on $name" on "$name" docker version
    on "$name" docker import "$directory/busybox.tar" busybox >/dev/null
  done

  say "A swarm of them"
  # Two seconds, so that a machine that is gone is missed after six.
  manager swarm init --advertise-addr 10.77.0.1 --listen-addr 10.77.0.1:2377 --dispatcher-heartbeat 2s >/dev/null
  token=$(manager swarm join-token --quiet worker)
  on two docker swarm join --token "$token" --advertise-addr 10.77.0.2 --listen-addr 10.77.0.2:2377 10.77.0.1:2377
  on three docker swarm join --token "$token" --advertise-addr 10.77.0.3 --listen-addr 10.77.0.3:2377 10.77.0.1:2377
  # Replicas go only to machines that are ready, and stay there when another joins.
  until_true "all machines to be ready" ready
  manager node ls --format 'table {{.Hostname}}\t{{.Status}}\t{{.Availability}}\t{{.ManagerStatus}}'

  say "A service of $REPLICAS replicas"
  manager network create --driver overlay --attachable net >/dev/null
  # Names lead to the replicas themselves (dnsrr): the virtual address of a service needs IPVS in the kernel.
  manager service create --quiet --detach --no-resolve-image --name web --replicas "$REPLICAS" --network net \
    --endpoint-mode dnsrr --stop-signal KILL --restart-delay 1s \
    --env 'MACHINE={{.Node.Hostname}}' --env 'SLOT={{.Task.Slot}}' busybox \
    sh -c 'echo "web.$SLOT on $MACHINE" >/www/index.html; exec httpd -f -p 80 -h /www' >/dev/null
  until_true "the service on all machines" settled "${MACHINES[@]}"
  show "${MACHINES[@]}"

  say "A container on machine one asks every replica, over the overlay network"
  # Machines tell each other of names little by little.
  until_true "an answer of each" answered
  cat "$directory/answers"

  say "A replica is killed on machine two, by the runtime: the swarm starts another"
  victim=$(containers two | head -n 1)
  bb_oci two kill "$victim" KILL
  until_true "Docker to see it" ended two "$victim"
  until_true "the replica in its place" settled "${MACHINES[@]}"
  show "${MACHINES[@]}"

  say "Machine two is drained: its replicas move"
  manager node update --availability drain two >/dev/null
  until_true "the move" settled one three
  show one three

  say "Machine three loses its network: its replicas are started elsewhere"
  ip link set three down
  until_true "the move" settled one
  show one
  manager node ls --format 'table {{.Hostname}}\t{{.Status}}\t{{.Availability}}\t{{.ManagerStatus}}'
}

ended() { [[ $(on "$1" docker inspect --format '{{.State.Running}}' "$2") != true ]]; }

answered() { ask >"$directory/answers" && (($(wc -l <"$directory/answers") == REPLICAS)); }

# Asks Docker's name server, 127.0.0.11, for the replicas' addresses, and each of them for its page.
ask() {
  manager run --rm --network net busybox sh -c '
    for address in $(nslookup -type=a tasks.web 127.0.0.11 | sed -n "s/^Address: *\([0-9.]*\)$/\1/p"); do
      timeout 10 wget -qO- "http://$address/" || exit 1
    done' | sort
}

if [[ ${1:-} == --inside ]]; then
  inside "${@:2}"
else
  outside "$@"
fi
