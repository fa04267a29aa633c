"""What is spooled has waited for more than a quarter of an hour. The ingress that spools it has a clock that is behind by that
much, and is then restarted with the right one. Nothing else is changed."""

from faults.channels import reported, spool
from faults.spool_filling import NAME

NUMBERS, BEHIND = range(100, 105), "-20m"


def run(drill):
    installation = drill.installation
    drill.acts("fault: nats-server does not run; webhooks were spooled 20 minutes ago")
    installation.parts["nats"].kill()
    installation.restart_ingress(clock=BEHIND)
    spool(installation, NAME, NUMBERS)
    installation.restart_ingress()
    drill.fires("ImchannelSpoolOld", 60, job="ingress")
    drill.proves("NATS is not connected", lambda: installation.asked('imchannel_nats_connected{job="ingress"} == 0'))
    drill.section.says("repair the cause")
    drill.acts("nats-server is restarted")
    installation.restart_nats()
    drill.proves("every report is an event", lambda: reported(installation, NAME, NUMBERS))
    drill.ends(60)
