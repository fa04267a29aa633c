"""The disk of the spool is not there: ingress cannot open its folder."""


def prepare(installation):
    """A file in place of the folder. It stays until the drill repairs it."""
    folder = installation.folder / "spool"
    installation.parts["ingress"].stop()
    folder.rename(installation.folder / "spool-of-the-first-start")
    folder.write_text("this is not a folder\n")
    installation.start_service("ingress")


def run(drill):
    installation = drill.installation
    drill.acts("fault: a file is in place of the folder of the spool")
    drill.fires("ImchannelSpoolDiskFails", 3 * 60, job="ingress")
    drill.section.says("Nothing is lost while NATS stores webhooks")
    log = installation.parts["ingress"].text()
    drill.proves("the log of ingress has the error and the path", lambda: str(installation.folder / "spool") in log, 1)
    (installation.folder / "spool").unlink()
    drill.acts("the file is removed")
    drill.proves("ingress uses the folder without a restart", lambda: installation.asked("imchannel_ingress_spool_usable == 1"))
    drill.ends(7 * 60)
