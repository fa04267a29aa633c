"""The contact center's back end has stopped: no consumer reads its events."""

from faults.channels import PASSWORD, channel, report
from parts import until

NAME, NUMBERS = "unread", range(5)


def text(port):
    return channel(NAME, port)


def run(drill):
    installation = drill.installation
    drill.acts("fault: the back end does not run; reports come in")
    for number in NUMBERS:
        until("a webhook is answered 200", lambda: installation.post(NAME, PASSWORD, report(number)) == 200)
    drill.fires("ImchannelEventsNotRead", 12 * 60, durable="aicc")
    drill.runs("imchannel doctor", f"no reader requests events; {len(NUMBERS)} events are pending and 0 are in flight")
    drill.runs("imchannel tail reports --since 1h --no-follow --count 5", NAME)
    drill.acts("the back end's consumer is started")
    installation.start_reader()
    drill.proves("it has acknowledged every event", lambda: not installation.asked('imchannel_consumer_pending_messages{stream="EVENTS"} > 0'))
    drill.ends(60)
