"""Pods end to end: real registry, real runtime: python3 lab/test_pods.py [-v]; BERTH_BIN as for the demo. Root, crun or runc."""
import json
import os
import subprocess
import sys
import time
import unittest

import cases
import images
from pods import pod


class PodsOnThisMachine(cases.NodeCase):
    seconds = 1500 if os.environ.get("BERTH_LOAD") else 600

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = cls.private_registry("shop/web")
        cls.image = f"{cls.server.host}/shop/web:v1"

    def setUp(self):
        self.static = self.folder / f"static-{self._testMethodName}"
        here = self.node({"node.staticPods": str(self.static), "log.level": "info"}, hurry=False)
        self.here, self.berthd, self.pods = here, here.berthd, here.pods

    def secret(self):
        self.here.secret("regcred", self.server.host, self.server.user, self.server.password)

    def gone(self, name):
        done = self.berthd.berth("delete", "pod", name)
        self.assertEqual((done.returncode, done.stdout), (0, f'pod "{name}" deleted from default namespace\n'), done.stderr)
        # One that had ended is no object any more before its files are gone, as in Kubernetes.
        self.pods.wait(f"nothing of {name} is left, but {self.pods.leftovers()}", lambda: not self.pods.leftovers(), 10)

    def test_without_a_secret_then_with_one(self):
        self.assertEqual(self.pods.apply(pod("web", self.image, "echo hello; sleep 1000", secrets=["regcred"])).stdout, "pod/web created\n")
        self.pods.until("web", "ErrImagePull")
        self.pods.until("web", "ImagePullBackOff", seconds=40)
        told = self.berthd.berth("describe", "pod", "web").stdout
        for line in (f'Pulling image "{self.image}"', f'Back-off pulling image "{self.image}"', "Error: ErrImagePull", "Error: ImagePullBackOff",
                     "Unable to retrieve some image pull secrets (regcred); attempting to pull the image may not succeed.", "E-AUTH-401"):
            self.assertIn(line, told)
        waiting = self.pods.get("web")["status"]["containerStatuses"][0]["state"]["waiting"]
        self.assertEqual(waiting["reason"], "ImagePullBackOff")
        self.assertTrue(waiting["message"].startswith(f'Back-off pulling image "{self.image}": ErrImagePull: '), waiting)
        log = self.berthd.berth("logs", "web")
        self.assertNotEqual(log.returncode, 0)
        self.assertIn("is waiting to start: trying and failing to pull image", log.stderr)
        self.secret()
        self.pods.until("web", "Running", seconds=60)
        self.pods.wait("the log", lambda: self.berthd.berth("logs", "web").stdout == "hello\n", 10)
        self.assertEqual(self.pods.row("web")[:4], ["web", "1/1", "Running", "0"])
        self.assertNotEqual(self.berthd.berth("rm", self.image).returncode, 0, "an image in use cannot be removed")
        self.gone("web")
        self.assertEqual(self.berthd.berth("rm", self.image).returncode, 0)

    def test_the_daemon_ends_and_containers_do_not(self):
        self.secret()
        self.pods.apply(pod("web", self.image, "i=0; while true; do echo $i; i=$((i+1)); sleep 0.2; done", secrets=["regcred"]))
        self.pods.until("web", "Running")
        before = self.pods.get("web")["status"]["containerStatuses"][0]
        for end in (self.berthd.stop, self.berthd.kill):
            end()
            self.assertTrue(self.berthd.start())
            lines = len(self.berthd.berth("logs", "web").stdout.splitlines())
            self.pods.wait("it goes on writing", lambda: len(self.berthd.berth("logs", "web").stdout.splitlines()) > lines + 3, 10)
            after = self.pods.get("web")["status"]["containerStatuses"][0]
            self.assertEqual((after["containerID"], after["restartCount"], after["state"]), (before["containerID"], 0, before["state"]))
        self.gone("web")

    def test_a_pod_deleted_while_the_daemon_is_down_leaves_nothing(self):
        self.secret()
        self.pods.apply(pod("web", self.image, "sleep 1000", secrets=["regcred"]))
        self.pods.until("web", "Running")
        self.berthd.kill()
        for name in ("objects.db", "objects.db-wal", "objects.db-shm"):
            (self.berthd.store / name).unlink(missing_ok=True)
        self.assertTrue(self.berthd.start())
        self.assertEqual(self.pods.leftovers(), [])

    def test_crash_loop_and_logs_of_the_run_before(self):
        self.secret()
        self.pods.apply(pod("web", self.image, "echo run; echo why > /dev/termination-log; exit 3", secrets=["regcred"]))
        self.pods.until("web", "CrashLoopBackOff")
        status = self.pods.get("web")["status"]
        self.assertEqual(status["phase"], "Running")
        main = status["containerStatuses"][0]
        self.assertEqual(main["restartCount"], 1)
        self.assertEqual((main["lastState"]["terminated"]["exitCode"], main["lastState"]["terminated"]["reason"],
                          main["lastState"]["terminated"]["message"]), (3, "Error", "why\n"))
        self.assertRegex(main["state"]["waiting"]["message"], r"^back-off 10s restarting failed container=main pod=web_default\([0-9a-f-]{36}\)$")
        self.assertEqual(self.berthd.berth("logs", "--previous", "web").stdout, "run\n")
        self.gone("web")

    def test_never_init_containers_environment_and_volumes(self):
        self.secret()
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cfg"}, "data": {"greeting": "hi", "file": "text"}}
        init = {"name": "first", "image": self.image, "command": ["sh", "-c", "echo made > /shared/made"], "volumeMounts": [{"name": "s", "mountPath": "/shared"}]}
        self.pods.apply(pod("job", self.image, 'cat /shared/made /cfg/file; echo "$GREETING $POD"; id -u; exit 7', secrets=["regcred"],
                            restartPolicy="Never", initContainers=[init], securityContext={"runAsUser": 1234},
                            env=[{"name": "GREETING", "valueFrom": {"configMapKeyRef": {"name": "cfg", "key": "greeting"}}},
                                 {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                            volumes=[{"name": "s", "emptyDir": {}}, {"name": "c", "configMap": {"name": "cfg", "optional": True}}],
                            volumeMounts=[{"name": "s", "mountPath": "/shared"}, {"name": "c", "mountPath": "/cfg"}]))
        self.pods.until("job", "CreateContainerConfigError")
        waiting = self.pods.get("job")["status"]["containerStatuses"][0]["state"]["waiting"]
        self.assertEqual(waiting["message"], 'configmap "cfg" not found')
        self.pods.apply(config)
        self.pods.until("job", "Error", seconds=40)
        got = self.pods.get("job")
        self.assertEqual((got["status"]["phase"], got["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"]), ("Failed", 7))
        self.assertEqual(self.berthd.berth("logs", "job", "-c", "main").stdout, "made\ntexthi job\n1234\n")
        self.gone("job")

    def test_following_a_log_ends_with_the_container(self):
        self.secret()
        self.pods.apply(pod("web", self.image, "for i in 1 2 3 4 5; do echo $i; sleep 0.3; done", secrets=["regcred"], restartPolicy="Never"))
        self.pods.until("web", "Running", "Completed")
        self.assertEqual(self.berthd.berth("logs", "-f", "web", timeout=30).stdout, "1\n2\n3\n4\n5\n")
        self.pods.until("web", "Completed")
        self.gone("web")

    def test_hooks_grace_and_kill(self):
        self.secret()
        self.pods.apply(pod("web", self.image, "trap 'echo term; ending=1' TERM; echo up; while true; do sleep 0.1; [ -z $ending ] || echo ending; done", secrets=["regcred"],
                            lifecycle={"preStop": {"exec": {"command": ["sh", "-c", "echo hook > /proc/1/fd/1"]}}}))
        self.pods.wait("it is up", lambda: self.berthd.berth("logs", "web").stdout == "up\n")
        follow = subprocess.Popen(self.berthd.command("logs", "-f", "web"), stdout=subprocess.PIPE, text=True)
        self.addCleanup(follow.kill)
        self.gone("web")
        self.assertRegex(follow.communicate(timeout=30)[0], r"^up\nhook\nterm\n(ending\n)+$", "it was let go on for its time of grace")

    def test_a_static_pod(self):
        self.static.mkdir()
        # No secrets there: the node's own credentials, which this daemon does not have.
        (self.berthd.folder / "x.json").write_text(json.dumps(pod("web", self.image, "sleep 1000")))
        (self.berthd.folder / "x.json").rename(self.static / "web.json")
        self.pods.until("web-lab", "ErrImagePull", "ImagePullBackOff", seconds=40)
        self.assertIn("kubernetes.io/config.mirror", self.pods.get("web-lab")["metadata"]["annotations"])
        (self.static / "web.json").unlink()
        self.pods.wait("its mirror is gone", lambda: self.pods.get("web-lab") is None)
        self.assertEqual(self.pods.leftovers(), [])

    @unittest.skipUnless(os.environ.get("BERTH_LOAD"), "BERTH_LOAD=200 (Pods) is not set")
    def test_many_pods_over_a_tenth_of_images(self):
        count = int(os.environ["BERTH_LOAD"])
        self.secret()
        for i in range(count // 10):
            self.variant(f"load{i}", f"{i} ")
            images.push(self.layout, self.server.url, "shop/load", f"v{i}", auth=(self.server.user, self.server.password), ref=f"load{i}")
        began, memory = time.monotonic(), 0
        self.pods.apply(*[pod(f"p{i}", f"{self.server.host}/shop/load:v{i % (count // 10)}", "sleep 10000", secrets=["regcred"],
                              terminationGracePeriodSeconds=1) for i in range(count)])
        def running():
            nonlocal memory
            memory = max(memory, self.berthd.memory().get(self.berthd.process.pid, (0, 0))[0])
            return self.berthd.berth("get", "pods", "--no-headers").stdout.count(" Running ") == count
        self.pods.wait("all run", running, 600)
        up = time.monotonic() - began
        fetched = [key for key in self.server.requests() if key[0] == "GET" and "/shop/load/blobs/" in key[1] and key[2] == 200]
        names = [f"pod/p{i}" for i in range(count)]
        self.assertEqual(self.berthd.berth("delete", *names, timeout=600).returncode, 0)
        print(f"\n{count} Pods: all up after {up:.0f} s, berthd at most {memory / 1024:.0f} MiB, all gone after {time.monotonic() - began - up:.0f} s more")
        self.pods.wait("nothing is left", lambda: not self.pods.leftovers(), 60)
        self.assertEqual(max(self.server.requests()[key] for key in fetched), 1, "each blob is fetched once")
        self.assertLess(memory, 100 * 1024)

    def test_what_apply_get_and_delete_say(self):
        done = self.pods.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}},
                               {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "shop"}, "stringData": {"a": "b"}},
                               {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "b"}, "dota": 1})
        self.assertEqual(done.stdout, "namespace/shop created\nsecret/s created\nconfigmap/c created\n")
        self.assertEqual(done.stderr, 'Warning: unknown field "dota"\n')
        again = self.pods.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "b"}})
        self.assertEqual(again.stdout.split(" ")[0], "configmap/c")
        self.assertRegex(self.berthd.berth("get", "secrets", "-n", "shop").stdout, r"^NAME   TYPE     DATA   AGE\ns      Opaque   1      \d+s\n$")
        self.assertEqual(self.berthd.berth("get", "pods").stderr, "No resources found in default namespace.\n")
        self.assertEqual(self.berthd.berth("get", "ns", "-o", "name").stdout, "namespace/default\nnamespace/kube-system\nnamespace/shop\n")
        self.assertIn("kind: ConfigMap\n", self.berthd.berth("get", "cm/c", "-o", "yaml").stdout)
        wrong = self.pods.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "Bad_Name"}, "spec": {"containers": [{"name": "a"}]}}, check=False)
        self.assertNotEqual(wrong.returncode, 0)
        self.assertIn('The Pod "Bad_Name" is invalid', wrong.stderr)
        self.assertIn("spec.containers[0].image: Required value", wrong.stderr)
        missing = self.berthd.berth("get", "pod", "none")
        self.assertIn('pods "none" not found', missing.stderr)
        self.assertEqual(self.berthd.berth("delete", "secret", "s", "-n", "shop").stdout, 'secret "s" deleted from shop namespace\n')
        self.assertEqual(self.berthd.berth("delete", "ns", "shop").stdout, 'namespace "shop" deleted\n')


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[1:]])
