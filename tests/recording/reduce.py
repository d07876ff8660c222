#!/usr/bin/env python3
"""Reduces a recording of upstream to what `tests/tests/recording` compares: reduce.py FULL.jsonl > upstream.jsonl

Kept: the phases, the objects as the user created them, every object's last version of a phase (where it changed in the
phase), and the order of deletions. Of the steps that are not replayed only what they leave behind is kept.
Dropped: Events, the second cluster, times, resource versions."""
import json
import sys

REPLAYED = ["create", "scale-md", "scale-kcp", "upgrade-kcp", "upgrade-md", "label-inplace"]
REPLAYED += ["scale-down-kcp", "pause", "unpause", "delete"]
LAST = "class"  # the next cluster's first phase


def lines(path):
    """The recording's lines; a phase of its own starts where the cluster is unpaused."""
    for line in open(path, encoding="utf-8"):
        entry = json.loads(line)
        if entry.get("phase") == LAST:
            return
        if entry.get("object", {}).get("kind") == "Event":
            continue
        yield entry


def trim(value):
    if isinstance(value, dict):
        dropped = ("lastTransitionTime", "creationTimestamp", "resourceVersion")
        return {key: trim(inner) for key, inner in value.items() if key not in dropped}
    return [trim(inner) for inner in value] if isinstance(value, list) else value


def unprobed(made):
    """Without the trace of the MachineHealthCheck, which is not replayed."""
    made = json.loads(json.dumps(made))
    conditions = made.get("status", {}).get("conditions", [])
    conditions[:] = [one for one in conditions if one["type"] != "HealthCheckSucceeded"]
    return made


def main():
    phases, paused = [], False
    for entry in lines(sys.argv[1]):
        if "phase" in entry:
            phases.append((entry["phase"], []))
            continue
        if not phases:
            continue
        cluster = entry["object"] if entry["object"]["kind"] == "Cluster" else None
        if cluster and phases[-1][0] == "pause":
            if paused and not cluster["spec"].get("paused"):
                phases.append(("unpause", []))
            paused = bool(cluster["spec"].get("paused"))
        phases[-1][1].append(entry)

    state, written, born = {}, {}, {}
    out = []
    for phase, entries in phases:
        if phase in REPLAYED:
            out.append({"phase": phase})
        for entry in entries:
            made = entry["object"]
            key = (made["kind"], made["metadata"]["name"])
            if entry["type"] == "DELETED":
                state.pop(key, None)
                if phase == "delete" and key[0] != "MachineHealthCheck":
                    out.append({"deleted": f"{key[0]}/{key[1]}"})
                continue
            # In the order of creation, which names roles such as "first control plane machine".
            born.setdefault(key, len(born))
            if phase == "create" and made["metadata"].get("managedFields") == ["load:Update"] and key not in state:
                out.append({"created": {k: v for k, v in trim(made).items() if k != "status"}})
            state[key] = trim(made)
        if phase not in REPLAYED or phase == "delete":
            continue
        for key in [key for key in written if key not in state]:
            out.append({"gone": f"{key[0]}/{key[1]}"})
            del written[key]
        for key in sorted(state, key=born.get):
            if key[0] != "MachineHealthCheck" and written.get(key) != state[key]:
                written[key] = state[key]
                out.append({"settled": unprobed(state[key])})
    for entry in out:
        print(json.dumps(entry, separators=(",", ":"), sort_keys=True))


main()
