"""Posts reports of KooMessage, Gupshup and Twilio at a steady rate, each on a connection of its own, whether or not earlier ones were answered."""

import asyncio
import base64
import dataclasses
import json
import time

# Longer than the proxy's `timeout server` (25 s), so that the proxy answers first.
ANSWER_S = 40
BSPS = ("koomessage", "gupshup", "twilio")


@dataclasses.dataclass
class Posted:
    """A report: when it was posted and answered, and the status of the answer. 0: no answer."""

    bsp: str
    message: str
    begin: float
    end: float
    status: int


def request(bsp, message):
    """The bytes of a report for the example channels of deploy/compose/channels.toml."""
    authorization, kind = f"example-{bsp}-secret", "application/json"
    if bsp == "twilio":
        authorization = "Basic " + base64.b64encode(b"example-twilio-user:example-twilio-secret").decode()
        kind = "application/x-www-form-urlencoded"
        body = f"MessageSid={message}&MessageStatus=read&From=whatsapp%3A%2B441134960001&To=whatsapp%3A%2B441134960000"
    elif bsp == "koomessage":
        body = json.dumps({"message_id": message, "sender": "441134960001", "user_number": "441134960000", "status": "read"})
    else:
        payload = {"id": message, "type": "failed", "destination": "918000000001", "payload": {"code": "1008", "reason": "not opted in"}}
        body = json.dumps({"app": "Demo", "timestamp": 1772359200500, "version": 2, "type": "message-event", "payload": payload})
    return (
        f"POST /social/on/whatsapp/{bsp}/report/{bsp}-demo HTTP/1.1\r\nHost: gateway\r\nAuthorization: {authorization}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
    ).encode()


async def answer_to(port, data):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        line = await reader.readline()
        return int(line.split()[1]) if line else 0
    finally:
        writer.close()


async def post(port, number, results):
    bsp, message = BSPS[number % len(BSPS)], f"m-{number}"
    begin, status = time.time(), 0
    try:
        status = await asyncio.wait_for(answer_to(port, request(bsp, message)), ANSWER_S)
    except (OSError, asyncio.TimeoutError):
        pass
    results.append(Posted(bsp, message, begin, time.time(), status))


async def post_all(port, rate, seconds):
    results, tasks, begin = [], [], time.time()
    for number in range(rate * seconds):
        await asyncio.sleep(max(0, begin + number / rate - time.time()))
        tasks.append(asyncio.create_task(post(port, number, results)))
    await asyncio.gather(*tasks)
    return results
