"""The only normalizer is killed: webhooks are stored, and no events are published."""

from faults.channels import PASSWORD, report, reported

NAME, NUMBERS = "halted", range(100, 120)


def run(drill):
    installation = drill.installation
    drill.acts("fault: the only normalizer is killed; the BSP keeps posting")
    installation.parts["normalizer"].kill()
    for number in NUMBERS:
        drill.installation.post(NAME, PASSWORD, report(number))
    drill.fires("ImchannelServiceDown", 3 * 60, job="normalizer")
    drill.section.says("start it. Nothing has to be repaired afterwards")
    drill.acts("it is restarted")
    installation.parts["normalizer"].start()
    drill.proves("every webhook of the time without it is an event", lambda: reported(installation, NAME, NUMBERS))
    drill.ends(60)
