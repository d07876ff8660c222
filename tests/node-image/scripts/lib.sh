# Read by the other scripts: copying programs between root file systems, and writing image archives.

# copy_path FROM TO PATH: copies one path of a root file system into another and, where it is a link,
# each link and file it leads to.
copy_path() {
  local from=$1 to=$2 path=$3 folder target
  while true; do
    # Folders such as /lib are links themselves.
    folder=$(chroot "$from" realpath "$(dirname "$path")")
    path=$folder/$(basename "$path")
    mkdir -p "$to$folder"
    [ -e "$to$path" ] || [ -L "$to$path" ] || cp -a "$from$path" "$to$path"
    [ -L "$from$path" ] || return 0
    target=$(readlink "$from$path")
    case $target in /*) path=$target ;; *) path=$folder/$target ;; esac
  done
}

# copy_programs FROM TO FILE...: copies programs, or libraries that programs load, with the libraries they need.
copy_programs() {
  local from=$1 to=$2 name file
  shift 2
  mkdir -p "$to"/usr/{bin,sbin,lib,lib64}
  for name in bin sbin lib lib64; do [ -L "$to/$name" ] || ln -s "usr/$name" "$to/$name"; done
  # Scripts and static programs have no libraries, which makes ldd fail.
  for file in "$@" $({ chroot "$from" ldd "$@" 2>/dev/null || true; } | grep '^\s' | grep -o '/[^ ]*' | sort -u); do
    copy_path "$from" "$to" "$file"
  done
}

# add_image ARCHIVE NAME ROOT ENTRYPOINT [KEY]: adds an image of one layer to the folder ARCHIVE, in the format
# that `docker save` writes. ENTRYPOINT is a JSON list; KEY tells later whether an engine has this very image.
add_image() {
  local archive=$1 name=$2 root=$3 entrypoint=$4 key=${5:-} layer config
  mkdir -p "$archive"
  tar -C "$root" --numeric-owner --sort=name --mtime=@0 --exclude='./dev/*' -cf "$archive/new" .
  layer=$(sha256sum "$archive/new" | cut -d' ' -f1)
  mv "$archive/new" "$archive/$layer.tar"
  cat > "$archive/new" <<EOF
{
  "architecture": "$(dpkg --print-architecture)", "os": "linux", "created": "1970-01-01T00:00:00Z",
  "rootfs": {"type": "layers", "diff_ids": ["sha256:$layer"]},
  "config": {
    "Entrypoint": $entrypoint,
    "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "container=docker"],
    "Labels": {"windlass.node-image.key": "$key"}
  }
}
EOF
  config=$(sha256sum "$archive/new" | cut -d' ' -f1).json
  mv "$archive/new" "$archive/$config"
  echo "{\"Config\": \"$config\", \"RepoTags\": [\"$name\"], \"Layers\": [\"$layer.tar\"]}" >> "$archive/images"
}

# names_in ARCHIVE: the names of the images added so far.
names_in() {
  sed -E 's/.*"RepoTags": \["([^"]*)"\].*/\1/' "$1/images"
}

# pack ARCHIVE FILE: makes the file that `docker load` and `ctr images import` read.
pack() {
  echo "[$(paste -sd, "$1/images")]" > "$1/manifest.json"
  tar -C "$1" --exclude=./images -cf "$2" .
}
