"""lab/pods.py: Pods on a berthd of the lab: what they are, and what they leave.

    pods = Pods(berthd)
    pods.apply(pod("web", image, "echo hello; sleep 1000", secrets=["regcred"]))
    pods.until("web", "Running")
    pods.leftovers()                  # [] when nothing of any Pod is on the machine any more
"""
import json
import os
import pathlib

import daemon


def pod(name, image, script, namespace="default", secrets=(), **spec):
    container = {"name": "main", "image": image, "command": ["sh", "-c", script]}
    for key in ("env", "volumeMounts", "imagePullPolicy", "lifecycle", "securityContext", "resources"):
        if key in spec:
            container[key] = spec.pop(key)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name} | ({"namespace": namespace} if namespace else {}),
            "spec": {"terminationGracePeriodSeconds": 2, "containers": [container]}
            | ({"imagePullSecrets": [{"name": s} for s in secrets]} if secrets else {}) | spec}


class Pods:
    def __init__(self, berthd):
        self.berthd, self.seen = berthd, set()  # UIDs of Pods

    def apply(self, *objects, check=True):
        text = "\n---\n".join(json.dumps(o) for o in objects)
        done = self.berthd.berth("apply", "-f", "-", input=text, timeout=60)
        if check and done.returncode:
            raise RuntimeError(f"apply: {done.stderr}\n{self.berthd.tail()}")
        return done

    def get(self, name, namespace="default"):
        done = self.berthd.berth("get", "pod", name, "-n", namespace, "-o", "json")
        found = json.loads(done.stdout) if done.returncode == 0 else None
        if found:
            self.seen.add(found["metadata"]["uid"])
        return found

    def row(self, name, namespace="default"):
        """The line of `berth get pod`, as a list of words."""
        done = self.berthd.berth("get", "pod", name, "-n", namespace, "--no-headers")
        return done.stdout.split() if done.returncode == 0 else []

    def status(self, name, namespace="default"):
        return (self.row(name, namespace) + ["", "", ""])[2]

    def wait(self, what, condition, seconds=60):
        """What `condition` gives once that is true."""
        return daemon.wait(what, condition, seconds, lambda: f"{self.berthd.berth('get', 'pods', '-A').stdout}\n"
                           f"{self.berthd.berth('events', '-A').stdout}\n{self.berthd.tail()}")

    def until(self, name, *wanted, seconds=60, namespace="default"):
        """The status that it had when it had one of these: a moment later it may have another."""
        return self.wait(f"{name} is {' or '.join(wanted)}", lambda: (now := self.status(name, namespace)) in wanted and now, seconds)

    def leftovers(self):
        """Mounts, processes, files, cgroups of Pods that are still there."""
        folder, left = str(self.berthd.folder), []
        for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
            if f"{folder}/store/pods" in line:
                left.append("mount " + line.split()[4])
        left += ["process " + command for command in self.berthd.shims().values()]
        for place in ("pods", "logs"):
            left += [f"{place}/{name}" for name in os.listdir(self.berthd.store / place)]
        left += [f"cgroup {group}" for group in self.berthd.cgroups(self.seen)]
        state = self.berthd.run / "oci"
        left += [f"runtime state {name}" for name in (os.listdir(state) if state.exists() else [])]
        return left
