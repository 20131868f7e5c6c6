"""What tests rely on when they fail: nothing is left, nothing hangs. python3 lab/test_daemon.py [-v]; BERTH_BIN as for the demo."""
import pathlib
import subprocess
import sys
import threading
import unittest

import cases
import daemon
import images
import registry


class Ends(cases.NodeCase):
    def test_close_takes_away_what_containers_have(self):
        server = self.enterContext(registry.Registry())
        images.push(self.layout, server.url, "web", "v1")
        node = self.node()
        self.assertEqual(node.settled(node.start(f"{server.host}/web:v1", shareProcessNamespace=True)), "Running")
        node.berthd.kill()

        def here():
            return (node.berthd.shims(), f"{node.berthd.folder}/" in pathlib.Path("/proc/self/mountinfo").read_text(), node.berthd.cgroups())
        self.assertTrue(all(here()[:2]), here())
        node.berthd.close()
        self.assertEqual(here(), ({}, False, []))

    def test_what_is_spawned_ends_with_its_program(self):
        program = ("import daemon, os, signal, subprocess\n"
                   "child = daemon.spawn(['sh', '-c', 'echo up; exec sleep 1000'], stdout=subprocess.PIPE)\n"
                   "child.stdout.readline()\nprint(child.pid, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)")
        done = subprocess.run([sys.executable, "-c", program], cwd=pathlib.Path(__file__).parent, capture_output=True, text=True, timeout=60)
        status = pathlib.Path(f"/proc/{int(done.stdout)}/status")
        daemon.wait("it has ended", lambda: not status.exists() or "State:\tZ" in status.read_text())


class Hangs(unittest.TestCase):
    def test_a_test_that_waits_for_ever_fails_and_cleans_up(self):
        cleaned = []

        class Waits(cases.Case):
            seconds = 0.2

            def runTest(self):
                self.addCleanup(cleaned.append, True)
                threading.Event().wait()
        result = unittest.TestResult()
        Waits().run(result)
        self.assertIn("not done within 0.2 s", result.failures[0][1])
        self.assertEqual(cleaned, [True])

    def test_what_does_not_come_is_said(self):
        with self.assertRaisesRegex(RuntimeError, "the moon: not within 0.1 s\nclouds"):
            daemon.wait("the moon", lambda: None, 0.1, lambda: "clouds")


if __name__ == "__main__":
    unittest.main()
