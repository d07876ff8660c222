#!/bin/bash
# floor.sh [CONTROL_PLANES [WORKERS]]: creates a cluster by hand, as fast as it honestly goes, and
# removes it again. Prints the seconds since the start at which each step was done as one line of
# JSON on standard output; everything else goes to standard error.
#
# This is what Windlass is held against: the same images and the same kubeadm, and nothing between
# the steps but what the steps themselves need. What can run side by side does: containers start
# together, workers and control planes join together with the network's installation.
#
# NODE_IMAGE, LB_IMAGE: images to use. KEEP=1: leave the cluster, and say how to remove it.
set -euo pipefail
cd "$(dirname "$0")"

control_planes=${1:-1} workers=${2:-1}
node_image=${NODE_IMAGE:-windlass/node:v1.35.4}
lb_image=${LB_IMAGE:-windlass/haproxy:2.6}
network=../cni/pod-routes.yaml
name=floor-$$
logs=$(mktemp -d)
# Faults that any node in a container has: the host's kernel, swap and modules.
ignore=SystemVerification,Swap,FileContent--proc-sys-net-bridge-bridge-nf-call-iptables
certificate_key=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')
token=$(head -c 11 /dev/urandom | od -An -tx1 | tr -d ' \n' | sed 's/^\(.\{6\}\)\(.\{16\}\)$/\1.\2/')

if [ "$control_planes" -lt 1 ] || [ "$workers" -lt 0 ]; then
  echo "usage: floor.sh [CONTROL_PLANES [WORKERS]], with at least one control plane" >&2
  exit 2
fi

say() { echo "floor: $*" >&2; }

containers() { docker ps -aq --filter "label=floor=$name"; }

cleanup() {
  local status=$?
  if [ "$status" != 0 ]; then
    say "failed; the ends of the logs in $logs:"
    tail -n 20 "$logs"/* >&2 || true
  fi
  if [ "${KEEP:-}" = 1 ]; then
    say "kept; remove it: docker rm -fv \$(docker ps -aq --filter label=floor=$name); docker network rm $name"
  else
    containers | xargs -r docker rm -fv >/dev/null 2>&1 || true
    docker network rm "$name" >/dev/null 2>&1 || true
  fi
  [ "$status" != 0 ] || rm -rf "$logs"
}
trap cleanup EXIT

# What a node's container is allowed: everything, or where the engine refuses that, what a node needs.
privileges=(--privileged)
if ! docker run --rm --privileged --network none --entrypoint /bin/true "$node_image" 2>/dev/null; then
  privileges=(--security-opt systempaths=unconfined --device-cgroup-rule 'a *:* rwm' --device /dev/kmsg --tmpfs /dev/shm)
  for capability in AUDIT_CONTROL AUDIT_READ BLOCK_SUSPEND DAC_READ_SEARCH IPC_LOCK IPC_OWNER LEASE \
    LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE NET_ADMIN NET_BROADCAST SYSLOG SYS_ADMIN SYS_BOOT SYS_MODULE \
    SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_TIME SYS_TTY_CONFIG WAKE_ALARM; do
    privileges+=(--cap-add "$capability")
  done
  say "the engine refuses --privileged; using capabilities"
fi

# Each step is written down with the time since the start.
started=$EPOCHREALTIME
steps=
done_with() {
  local elapsed
  elapsed=$(awk "BEGIN { printf \"%.2f\", $EPOCHREALTIME - $started }")
  steps+="\"$1\":$elapsed,"
  say "$1: $elapsed s"
}

# Waits for background jobs, and fails if one did.
all() { local job; for job in "$@"; do wait "$job"; done; }

in_first() { docker exec -i "$name-cp1" "$@"; }
address() { docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$1"; }

start_node() {
  docker run -d -t --name "$1" --hostname "$1" --network "$name" --label "floor=$name" "${privileges[@]}" \
    --security-opt seccomp=unconfined --security-opt apparmor=unconfined --cgroupns=private \
    --tmpfs /run --tmpfs /tmp --volume /var -v /lib/modules:/lib/modules:ro \
    --stop-signal SIGRTMIN+3 -e KUBECONFIG=/etc/kubernetes/admin.conf "$node_image" >/dev/null
  # kubeadm asks the container runtime first of all.
  docker exec "$1" sh -c 'until crictl ps; do sleep 0.05; done' >"$logs/$1.boot" 2>&1
}

start_balancer() {
  {
    echo "defaults"
    echo "  mode tcp"
    echo "  timeout connect 5s"
    echo "  timeout client 300s"
    echo "  timeout server 300s"
    echo "  default-server init-addr none"
    echo "resolvers docker"
    echo "  nameserver dns 127.0.0.11:53"
    echo "  hold nx 500ms"
    echo "  timeout resolve 500ms"
    echo "frontend control-plane"
    echo "  bind *:6443"
    echo "  default_backend control-planes"
    echo "backend control-planes"
    echo "  option httpchk GET /healthz"
    for i in $(seq "$control_planes"); do
      echo "  server cp$i $name-cp$i:6443 check check-ssl verify none inter 500ms fall 2 rise 1 resolvers docker"
    done
  } > "$logs/haproxy.cfg"
  chmod 644 "$logs/haproxy.cfg"
  docker create --name "$name-lb" --network "$name" --label "floor=$name" "$lb_image" >/dev/null
  docker cp "$logs/haproxy.cfg" "$name-lb:/usr/local/etc/haproxy/haproxy.cfg" >/dev/null
  docker start "$name-lb" >/dev/null
}

configuration() {
  cat <<EOF
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
bootstrapTokens: [{token: $token}]
certificateKey: $certificate_key
nodeRegistration: {ignorePreflightErrors: [${ignore}]}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: $(in_first kubeadm version -o short)
controlPlaneEndpoint: $endpoint
networking: {podSubnet: 10.244.0.0/16}
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
conntrack: {maxPerCore: 0}
EOF
}

# A joining node finds the cluster by a configuration that the controller manager signs for the
# token; kubeadm asks for it every five seconds, which is longer than signing takes.
await_signature() {
  in_first sh -c "until kubectl get -n kube-public configmap cluster-info -o yaml | grep -q jws-kubeconfig-; do
    sleep 0.05; done" 2>>"$logs/signature"
}

join() {
  local node=$1
  shift
  docker exec "$node" kubeadm join "$endpoint" --token "$token" --discovery-token-unsafe-skip-ca-verification \
    --ignore-preflight-errors="$ignore" "$@" >"$logs/$node.join" 2>&1
}

jobs=()
docker network create "$name" >/dev/null
for i in $(seq "$control_planes"); do start_node "$name-cp$i" & jobs+=($!); done
for i in $(seq "$workers"); do start_node "$name-w$i" & jobs+=($!); done
if [ "$control_planes" -gt 1 ]; then start_balancer & jobs+=($!); fi
all "${jobs[@]}"
done_with containers

if [ "$control_planes" -gt 1 ]; then endpoint=$(address "$name-lb"):6443; else endpoint=$(address "$name-cp1"):6443; fi
configuration | in_first sh -c 'cat > /run/kubeadm.yaml'
upload=()
if [ "$control_planes" -gt 1 ]; then upload=(--upload-certs); fi
in_first kubeadm init --config /run/kubeadm.yaml "${upload[@]}" >"$logs/init" 2>&1
done_with init

jobs=()
in_first kubectl apply -f - < "$network" >"$logs/network" 2>&1 & jobs+=($!)
await_signature
for i in $(seq "$workers"); do join "$name-w$i" & jobs+=($!); done
# Members are added to etcd one after the other.
for i in $(seq 2 "$control_planes"); do
  join "$name-cp$i" --control-plane --certificate-key "$certificate_key"
done
all "${jobs[@]}"
done_with join

in_first kubectl wait --for=condition=Ready node --all --timeout=120s >"$logs/ready" 2>&1
done_with ready

nodes=$(in_first kubectl get nodes -o name | wc -l)
if [ "$nodes" != $((control_planes + workers)) ]; then
  say "$nodes nodes instead of $((control_planes + workers))"
  exit 1
fi
echo "{\"controlPlanes\":$control_planes,\"workers\":$workers,${steps}\"total\":${steps##*:}"| sed 's/,$/}/'
