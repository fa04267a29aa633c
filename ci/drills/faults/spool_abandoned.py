"""A pod of ingress is gone, and its claim has webhooks."""

from faults.channels import koomessage, reported, spool

NAME, POD, NUMBERS = "claim", "ingress-1", range(5)


def text():
    return koomessage(NAME)


def run(drill):
    installation = drill.installation
    drill.acts(f"fault: NATS is away, {POD} spools webhooks, and is gone before NATS is back")
    installation.parts["nats"].kill()
    spool(installation, NAME, NUMBERS)
    # The rule looks at each minute.
    spooled = f'last_over_time(imchannel_ingress_spool_entries{{pod="{POD}"}}[5m:1m]) == {len(NUMBERS)}'
    drill.proves("the scrapes show them", lambda: installation.asked(spooled), 2 * 60)
    installation.parts["ingress"].kill()
    installation.restart_nats()
    drill.fires("ImchannelSpoolAbandoned", 15 * 60, pod=POD)
    drill.runs("imchannel doctor --spool-dir .", "no process", code=3, **{".": "spool"})
    drill.section.says("run the pod again, until its spool is empty")
    installation.restart_ingress()
    drill.acts("the pod is started")
    drill.proves("every report is an event", lambda: reported(installation, NAME, NUMBERS))
    drill.ends(2 * 60)
