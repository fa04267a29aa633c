"""The channels of the drills, and the webhooks of their BSPs."""

import json

from parts import until

PASSWORD = "webhook-password-of-the-drill"
RECIPIENT = "49151120"

CHANNEL = """[[channel]]
id = "{id}"
bsp = "infobip"
tenant = "tenantname"
webhook = [{{ password = "{password}" }}]
[channel.infobip]
base_url = "http://127.0.0.1:{port}"
api_key = "file:{id}.key"
scenario_key = "drill"
sends_per_second = 20
"""


def channel(name, port, password=PASSWORD):
    return CHANNEL.format(id=name, port=port, password=password)


def koomessage(name):
    """A channel whose webhooks ingress spools while NATS does not store them."""
    return f'[[channel]]\nid = "{name}"\nbsp = "koomessage"\ntenant = "tenantname"\nwebhook = [{{ password = "{PASSWORD}" }}]\n'


def koomessage_report(number, padding=0):
    """A report of KooMessage about the message with this number; `padding`: further bytes."""
    return json.dumps({"sender": "441134960001", "user_number": "4915112345678", "message_id": f"m-{number}", "status": "read", "pad": "x" * padding}).encode()


def spool(installation, name, numbers, padding=0):
    """Posts reports that are answered 200 while NATS is away, so that they are in the spool."""
    for number in numbers:
        body = koomessage_report(number, padding)
        until(f"report {number} is answered 200", lambda: installation.post_koomessage(name, PASSWORD, body) == 200)


def give_key(installation, name, key="a-key-of-the-drill"):
    (installation.secrets / "channels" / f"{name}.key").write_text(key)


def report(number):
    """A report of Infobip about the message with this number."""
    return json.dumps({"results": [{"messageId": f"m-{number}", "to": "4915112345678", "status": {"groupName": "DELIVERED"}}]}).encode()


def send(installation, name, count):
    for number in range(count):
        installation.must("send", "--channel", name, "--to", f"{RECIPIENT}{number:05}", "--text", "Hello", "--until", "stored")


def accepted(installation, name):
    """The number of a channel's commands that the BSP has accepted, according to the results."""
    return sum(json.loads(line).get("outcome", "").endswith("ACCEPTED") for line in installation.events("sends", "--channel", name))


def reported(installation, name, numbers):
    """Whether there is a report event for each of these numbers."""
    seen = {json.loads(line).get("messageId") for line in installation.events("reports", "--channel", name)}
    return {f"m-{number}" for number in numbers} <= seen
