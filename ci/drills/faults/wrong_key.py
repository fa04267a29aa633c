"""A BSP's key was revoked: every call is answered 401. One alert is about commands that have waited for 20 hours, so the
sender's clock is ahead of the clock of NATS, which timestamps the commands, by that much. Nothing else is changed."""

from faults.channels import accepted, channel, give_key, send

NAME, COMMANDS = "halted", 30
RIGHT_KEY, WRONG_KEY = "the-right-key-of-the-drill", "a-key-that-was-revoked"


def prepare(installation, port):
    give_key(installation, NAME, WRONG_KEY)
    installation.start_account("account-halted", RIGHT_KEY, channel(NAME, port))


def run(drill):
    installation = drill.installation
    drill.acts(f"fault: the key of channel {NAME} is one that the account refuses; {COMMANDS} commands are published")
    send(installation, NAME, COMMANDS)
    waiting = f'imchannel_sender_pending_commands{{channel="{NAME}"}} >= {COMMANDS - 1}'
    drill.proves(f"the scrape shows that {COMMANDS - 1} or more commands wait", lambda: installation.asked(waiting))
    drill.fires("ImchannelOldestCommandWaiting", 8 * 60, channel=NAME)
    drill.follows("imchannelsendswaiting")
    drill.runs('imchannel lanes list --channel "$CHANNEL"', "the account fails (401", CHANNEL=NAME)
    drill.fires("ImchannelCommandsAboutToExpire", 60, channel=NAME)
    drill.runs_inline("imchannel lanes list --channel ID", ID=NAME)
    drill.section.leads_to("imchannellanehalted")
    drill.fires("ImchannelLaneHalted", 60, channel=NAME)
    drill.runs('imchannel lanes list --channel "$CHANNEL"', "the account fails (401", CHANNEL=NAME)
    drill.section.row("the account fails (401")
    drill.follows("imchannelsendsfailing")
    drill.runs("imchannel lanes list", "the account fails (401")
    drill.section.says("key: put the new one where `api_key` of the channel points to")
    give_key(installation, NAME, RIGHT_KEY)
    drill.acts("the new key is put into the file to which `api_key` points")
    drill.proves(f"the account took all {COMMANDS} commands", lambda: accepted(installation, NAME) == COMMANDS, 60)
    drill.ends(2 * 60)
