"""lab/pods.py: Pods on a berthd of the lab: what they are, and what they leave.

    pods = Pods(berthd)
    pods.apply(pod("web", image, "echo hello; sleep 1000", secrets=["regcred"]))
    pods.wait("web", lambda p: pods.status("web") == "Running")
    pods.leftovers()                  # [] when nothing of any Pod is on the machine any more
"""
import json
import os
import pathlib
import subprocess
import time


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
        done = subprocess.run(self.berthd.command("apply", "-f", "-"), input=text, capture_output=True, text=True, timeout=60)
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
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if condition():
                return
            time.sleep(0.1)
        raise RuntimeError(f"{what}: not within {seconds} s\n{self.berthd.berth('get', 'pods', '-A').stdout}\n"
                           f"{self.berthd.berth('events', '-A').stdout}\n{self.berthd.tail()}")

    def until(self, name, *wanted, seconds=60, namespace="default"):
        self.wait(f"{name} is {' or '.join(wanted)}", lambda: self.status(name, namespace) in wanted, seconds)

    def leftovers(self):
        """Mounts, processes, files, cgroups of Pods that are still there."""
        folder, left = str(self.berthd.folder), []
        for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
            if f"{folder}/store/pods" in line:
                left.append("mount " + line.split()[4])
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if "berth-shim" in command.split(" ")[0] and folder in command:
                left.append("process " + command)
        for place in ("pods", "logs"):
            left += [f"{place}/{name}" for name in os.listdir(self.berthd.store / place)]
        # Cgroups are named by the Pod's UID; only ours count, other daemons may run.
        mine = {name.rsplit("_", 1)[-1] for name in os.listdir(self.berthd.store / "logs")} | self.seen
        for parent, groups, _ in os.walk("/sys/fs/cgroup"):  # which bears it that cgroups go while it looks
            if os.path.basename(parent).startswith("berthd"):
                left += [f"cgroup {parent}/{group}" for group in groups if group in mine]
        state = self.berthd.run / "oci"
        left += [f"runtime state {name}" for name in (os.listdir(state) if state.exists() else [])]
        return left
