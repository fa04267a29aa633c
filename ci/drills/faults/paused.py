"""A lane that an operator paused and did not resume: its commands are about to expire."""

from faults.channels import accepted, channel, give_key, send

NAME, COMMANDS, KEY = "paused", 10, "the-key-of-the-paused-channel"


def prepare(installation, port):
    give_key(installation, NAME, KEY)
    installation.start_account("account-paused", KEY, channel(NAME, port))
    installation.must("channel", "pause", NAME)


def run(drill):
    installation = drill.installation
    drill.acts(f"fault: an operator has paused channel {NAME}; {COMMANDS} commands are published")
    send(installation, NAME, COMMANDS)
    drill.fires("ImchannelCommandsAboutToExpire", 8 * 60, channel=NAME)
    drill.runs_inline("imchannel lanes list --channel ID", "paused by an operator", ID=NAME)
    drill.fires("ImchannelLaneHalted", 60, channel=NAME)
    drill.section.row("paused by an operator")
    drill.runs_inline("imchannel channel resume ID", ID=NAME)
    drill.proves(f"the account took all {COMMANDS} commands", lambda: accepted(installation, NAME) == COMMANDS)
    drill.ends(2 * 60)
