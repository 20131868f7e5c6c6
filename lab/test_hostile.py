"""The verifier and the table of hostile layers agree: what must be refused is refused, what is safe makes a tree."""
import pathlib
import tempfile
import unittest

import faults
import hostile
import images
import matrix
import verify

# Refused by a limit or a policy that the verifier does not have.
BEYOND = ("A-37-block", "A-51", "A-61", "A-62", "A-88", "A-97", "A-108", "A-110")
SLOW = ("A-57", "A-100", "A-49", "A-87-64M", "A-106", "A-31-")


class Layers(unittest.TestCase):
    def test_verdicts(self):
        for case in hostile.layer_cases():
            if case.id.startswith(SLOW):
                continue
            with self.subTest(case.id), tempfile.TemporaryDirectory() as folder:
                layout = images.Layout(folder)
                layout.tag("x", case.build(layout))
                try:
                    verdict, tree = "safe", verify.expect(layout, "x")
                except verify.Rejected as error:
                    verdict, tree = f"reject: {error}", {}
                if case.verdict == "safe":
                    self.assertEqual(verdict, "safe")
                    self.assertFalse([name for name in tree for part in name.split(b"/") if part.startswith(b".wh.")])
                elif case.verdict == "reject" and not case.id.startswith(BEYOND):
                    word = case.word if int(case.id.split("-")[1]) < 102 else ""  # of blobs, the class is the store's business
                    self.assertTrue(verdict.startswith("reject: " + word), verdict)

    def test_canary_is_seen(self):
        with tempfile.TemporaryDirectory() as folder:
            hostile.make_canary(folder)
            before = verify.digest(verify.scan(folder))
            self.assertEqual(before, verify.digest(verify.scan(folder)))
            pathlib.Path(folder, "victim").write_text("broken")
            self.assertNotEqual(before, verify.digest(verify.scan(folder)))


class Documents(unittest.TestCase):
    def test_ids_are_unique_and_documents_are_made(self):
        ids = [case.id for case in hostile.cases()]
        self.assertEqual(len(ids), len(set(ids)))
        self.assertEqual(len(ids), len({hostile.repo(case) for case in hostile.cases()}))
        for case in hostile.document_cases():
            if case.id in ("B-31-500", "B-31-600", "B-31-127"):
                continue
            with self.subTest(case.id), tempfile.TemporaryDirectory() as folder:
                layout = images.Layout(folder)
                self.assertTrue(layout.path(layout.tag("x", case.build(layout))).exists())
                self.assertEqual(case.verdict == "safe", not case.word)


class Faults(unittest.TestCase):
    def test_rows_are_of_the_table(self):
        rows, words = list(faults.rows()), set(matrix.classes().values())
        self.assertEqual(len(rows), len({faults.Scene.name(row) for row in rows}))
        for row in rows:
            with self.subTest(row.id):
                self.assertRegex(row.id, r"^C-(0[1-9]|[1-5]\d|6[0-6])\b")
                self.assertIn(row.verdict, ("safe", "reject"))
                self.assertEqual(row.word in words, row.verdict == "reject")


if __name__ == "__main__":
    unittest.main()
