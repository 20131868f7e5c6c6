"""The four use cases at the end of the Kubernetes page "Images", and promise P20 (no tenant ever gets another's image), end to end against
Debian's docker-registry: python3 lab/test_usecases.py [-v]; BERTH_BIN as for the demo. Root, crun or runc."""
import base64
import json
import secrets
import threading
import unittest

import cases
import images
import registry

ALWAYS_VERIFY = {"imagePullCredentialsVerificationPolicy": "AlwaysVerify"}
NEVER_VERIFY = {"imagePullCredentialsVerificationPolicy": "NeverVerify"}


class UseCases(cases.NodeCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.public = cls.enterClassContext(registry.Registry())
        cls.variant("secret-a", "what only a may see\n")
        cls.private = cls.private_registry("company/web", user="company")
        cls.a, cls.b = (cls.private_registry("app", user=user, ref=ref) for user, ref in (("team-a", "secret-a"), ("team-b", "v1")))
        cls.password = {server.user: server.password for server in (cls.private, cls.a, cls.b)}
        images.push(cls.layout, cls.private.url, "company/payroll", "v1", auth=("company", cls.private.password), ref="secret-a")
        images.push(cls.layout, cls.public.url, "library/web", "v1")

    def node_config(self, node_name, server, user):
        folder = self.folder / node_name
        folder.mkdir()
        self.write_config(folder, server, user, self.password[user])
        return folder

    @staticmethod
    def write_config(folder, server, user, password):
        auth = base64.b64encode(f"{user}:{password}".encode()).decode()
        (folder / "config.json").write_text(json.dumps({"auths": {server.host: {"auth": auth}}}))
        (folder / "config.json").chmod(0o600)

    def test_public_images_only(self):
        """Use case 1: no configuration at all."""
        image = f"{self.public.host}/library/web:v1"
        node = self.node(kubelet=ALWAYS_VERIFY)
        node.namespace("other")
        self.assertEqual(node.verdict(image, script="echo up", wanted={"Completed"}, restartPolicy="Never"), "Completed")
        self.assertEqual(node.records(), {f"{self.public.host}/library/web": {"nodePodsAccessible": True}}, "what anonymous users get is everybody's")
        requests = sum(self.public.requests().values())
        for policy in ("IfNotPresent", "Never"):
            self.assertEqual(node.verdict(image, policy, namespace="other"), "Running", policy)
        self.assertEqual(sum(self.public.requests().values()), requests, "nobody was asked again")
        self.assertEqual(node.verdict(image, "Always", namespace="other"), "Running")
        self.assertEqual(node.verdict(image.replace("v1", "v9")), "Refused")
        # Public does not mean open to those who bring a credential for it: it is used, and public it stays.
        node.secret("any", self.public.host, "whoever", "whatever")
        self.assertEqual(node.verdict(image, "Always", secrets=["any"]), "Running")

    def test_a_private_registry_for_all_users_of_the_node(self):
        """Use case 2: the node's config.json; no Pod lists a secret."""
        image = f"{self.private.host}/company/web:v1"
        for profile in ("Documented", "Kubelet"):
            with self.subTest(profile):
                folder = self.node_config(f"all-{profile}", self.private, "company")
                node = self.node({"credentials.nodeConfig": [str(folder)], "credentials.profile": profile}, ALWAYS_VERIFY)
                node.namespace("other")
                self.assertEqual(node.verdict(image), "Running")
                self.assertEqual(node.records(), {f"{self.private.host}/company/web": {"nodePodsAccessible": True}})
                requests = sum(self.private.requests().values())
                node.restart("kill")
                for policy in ("IfNotPresent", "Never"):
                    self.assertEqual(node.verdict(image, policy, namespace="other"), "Running", policy)
                self.assertEqual(sum(self.private.requests().values()), requests)
                # The password changes on every node: no Pod changes, nothing is restarted.
                self.write_config(folder, self.private, "company", "canary-old")
                node.berthd.reload()
                self.assertEqual(node.explain(image, "--policy", "Always")["verdict"]["cause"], "password-rejected")
                self.assertEqual(node.verdict(image, "Always"), "Refused")
                self.write_config(folder, self.private, "company", self.password["company"])
                node.berthd.reload()
                self.assertEqual(node.verdict(image, "Always"), "Running")
        node = self.node()
        self.assertEqual(node.verdict(image), "Refused", "without the file")

    def test_some_images_with_stricter_control(self):
        """Use case 3: the admission plug-in AlwaysPullImages; sensitive data in Secrets instead of images."""
        common, strict = f"{self.private.host}/company/web:v1", f"{self.private.host}/company/payroll:v1"
        node = self.node({"node.alwaysPullImages": True}, NEVER_VERIFY)
        node.namespace("hr", "shop")
        for ns in ("hr", "shop"):
            node.secret("regcred", self.private.host, "company", self.password["company"], ns)
        holder = node.start(strict, "IfNotPresent", "hr", secrets=["regcred"])
        self.assertEqual(node.settled(holder, namespace="hr"), "Running")
        self.assertEqual(node.pods.get(holder, "hr")["spec"]["containers"][0]["imagePullPolicy"], "Always")
        for policy in ("IfNotPresent", "Never", "Always"):
            self.assertEqual(node.verdict(strict, policy, "shop"), "Refused", "present, and without a credential")
        volume = {"name": "v", "image": {"reference": strict, "pullPolicy": "Never"}}
        self.assertEqual(node.verdict(common, "IfNotPresent", "hr", secrets=["regcred"], volumes=[volume], volumeMounts=[{"name": "v", "mountPath": "/v"}]), "Running")
        node.pods.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "data", "namespace": "shop"}, "stringData": {"salary": "much"}})
        name = node.start(common, "IfNotPresent", "shop", secrets=["regcred"], script="cat /data/salary", restartPolicy="Never",
                          volumes=[{"name": "d", "secret": {"secretName": "data"}}], volumeMounts=[{"name": "d", "mountPath": "/data"}])
        self.assertEqual(node.settled(name, ("Completed",), namespace="shop"), "Completed")
        self.assertEqual(node.berthd.berth("logs", name, "-n", "shop").stdout, "much")
        # The page's warning, so that the plug-in is known to be what protects: without it all Pods have it.
        open_node = self.node({}, NEVER_VERIFY)
        open_node.namespace("shop")
        open_node.secret("regcred", self.private.host, "company", self.password["company"])
        self.assertEqual(open_node.verdict(strict, secrets=["regcred"]), "Running")
        self.assertEqual(open_node.verdict(strict, "IfNotPresent", "shop"), "Running")

    def test_tenants_with_registries_of_their_own(self):
        """Use case 4: each tenant has a registry and a secret; what is in the cache is nobody else's."""
        image, other = f"{self.a.host}/app:v1", f"{self.b.host}/app:v1"
        digest = self.layout.find("secret-a")["digest"]
        rows = [("AlwaysVerify", {}), ("NeverVerifyPreloadedImages", {}), ("NeverVerifyAllowlistedImages", {"preloadedImagesVerificationAllowlist": [f"{self.a.host}/ap", f"{self.b.host}/*"]}),
                ("NeverVerify with AlwaysPullImages", {})]
        for policy, more in rows:
            with self.subTest(policy):
                admission = policy.startswith("NeverVerify with")
                node = self.node({"node.alwaysPullImages": admission}, {"imagePullCredentialsVerificationPolicy": policy.split()[0]} | more)
                node.namespace("a", "b")
                for ns, user, server in (("a", "team-a", self.a), ("b", "team-b", self.b)):
                    node.secret("regcred", server.host, user, self.password[user], ns)
                self.assertEqual(node.verdict(other, namespace="b", secrets=["regcred"]), "Running")
                self.assertEqual(node.verdict(image, namespace="b", secrets=["regcred"]), "Refused", "not there yet")
                running = node.start(image, namespace="a", secrets=["regcred"])
                self.assertEqual(node.settled(running, namespace="a"), "Running")
                by_id = json.loads(self.layout.read(self.layout.find("secret-a")))["config"]["digest"]
                for how in (None, "kill"):
                    if how:
                        node.restart(how)
                    with self.subTest(restart=how):
                        absent = "Refused" if admission else "ErrImageNeverPull"
                        rows = [("Refused", (image, "Always", "b"), {"secrets": ["regcred"]})]
                        for name in (image, f"{self.a.host}/app@{digest}", f"{self.a.host}/app:v1@{digest}"):
                            for listed in ((), ("regcred",), ("none",)):
                                rows += [("Refused", (name, "IfNotPresent", "b"), {"secrets": listed}), (absent, (name, "Never", "b"), {"secrets": listed})]
                        if not admission:  # which would have it pulled, from docker.io
                            rows += [(absent, (by_id, "Never", "b"), {"secrets": ["regcred"]})]
                        volume = {"name": "v", "image": {"reference": image, "pullPolicy": "Never"}}
                        rows += [(absent, (other, "IfNotPresent", "b"), {"secrets": ["regcred"], "volumes": [volume], "volumeMounts": [{"name": "v", "mountPath": "/v"}]})]
                        node.expect(*rows)
                        self.assertEqual(node.verdict(image, "Never", "a", secrets=["regcred"]), "Running", "its owner")
                self.assertEqual(node.settled(running, namespace="a"), "Running", "what runs is not disturbed")
                self.assertNotIn("canary", node.berthd.log_path.read_text(errors="replace"))

    def test_what_the_policies_leave_open(self):
        """The other half of each policy: without it the tests above would hold for a node that refuses everybody."""
        image = f"{self.a.host}/app:v1"
        config = self.folder / "a.json"
        config.write_text(json.dumps({"auths": {self.a.host: {"username": "team-a", "password": self.password["team-a"]}}}))
        rows = [("AlwaysVerify", {}, "ErrImageNeverPull"), ("NeverVerifyPreloadedImages", {}, "Running"), ("NeverVerify", {}, "Running"),
                ("NeverVerifyAllowlistedImages", {"preloadedImagesVerificationAllowlist": [f"{self.a.host}/app"]}, "Running"),
                ("NeverVerifyAllowlistedImages", {"preloadedImagesVerificationAllowlist": [f"{self.a.host}/other/*"]}, "ErrImageNeverPull")]
        for policy, more, wanted in rows:
            with self.subTest(policy, **more):
                node = self.node({}, {"imagePullCredentialsVerificationPolicy": policy} | more)
                node.berthd.berth("pull", "--authfile", config, image, check=True)  # by the operator: preloaded
                self.assertEqual(node.verdict(image, "Never"), wanted)
                access = node.explain(image, "--policy", "IfNotPresent")["present"]["access"]
                self.assertNotIn("not pulled by this node", access)
                if policy == "NeverVerifyPreloadedImages":
                    self.assertIn("no Pod's pull", access)


class TenantsOfOneHost(cases.NodeCase):
    """P20 and D-15: one registry host, one password for each tenant; a private image by every way on which its bytes could come to somebody
    else, times every credential that does not open it. Lazy pulls and peers are not in the product; that a clock that jumps changes no
    decision is policy's RecordsTest.DecisionsDoNotDependOnTheClock and Backoff.WallJumpsDoNotMatter."""
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = cls.enterClassContext(registry.Registry())
        cls.layer = cls.variant("secret", "what only a may see\n")
        cls.variant("shared", "what only a may see\n")  # the same layers under another name
        for repo, ref in (("team-a/app", "secret"), ("team-b/app", "v1"), ("public/copy", "shared")):
            images.push(cls.layout, cls.server.url, repo, "v1", ref=ref)

    def setUp(self):
        self.password = {user: "canary" + secrets.token_hex(8) for user in ("team-a", "team-b", "leaver")}
        self.gate = self.enterContext(registry.Gate(self.server, {"team-a": [self.password["team-a"], ["team-a/"]], "team-b": [self.password["team-b"], ["team-b/"]],
                                                                  "leaver": [self.password["leaver"], ["team-a/"]]}))
        self.image, self.own = f"{self.gate.host}/team-a/app:v1", f"{self.gate.host}/team-b/app:v1"

    def tenants(self, **kubelet):
        node = self.node({}, ALWAYS_VERIFY | kubelet)
        node.namespace("a", "b")
        node.secret("regcred", self.gate.host, "team-a", self.password["team-a"], "a")
        # Nothing, another tenant's, wrong, expired (it was right once), revoked (the account is gone).
        node.secret("theirs", self.gate.host, "team-b", self.password["team-b"], "b")
        node.secret("wrong", self.gate.host, "team-a", "canary-wrong", "b")
        node.secret("expired", self.gate.host, "team-a", "canary-of-last-year", "b")
        node.secret("revoked", self.gate.host, "leaver", self.password["leaver"], "b")
        self.gate.users.pop("leaver", None)
        return node

    WITHOUT_A_RIGHT = ((), ("theirs",), ("wrong",), ("expired",), ("revoked",), ("theirs", "wrong", "expired", "revoked"))

    def nobody_else(self, node, policies=("IfNotPresent", "Never", "Always")):
        """Asks all at once; nobody may run, and nobody but a may have got a byte of a blob."""
        before = self.gate.blobs(below="team-a/").count(self.layer)
        node.expect(*(("ErrImageNeverPull" if policy == "Never" else "Refused", (self.image, policy, "b"), {"secrets": listed})
                      for listed in self.WITHOUT_A_RIGHT for policy in policies))
        self.assertEqual(self.gate.blobs(below="team-a/").count(self.layer), before)
        for user in ("", "team-b", "leaver"):
            self.assertNotIn(self.layer, self.gate.blobs(user, "team-a/"))

    def test_from_the_cache_and_after_a_restart(self):
        node = self.tenants()
        self.nobody_else(node)
        self.assertEqual(node.verdict(self.image, namespace="a", secrets=["regcred"]), "Running")
        for how in (None, "stop", "kill"):
            if how:
                node.restart(how)
            self.nobody_else(node)
        self.assertEqual(node.verdict(self.image, "Never", "a", secrets=["regcred"]), "Running")
        # D-14: what was revoked after it had proven itself is refused where the registry is asked.
        self.gate.users.pop("team-a")
        self.assertEqual(node.verdict(self.image, "Always", "a", secrets=["regcred"]), "Refused")

    def test_while_the_owner_pulls(self):
        """Single flight: nobody joins a flight of other credentials."""
        node = self.tenants()
        reached, go = threading.Event(), threading.Event()
        self.gate.before_blob = lambda user, digest: digest != self.layer or (reached.set(), go.wait(120))
        owner = node.start(self.image, namespace="a", secrets=["regcred"])
        self.assertTrue(reached.wait(60))
        self.nobody_else(node)
        waiting = [node.start(self.image, "IfNotPresent", "b", secrets=listed) for listed in self.WITHOUT_A_RIGHT]
        go.set()
        self.assertEqual(node.settled(owner, namespace="a"), "Running")
        for name in waiting:
            self.assertEqual(node.settled(name, namespace="b"), "Refused")

    def test_what_a_broken_pull_left(self):
        """Resume: the first bytes are there, of a daemon that was killed as well."""
        node = self.tenants()
        reached, go = threading.Event(), threading.Event()
        self.gate.before_blob = lambda user, digest: digest != self.layer or (reached.set(), go.wait(120))
        node.start(self.image, namespace="a", secrets=["regcred"], name="owner")
        self.assertTrue(reached.wait(60))
        node.berthd.kill()
        go.set()
        self.gate.before_blob = None
        self.gate.users["team-a"][0] = "canary-changed"  # so that the owner cannot go on, either
        self.assertTrue(node.berthd.start())
        self.nobody_else(node)
        self.gate.users["team-a"][0] = self.password["team-a"]
        self.assertEqual(node.settled("owner", ("Running",), namespace="a"), "Running")
        self.nobody_else(node)

    def test_layers_that_are_there_from_another_image(self):
        """Dedupe: all layers are here, by a public image; the manifest is what has to be proven (F-14)."""
        node = self.tenants()
        self.assertEqual(node.verdict(f"{self.gate.host}/public/copy:v1", namespace="b"), "Running")
        self.nobody_else(node)
        before = len(self.gate.blobs("team-a"))
        self.assertEqual(node.verdict(self.image, namespace="a", secrets=["regcred"]), "Running")
        self.assertNotIn(self.layer, self.gate.blobs("team-a")[before:], "for its owner it is not fetched again")
        self.nobody_else(node)

    def test_two_tenants_of_one_host_at_once(self):
        """D-15: connections, tokens and partial files are nobody else's."""
        node = self.tenants()
        node.expect(*[row for _ in range(6) for row in (
            ("Running", (self.image, "Always", "a"), {"secrets": ["regcred"]}), ("Running", (self.own, "Always", "b"), {"secrets": ["theirs"]}),
            ("Refused", (self.image, "Always", "b"), {"secrets": ["theirs"]}), ("Refused", (self.own, "Always", "b"), {"secrets": ["wrong"]}))])
        self.assertNotIn(403, {status for user, _, _, status in self.gate.asked if user == "team-a"})
        self.assertNotIn("canary", node.berthd.log_path.read_text(errors="replace"))


if __name__ == "__main__":
    unittest.main()
