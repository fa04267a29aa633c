"""A BSP has another webhook password than the channels file."""

import time

from faults.channels import PASSWORD, channel, report, reported
from parts import until

NAME, BSP_PASSWORD, POSTS = "rotated", "the-password-that-the-bsp-has", 14


def run(drill):
    installation = drill.installation
    drill.acts(f"fault: the BSP posts to channel {NAME} with a password that is not in the channels file")
    count = f'imchannel_ingress_channel_refused_total{{channel="{NAME}"}}'
    post = lambda number: installation.post(NAME, BSP_PASSWORD, report(number))
    drill.proves("a webhook is answered 401", lambda: post(0) == 401)
    until("the first refusal is scraped", lambda: installation.asked(f"{count} >= 1"))
    for number in range(1, POSTS):
        post(number)
    drill.fires("ImchannelWebhooksRefused", 8 * 60, channel=NAME, cause="wrong_credential")
    drill.section.row("wrong_credential")
    drill.runs('imchannel channel show "$CHANNEL"', f'"id": "{NAME}"', CHANNEL=NAME)
    file = installation.folder / "channels.toml"
    entry = f'webhook = [{{ password = "{PASSWORD}" }}]'
    before, after = file.read_text().split(f'id = "{NAME}"')
    file.write_text(before + f'id = "{NAME}"' + after.replace(entry, entry.replace("}]", f'}}, {{ password = "{BSP_PASSWORD}" }}]'), 1))
    drill.acts("the BSP's password is put into the channel's list in channels.toml")
    drill.runs("imchannel channel apply -f channels.toml --dry-run", NAME)
    drill.runs("imchannel channel apply -f channels.toml", NAME)
    drill.proves("what the BSP repeats is answered 200", lambda: all(post(number) == 200 for number in range(POSTS)))
    drill.proves("every repeated webhook is an event", lambda: reported(installation, NAME, range(POSTS)))
    began = time.monotonic()
    drill.ends(11 * 60)
    drill.note(f"(the alert ended {time.monotonic() - began:.0f} s after the act: it counts ten minutes)")


def text(port):
    return channel(NAME, port)
