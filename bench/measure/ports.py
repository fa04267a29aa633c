"""Free ports of 127.0.0.1 for servers that a measurement or check starts. Only the standard library is used."""

import contextlib
import random
import socket

# Below the ephemeral ports: no connection takes a server's port before it listens, or while it is down.
PORTS = range(20_000, 32_000)
GIVEN = set()


def free_port():
    """A free port that this run has not used yet."""
    while True:
        port = random.choice(PORTS)
        with contextlib.suppress(OSError), socket.socket() as listener:
            listener.bind(("127.0.0.1", port))
            if port not in GIVEN:
                GIVEN.add(port)
                return port
