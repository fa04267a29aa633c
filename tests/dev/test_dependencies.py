"""Which clients the programs link. deny.toml says the same for cargo-deny, which is not installed everywhere."""
import pathlib
import subprocess
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def linked(package):
    """Names of the crates that a package links, by cargo's own resolution. It reads Cargo.lock and needs no network."""
    tree = ["cargo", "tree", "--locked", "--offline", "--edges", "normal", "--prefix", "none", "--package", package]
    lines = subprocess.run(tree, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return {line.split()[0] for line in lines if line}


class Dependencies(unittest.TestCase):
    def test_only_services_that_store_files_link_the_redis_client(self):
        self.assertEqual({package: "redis" in linked(package) for package in ("ingress", "normalizer", "sender", "media", "timeline")},
                         {"ingress": False, "normalizer": False, "sender": True, "media": True, "timeline": True})

    def test_no_crate_uses_the_model(self):
        # It calls the sender's decisions. A program that linked it would link a part of the tests.
        tree = ["cargo", "tree", "--locked", "--offline", "--edges", "normal,build,dev", "--prefix", "none",
                "--workspace", "--invert", "model"]
        users = subprocess.run(tree, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
        self.assertEqual({line.split()[0] for line in users if line}, {"model"})

    def test_no_service_knows_the_clients_of_another_crate(self):
        # `service` is in every program, so what it links, every program links.
        self.assertFalse({"redis", "blob"} & linked("service"))


if __name__ == "__main__":
    unittest.main()
