#!/bin/sh
# Written by Windlass: runs what this machine's bootstrap data asks for, once, at its first boot.
# state/status has one line per event; state/log has what the steps print; state/done has the exit code.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
HOME=/root
export PATH HOME
here=/opt/windlass/bootstrap
state=$here/state
cd / || exit 1

say() {
    echo "$*" >>"$state/status"
}

end() {
    echo "$1" >"$state/done"
    shift
    say "$@"
}

# write STAGED PATH MODE OWNER HOW
write() {
    mkdir -p "$(dirname "$2")" || return
    (
        umask 077
        case $5 in
        append) cat "$here/$1" >>"$2" ;;
        *) cat "$here/$1" >"$2" ;;
        esac
    ) || return
    chmod "$3" "$2" && chown "$4" "$2"
}

# run STAGED
run() {
    /bin/sh "$here/$1"
}

# load STAGED
load() {
    ctr --namespace=k8s.io images import --digests "$here/$1" && rm -f "$here/$1"
}

# step NUMBER FUNCTION ARGUMENTS…
step() {
    number=$1
    shift
    say "$number start"
    ("$@") </dev/null
    code=$?
    if [ "$code" -ne 0 ]; then
        end "$code" "$number failed $code"
        exit "$code"
    fi
    say "$number ok"
}

if [ -e "$state/started" ]; then
    [ -e "$state/done" ] || end 1 interrupted
    exit 0
fi
: >"$state/started"

steps() {
#STEPS#
    rm -rf "$here/files" "$here/commands" "$here/../images"
    end 0 complete
}

steps 2>&1 | tee -a "$state/log"
exit "$(cat "$state/done")"
