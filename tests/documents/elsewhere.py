"""Runs blocks for compose and Kubernetes: in containers if there is an engine with the images, otherwise with stand-ins that
check that everything in a command exists."""
import json
import os
import re
import shutil
import subprocess
import sys
import time

from installation import HERE, Installation, free_ports


class Elsewhere(Installation):
    """A copy of the files, with stand-ins for `docker`, `kubectl` and `helm` in the PATH."""

    def bring(self, name):
        # Commands copy overlays and write beside the files.
        shutil.copytree(self.root / name, self.folder / name, symlinks=True)

    def begin(self):
        shutil.copy(self.root / "docker-compose.yml", self.folder)
        shutil.copy(self.root / "deploy/compose/channels.toml", self.folder)
        for name in ("REAL_KUBECTL", "REAL_COMPOSE"):
            if name in os.environ:
                self.environment[name] = os.environ[name]
        self.environment["DOCUMENTS_OBJECTS"] = str(self.folder / "objects.json")
        # What a reader already has: the key of a BSP's account, and secrets if the document does not make them.
        self.environment["API_KEY"] = "a-key-of-a-bsp"
        self.environment["TIMELINE_URL"] = "postgres://imchannel:PASSWORD@db.example/imchannel"
        if not any(re.search(r"secrets generate (/here/)?secrets", text) for text in self.texts):
            self.imchannel("secrets", "generate", "secrets")

    def program(self, name, script):
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)

    def stand_in(self, name):
        return f"exec '{sys.executable}' '{HERE}/stand_ins.py' {name} \"$@\""


class StandIns(Elsewhere):
    """Without a cluster and a container engine."""

    def begin(self):
        super().begin()
        for name in ("kubectl", "helm", "docker"):
            self.program(name, self.stand_in(name))


class Compose(Elsewhere):
    """A container engine with the images that ci/compose/images.sh makes."""

    # For blocks that start containers.
    limit_s = 180

    def begin(self):
        super().begin()
        webhooks, files = free_ports(2)
        self.ports.update(ingress=webhooks, media=files)
        self.environment.update(
            COMPOSE_PROJECT_NAME=f"imchannel-documents-{os.getpid()}", IMCHANNEL_WEBHOOKS_PORT=str(webhooks),
            IMCHANNEL_FILES_PORT=str(files), IMCHANNEL_PROXY_FILES="16384", **json.loads(os.environ["IMAGES"]))
        compose = " ".join(json.loads(os.environ["REAL_COMPOSE"]))
        # The images of Grafana, Prometheus and Jaeger are only in a registry.
        self.program("docker", (
            f'case "$*" in *--profile?observe*) {self.stand_in("docker")} ;; esac\n'
            f'[ "$1" = compose ] || {{ echo "docker $1 is not known here" >&2; exit 64; }}\nshift\nexec {compose} "$@"'))
        if any("force-recreate" in text for text in self.texts):
            # The document is about a running installation.
            self.environment["IMCHANNEL_SECRETS"] = "./secrets"
            self.compose("up", "--detach", "--wait")

    def compose(self, *args):
        done = subprocess.run(
            ["docker", "compose", *args], cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=self.limit_s)
        if done.returncode != 0:
            raise RuntimeError(f"docker compose {' '.join(args)}: {done.stdout}{done.stderr}")
        return done.stdout

    def rewrites(self):
        return super().rewrites() + [
            (" --build", "", "no registry is asked for the images that ours are built from"),
            ("IMCHANNEL_BIND=192.0.2.10", "IMCHANNEL_BIND=127.0.0.1", "this machine does not have the address"),
        ]

    def stop(self):
        # Their grace time is not needed here.
        self.compose("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "2")
        super().stop()
