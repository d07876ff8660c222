#!/bin/bash
# Makes the images that do not depend on a version of Kubernetes, the load balancer's ($BALANCER_IMAGE) and the
# network's ($ROUTES_IMAGE), into $OUT/images.tar: of the Debian in the archive $BASE and the programs in $BIN,
# labelled with $KEY.
set -euo pipefail
assets=$(dirname "$(dirname "$(realpath "$0")")")
. "$assets/scripts/lib.sh"

base=$OUT/base
mkdir "$base"
tar -C "$base" --numeric-owner -xf "$BASE"

balancer=$OUT/balancer
copy_programs "$base" "$balancer" /usr/sbin/haproxy
mkdir -p "$balancer/usr/local/etc/haproxy" "$balancer/var/lib/haproxy" "$balancer/tmp" "$balancer/etc"
chmod 1777 "$balancer/tmp"
cp "$assets/haproxy/haproxy.cfg" "$balancer/usr/local/etc/haproxy/"
grep -E '^(root|haproxy):' "$base/etc/passwd" > "$balancer/etc/passwd"
grep -E '^(root|haproxy):' "$base/etc/group" > "$balancer/etc/group"
add_image "$OUT/images" "$BALANCER_IMAGE" "$balancer" \
  '["/usr/sbin/haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]' "$KEY"

routes=$OUT/routes
install -D -m 755 "$BIN/node/pod-routes" "$routes/pod-routes"
add_image "$OUT/images" "$ROUTES_IMAGE" "$routes" '["/pod-routes"]' "$KEY"

pack "$OUT/images" "$OUT/images.tar"
rm -rf "$base" "$balancer" "$routes" "$OUT/images"
