"""nats-server is killed."""

from faults.channels import PASSWORD, channel, report, reported
from parts import status_of

NAME, NUMBERS = "bus", range(10)


def text(port):
    return channel(NAME, port)


def run(drill):
    installation = drill.installation
    post = lambda number: installation.post(NAME, PASSWORD, report(number))
    drill.acts("fault: nats-server is killed")
    installation.parts["nats"].kill()
    drill.proves("a webhook is answered 503", lambda: post(0) == 503)
    for service in ("ingress", "normalizer", "sender"):
        drill.fires("ImchannelNatsDisconnected", 4 * 60, job=service)
    status, body = status_of(installation.ready_url("ingress"))
    drill.note(f"`/ready` of ingress: {status} `{body}`")
    drill.runs("imchannel streams check", "cannot connect to NATS", code=1)
    drill.acts("nats-server is restarted")
    installation.restart_nats()
    drill.proves("what the BSP repeats is answered 200", lambda: all(post(number) == 200 for number in NUMBERS))
    drill.proves("every webhook is an event", lambda: reported(installation, NAME, NUMBERS))
    drill.ends(60)
