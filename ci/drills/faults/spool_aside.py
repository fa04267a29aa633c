"""A byte of the spool changes on the disk: one record cannot be read."""

from faults.channels import PASSWORD, koomessage_report, reported, spool
from faults.spool_filling import NAME
from parts import until

NUMBERS, PADDING, DAMAGED = range(200, 205), 1000, 202


def run(drill):
    installation = drill.installation
    drill.acts("fault: nats-server does not run, webhooks are spooled, and the disk changes a byte of one of them")
    installation.parts["nats"].kill()
    until("ingress knows that NATS is away", lambda: installation.asked('imchannel_nats_connected{job="ingress"} == 0'))
    spool(installation, NAME, NUMBERS, PADDING)
    installation.parts["ingress"].kill()
    segment = next(file for file in (installation.folder / "spool").glob("*/*.log") if b"m-%d" % DAMAGED in file.read_bytes())
    data = bytearray(segment.read_bytes())
    data[data.index(b"m-%d" % DAMAGED)] ^= 1
    segment.write_bytes(data)
    installation.restart_ingress()
    installation.restart_nats()
    drill.acts("ingress and nats-server are restarted")
    drill.fires("ImchannelSpoolRecordsAside", 60, job="ingress", reason="unreadable")
    drill.section.says("the folder `aside` in the sub-folder of the spool has the records as they were")
    kept = [file for file in (installation.folder / "spool").glob("*/aside/*") if b"sage_id" in file.read_bytes()]
    drill.proves(f"{len(kept)} file in `aside` has the record", lambda: len(kept) == 1, 1)
    drill.proves("the other reports are events", lambda: reported(installation, NAME, set(NUMBERS) - {DAMAGED}))
    drill.section.says("Ask the BSP to post again")
    drill.acts("the BSP posts the report again; the file is moved out of the folder")
    kept[0].rename(installation.folder / kept[0].name)
    drill.proves("it is answered 200", lambda: installation.post_koomessage(NAME, PASSWORD, koomessage_report(DAMAGED)) == 200)
    drill.proves("the report is an event", lambda: reported(installation, NAME, [DAMAGED]))
    drill.note("(the alert is about the last hour and ends an hour after the last record; the drill does not wait for that)")
