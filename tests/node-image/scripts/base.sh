#!/bin/bash
# Bootstraps Debian, with what a node, kube-proxy and a load balancer need, into $OUT/base.tar. A mirror other
# than Debian's own is named by $DEBIAN_MIRROR.
set -euo pipefail
root=$OUT/root
packages=(
  systemd systemd-sysv dbus
  containerd runc containernetworking-plugins
  iptables nftables conntrack ipset ebtables ethtool iproute2 socat
  kmod procps util-linux mount hostname ca-certificates curl jq openssl
  haproxy
)
# It mounts /proc there; in a namespace of its own, so that an interrupted run leaves nothing mounted.
unshare --mount --propagation private \
  debootstrap --variant=minbase --include="$(IFS=,; echo "${packages[*]}")" bookworm "$root" \
  ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} || { tail -n 20 "$root/debootstrap/debootstrap.log" >&2; exit 1; }

# Nothing of this is read in a node.
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/cache/debconf/* \
  "$root"/var/log/* "$root"/usr/share/{doc,man,info,locale,lintian,bug} \
  "$root"/usr/bin/containerd-{stress,shim,shim-runc-v1}
tar -C "$root" --numeric-owner --exclude='./dev/*' -cf "$OUT/base.tar" .
rm -rf "$root"
