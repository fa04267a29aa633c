"""redis-server is killed: files can be neither fetched nor uploaded."""

import json

from parts import status_of, until

CHANNEL, REQUESTS = "halted", 12


def run(drill):
    installation = drill.installation
    (installation.folder / "bill.txt").write_text("A bill.\n")
    stored = installation.must("--json", "media", "put", "bill.txt", "--channel", CHANNEL)
    url = json.loads(stored.splitlines()[-1])["url"]
    drill.proves("a file is served", lambda: status_of(url)[0] == 200)
    # While the disk syncs, Redis delays writes to its log for up to two seconds, and a kill loses those.
    until("the upload is in the log of Redis", lambda: any(b":meta" in file.read_bytes() for file in (installation.folder / "redis").glob("**/*.incr.aof")))
    drill.acts("fault: redis-server is killed")
    installation.parts["redis"].kill()
    drill.fires("ImchannelRedisDisconnected", 3 * 60, job="media")
    status, body = status_of(installation.ready_url("media"))
    drill.note(f"`/ready` of media: {status} `{body}`")
    drill.proves("/ready of media names Redis", lambda: "Redis does not answer" in body)
    drill.runs("imchannel doctor", "cannot reach Redis", code=3)
    drill.acts("redis-server is restarted")
    installation.parts["redis"].start()
    drill.proves("the file that was there before is served", lambda: status_of(url)[0] == 200)
    until("media is ready", lambda: status_of(installation.ready_url("media"))[0] == 200)
    drill.ends(60)
