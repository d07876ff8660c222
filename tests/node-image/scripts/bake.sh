#!/bin/bash
# bake.sh ROOT IMAGES_TAR STORE: imports images with the containerd of a node's ROOT into the folder STORE, and
# leaves there what a node needs of them. Runs in a mount namespace of its own.
set -euo pipefail
root=$1 images=$2 store=$3
readonly socket=/run/bake/containerd.sock

mkdir -p "$store" "$root/var/lib/containerd"
mount --bind "$store" "$root/var/lib/containerd"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mkdir "$root/run/bake"
ctr() { chroot "$root" ctr --address "$socket" --namespace k8s.io "$@"; }
# Asks again until the answer is yes, for ten seconds.
until_yes() {
  for _ in $(seq 100); do
    "$@" && return
    sleep 0.1
  done
  echo "bake: gave up waiting: $*" >&2
  return 1
}

sed -e 's/@[A-Z_]*@/false/' "$root/usr/share/node-image/containerd.toml" > "$root/run/bake/config.toml"
chroot "$root" containerd --config /run/bake/config.toml --address "$socket" --state /run/bake/state \
  --log-level fatal &
containerd=$!
trap 'kill "$containerd" 2>/dev/null || true' EXIT
until_yes ctr version >/dev/null 2>&1
ctr images import - < "$images"
# The CRI plugin gives each image a second name, by digest, a moment later.
count() { ctr images ls -q | grep -c "$@" '^sha256:'; }
all_named() { [ "$(count)" = "$(count -v)" ]; }
until_yes all_named

# Once unpacked, layers are of no use; manifests and configurations are.
for digest in $(ctr content ls | awk '/containerd.io\/uncompressed/ { print $1 }'); do
  ctr content rm "$digest" >/dev/null
  rm -f "$store/io.containerd.content.v1.content/blobs/sha256/${digest#sha256:}"
done
kill "$containerd"
wait "$containerd" || true
