"""nats-server starts with an empty WEBHOOKS, as 2.10 may after a full disk: new messages get sequences below the position of
its consumer. No disk is filled: the drill removes the message files while the server is down."""

from faults.channels import PASSWORD, report, reported
from parts import status_of

NAME, BEFORE, AFTER = "bus", range(200, 220), range(300, 310)


def run(drill):
    installation = drill.installation
    post = lambda number: installation.post(NAME, PASSWORD, report(number))
    for number in BEFORE:
        post(number)
    drill.proves("the webhooks are events", lambda: reported(installation, NAME, BEFORE))
    drill.acts("fault: nats-server restarts without the messages of WEBHOOKS")
    installation.parts["nats"].stop()
    files = list((installation.folder / "nats/jetstream").glob("**/streams/WEBHOOKS/msgs/*"))
    for file in files:
        file.unlink()
    installation.restart_nats()
    drill.fires("ImchannelSequenceGoneBack", 2 * 60, stream="WEBHOOKS")
    status, body = status_of(installation.ready_url("ingress"))
    drill.note(f"`/ready` of ingress: {status} `{body}`")
    drill.proves("a webhook is answered 503", lambda: post(AFTER[0]) == 503)
    drill.runs("imchannel doctor", "the sequence has gone back: WEBHOOKS", code=3)
    drill.runs("imchannel streams repair", "WEBHOOKS")
    drill.runs("imchannel doctor", "streams.sequences", code=0)
    drill.proves("what the BSP repeats is answered 200", lambda: all(post(number) == 200 for number in AFTER))
    drill.proves("every webhook is an event", lambda: reported(installation, NAME, AFTER))
    drill.ends(60)
