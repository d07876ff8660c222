#!/bin/bash
# node.sh VERSION: makes the node image of a version of Kubernetes (with a v), the images of the control plane,
# of the addons and of the network ($ROUTES_IMAGE) in its container runtime, into $OUT/images.tar: of the
# Debian in the archive $BASE and the programs in $BIN, labelled with $KEY.
set -euo pipefail
version=$1
assets=$(dirname "$(dirname "$(realpath "$0")")")
. "$assets/scripts/lib.sh"
kubernetes=$BIN/${version#v}

root=$OUT/root
mkdir "$root"
tar -C "$root" --numeric-owner -xf "$BASE"

# Only kubeadm knows what it will ask the container runtime for.
names=$("$kubernetes/kubeadm" config images list --kubernetes-version "$version")
name_of() { grep "/$1:" <<< "$names"; }

# --- The images of the control plane and of the addons: one program each, and what it reads.

# image_of FILE PATH: an image with the program at the path, and certificate authorities.
image_of() {
  local file=$1 path=$2 program image=$OUT/image
  program=$(basename "$file")
  mkdir -p "$image/etc/ssl/certs" "$image/tmp"
  chmod 1777 "$image/tmp"
  cp "$root/etc/ssl/certs/ca-certificates.crt" "$image/etc/ssl/certs/"
  install -D -m 755 "$file" "$image$path"
  case $program in
    etcd) install -m 755 "$BIN/etcd/etcdctl" "$image/usr/local/bin/" ;;
    kube-proxy)
      # iptables loads an extension for each kind of match.
      copy_programs "$root" "$image" /usr/sbin/{iptables,iptables-save,iptables-restore} \
        /usr/sbin/{ip6tables,ip6tables-save,ip6tables-restore} /usr/sbin/{nft,conntrack,ipset,modprobe} \
        $(chroot "$root" find /usr/lib -path '*/xtables/*.so')
      cp "$root/etc/protocols" "$image/etc/"
      ;;
  esac
  add_image "$OUT/baked" "$(name_of "$program")" "$image" "[\"$path\"]"
  rm -rf "$image"
}

for program in kube-apiserver kube-controller-manager kube-scheduler kube-proxy; do
  image_of "$kubernetes/$program" "/usr/local/bin/$program"
done
image_of "$BIN/etcd/etcd" /usr/local/bin/etcd
image_of "$BIN/coredns/coredns" /coredns
image_of "$BIN/node/pause" /pause
routes=$OUT/image
install -D -m 755 "$BIN/node/pod-routes" "$routes/pod-routes"
add_image "$OUT/baked" "$ROUTES_IMAGE" "$routes" '["/pod-routes"]'
rm -rf "$routes"
missing=$(comm -23 <(sort <<< "$names") <(names_in "$OUT/baked" | sort))
if [ -n "$missing" ]; then
  echo "kubeadm asks for images that this script does not make: $missing" >&2
  exit 1
fi
pack "$OUT/baked" "$OUT/baked.tar"
rm -rf "$OUT/baked"

# --- The node.

cp -a --no-preserve=ownership "$assets/root/." "$root/"
install -m 755 "$kubernetes"/{kubeadm,kubelet,kubectl} "$root/usr/bin/"
install -m 755 "$BIN"/etcd/etcdctl "$BIN"/node/{crictl,dns-relay} "$root/usr/local/bin/"
sed -i "s#@PAUSE@#$(name_of pause)#" "$root/usr/share/node-image/containerd.toml"
# Where network plugins are by convention; the DaemonSets of some networks add theirs.
mkdir -p "$root/opt/cni/bin" "$root/etc/cni/net.d" "$root/etc/kubernetes/manifests" \
  "$root/etc/containerd/certs.d" "$root/usr/libexec/kubernetes/kubelet-plugins/volume/exec"
mv "$root"/usr/lib/cni/{bridge,host-local,loopback,portmap,ptp,bandwidth,firewall,tuning} "$root/opt/cni/bin/"
rm -rf "$root/usr/lib/cni" "$root/usr/sbin/haproxy"

# Units that want hardware, a seat, or the host's kernel; and timers that would disturb measurements.
chroot "$root" systemctl mask --quiet \
  systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-udev-trigger.service \
  getty@tty1.service console-getty.service getty.target systemd-logind.service systemd-modules-load.service \
  sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount sys-fs-fuse-connections.mount \
  dev-hugepages.mount dev-mqueue.mount proc-sys-fs-binfmt_misc.automount proc-sys-fs-binfmt_misc.mount \
  modprobe@dm_mod.service modprobe@loop.service \
  systemd-remount-fs.service systemd-random-seed.service systemd-sysctl.service \
  systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-pstore.service \
  apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
  fstrim.timer systemd-tmpfiles-clean.timer nftables.service haproxy.service
chroot "$root" systemctl set-default --quiet multi-user.target
chroot "$root" systemctl enable --quiet containerd.service kubelet.service dns-relay.service

# Each container gets its own.
: > "$root/etc/machine-id"
: > "$root/etc/resolv.conf"
rm -f "$root/var/lib/dbus/machine-id" "$root/etc/hostname"

# --- The container runtime's store, as the entrypoint expects it: /var is a volume that the engine fills by
# copying, so what is large stays outside it and is linked to.

unshare --mount --propagation private "$assets/scripts/bake.sh" "$root" "$OUT/baked.tar" "$OUT/store"
baked=$root/usr/share/node-image/containerd
snapshotter=io.containerd.snapshotter.v1.overlayfs
mkdir -p "$baked/meta/$snapshotter"
mv "$OUT/store/$snapshotter/snapshots" "$baked/"
mv "$OUT/store/$snapshotter/metadata.db" "$baked/meta/$snapshotter/"
mv "$OUT/store"/io.containerd.{metadata,content}.v1.* "$baked/meta/"
rm -rf "$OUT/store" "$OUT/baked.tar"

add_image "$OUT/images" "windlass/node:$version" "$root" '["/usr/local/bin/entrypoint", "/sbin/init"]' "$KEY"
rm -rf "$root"
pack "$OUT/images" "$OUT/images.tar"
rm -rf "$OUT/images"
