"""The contact center's back end is stopped: EVENTS fills, the normalizer pauses, WEBHOOKS fills, webhooks are answered 503."""

import json
import threading

from faults.channels import PASSWORD, channel
from parts import status_of

NAME, MIB = "full", 1024 * 1024
SIZES = ["--events-max-size", "4MiB", "--webhooks-max-size", "4MiB"]
TEXT = "x" * 3000
REFUSED_AT_ONCE = 30


def text(port):
    return channel(NAME, port)


def message(number):
    return json.dumps({"results": [{"messageId": f"c-{number}", "from": "4915112345678", "to": "49151", "receivedAt": "2026-01-01T00:00:00.000+0000",
                                    "message": {"type": "TEXT", "text": TEXT}}]}).encode()


class Bsp:
    """Posts customers' messages, one after another, and retries each until it is answered 200."""

    def __init__(self, installation):
        self.url = f"{installation.webhooks_url()}/social/on/whatsapp/infobip/message/{NAME}"
        self.taken, self.refused, self.left = 0, 0, threading.Event()

    def post(self):
        status = status_of(self.url, message(self.taken), AccountKey=PASSWORD, Content_Type="application/json")[0]
        self.taken += status == 200
        self.refused += status == 503
        return status

    def fill(self):
        while self.refused < REFUSED_AT_ONCE:
            self.post()

    def repeat(self):
        """Once a second, until the drill is over."""
        while not self.left.wait(1):
            self.post()


def run(drill):
    installation = drill.installation
    bsp = Bsp(installation)
    drill.acts("fault: the back end reads nothing; customers write until ingress answers 503")
    bsp.fill()
    drill.note(f"{bsp.taken} webhooks were answered 200 before that")
    repeats = threading.Thread(target=bsp.repeat)
    repeats.start()
    try:
        make_room(drill, bsp)
    finally:
        bsp.left.set()
        repeats.join()
    drill.acts("the back end reads again")
    installation.start_reader()
    events = lambda: sum("c-" in line for line in installation.events("messages", "--channel", NAME))
    drill.proves("every webhook that was answered 200 is an event", lambda: events() >= bsp.taken, 90)
    drill.ends(6 * 60)


def make_room(drill, bsp):
    installation = drill.installation
    drill.fires("ImchannelWebhooksNotStored", 5 * 60, bsp="infobip")
    drill.runs("imchannel doctor", ("WEBHOOKS holds", "MiB of 4.0 MiB", "no reader requests events"), code=3)
    drill.runs("imchannel top", "WEBHOOKS")
    drill.follows("imchannelstreamfillcritical")
    drill.runs("imchannel doctor", ("WEBHOOKS holds", "MiB of 4.0 MiB"), code=3)
    taken = bsp.taken
    drill.runs("imchannel streams apply --webhooks-max-size 8GiB")
    drill.proves("webhooks are answered 200 again", lambda: bsp.taken > taken)
    drill.fires("ImchannelStreamFillCritical", 60, stream="EVENTS")
    drill.fires("ImchannelWorkerPaused", 3 * 60, job="normalizer")
    drill.runs("imchannel streams apply --events-max-size 8GiB")
    drill.proves("the normalizer goes on", lambda: installation.asked("imchannel_worker_paused == 0"))
