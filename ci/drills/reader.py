"""The contact center's back end of a drill: reads EVENTS by the durable `aicc`, under its own user, and acknowledges.

    python reader.py NATS-URL SEED-FILE
"""

import asyncio
import contextlib
import sys

import nats

BATCH, WAIT_S = 500, 1


async def main():
    client = await nats.connect(sys.argv[1], nkeys_seed=sys.argv[2], inbox_prefix="_INBOX_aicc", max_reconnect_attempts=-1)
    durable = await client.jetstream().pull_subscribe_bind(durable="aicc", stream="EVENTS")
    while True:
        with contextlib.suppress(nats.errors.TimeoutError):
            for message in await durable.fetch(BATCH, WAIT_S):
                await message.ack()


asyncio.run(main())
