#!/bin/bash
# common.sh OUT BASE_TAR ASSETS BIN KEY: makes the images that do not depend on a version of Kubernetes, the
# load balancer's and the network's, into OUT/images.tar. BIN holds our own programs.
set -euo pipefail
out=$1 base_tar=$2 assets=$3 bin=$4 key=$5
. "$assets/scripts/lib.sh"

base=$out/base
mkdir "$base"
tar -C "$base" --numeric-owner -xf "$base_tar"

balancer=$out/balancer
copy_programs "$base" "$balancer" /usr/sbin/haproxy
mkdir -p "$balancer/usr/local/etc/haproxy" "$balancer/var/lib/haproxy" "$balancer/tmp" "$balancer/etc"
chmod 1777 "$balancer/tmp"
cp "$assets/haproxy/haproxy.cfg" "$balancer/usr/local/etc/haproxy/"
grep -E '^(root|haproxy):' "$base/etc/passwd" > "$balancer/etc/passwd"
grep -E '^(root|haproxy):' "$base/etc/group" > "$balancer/etc/group"
add_image "$out/images" windlass/haproxy:2.6 "$balancer" \
  '["/usr/sbin/haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]' "$key"

routes=$out/routes
install -D -m 755 "$bin/pod-routes" "$routes/pod-routes"
add_image "$out/images" windlass/pod-routes:v1 "$routes" '["/pod-routes"]' "$key"

pack "$out/images" "$out/images.tar"
rm -rf "$base" "$balancer" "$routes" "$out/images"
