"""nats-server is killed for longer than the spool of ingress has room."""

from faults.channels import koomessage, reported, spool
from parts import status_of

NAME, NUMBERS, PADDING = "spooled", range(15), 420_000
SIZES = {"IMCHANNEL_SPOOL_MAX_SIZE": "8MiB"}


def text():
    return koomessage(NAME)


def run(drill):
    installation = drill.installation
    installation.restart_ingress(**SIZES)
    drill.acts("fault: nats-server is killed; KooMessage, which does not repeat, keeps posting")
    installation.parts["nats"].kill()
    spool(installation, NAME, NUMBERS, PADDING)
    drill.note(f"{len(NUMBERS)} reports were answered 200")
    drill.fires("ImchannelSpoolNearlyFull", 3 * 60)
    status, body = status_of(installation.ready_url("ingress"))
    drill.note(f"`/ready` of ingress: {status} `{body}`")
    drill.section.says("raise `IMCHANNEL_SPOOL_MAX_SIZE` and restart one instance after another")
    installation.restart_ingress(IMCHANNEL_SPOOL_MAX_SIZE="64MiB")
    drill.acts("NATS cannot be repaired yet: ingress is restarted with a larger `IMCHANNEL_SPOOL_MAX_SIZE`")
    drill.ends(60)
    drill.fires("ImchannelWebhooksSpooled", 3 * 60, job="ingress")
    drill.runs("imchannel doctor --admin", f"{len(NUMBERS)} spooled webhooks", code=3, **{"http://127.0.0.1:9090": installation.admin("ingress")})
    drill.acts("nats-server is restarted")
    installation.restart_nats()
    drill.proves("every report is an event", lambda: reported(installation, NAME, NUMBERS))
    drill.ends(60)
