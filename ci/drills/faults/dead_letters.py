"""A BSP posts a truncated body."""

import re

from faults.channels import PASSWORD, report, reported

NAME, NUMBER = "halted", 7


def run(drill):
    installation = drill.installation
    drill.acts(f"fault: the BSP posts half a report to channel {NAME}")
    drill.proves("it is answered 200: it is stored", lambda: installation.post(NAME, PASSWORD, report(NUMBER)[:-9]) == 200)
    drill.fires("ImchannelDeadLetters", 60, bsp="infobip", reason="truncated")
    listed = drill.runs("imchannel deadletter list --since 1d", "truncated")
    sequence = re.search(r"^\s+(\d+)\s+\d{4}-", listed, re.MULTILINE).group(1)
    drill.runs("imchannel deadletter show 12 --unmask", f"m-{NUMBER}", **{"12": sequence})
    drill.runs("imchannel deadletter replay --all", "1 still refused")
    drill.section.says("`truncated`: the BSP sent something odd")
    drill.acts("the BSP is asked to post the report again, and does")
    drill.proves("it is answered 200", lambda: installation.post(NAME, PASSWORD, report(NUMBER)) == 200)
    drill.proves("the report is an event", lambda: reported(installation, NAME, [NUMBER]))
    drill.runs_inline("imchannel deadletter drop --all --reason truncated", "removed 1 dead letter", answer="yes")
    drill.proves("doctor finds no dead letters", lambda: "there are no dead letters" in installation.run(["doctor"])[1])
    drill.note("(the alert is about the last hour and ends an hour after the last letter; the drill does not wait for that)")
