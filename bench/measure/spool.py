#!/usr/bin/env python3
"""Kills NATS while KooMessage and Twilio post reports, and counts those that were lost, came out twice or were answered late.

    bench/measure/spool.py [--programs target/release] [--nats nats-server] [--rate 2000] [--away 80] [--kill] [--folder FOLDER]

NATS is killed five seconds after the first report, for `--away` seconds. With `--kill` ingress is killed in the middle of that time and started
again. Finally every report that was answered 200 must have exactly one event id. The spool is in FOLDER (default: a temporary folder): choose
one on the disk that you want to measure.
"""

import argparse
import base64
import http.client
import json
import multiprocessing
import pathlib
import re
import subprocess
import threading
import time
import urllib.request

import lab

# Seconds with NATS before and after the outage.
BEFORE_S, AFTER_S = 5, 5
# Processes that post, and connections of each.
PROCESSES, CONNECTIONS = 4, 16
TWILIO = "Basic " + base64.b64encode(b"u:p").decode()


def post(connection, number):
    """Posts one report. Returns the status."""
    if number % 2:
        path, kind, login = "twilio/report/measure-twilio", "application/x-www-form-urlencoded", TWILIO
        body = f"MessageSid=m-{number}&MessageStatus=read&From=whatsapp%3A%2B441134960001&To=whatsapp%3A%2B441134960000"
    else:
        path, kind, login = "koomessage/report/measure-koomessage", "application/json", "p"
        body = json.dumps({"message_id": f"m-{number}", "sender": "441134960001", "user_number": "441134960000", "status": "read"})
    connection.request("POST", f"/social/on/whatsapp/{path}", body, {"Content-Type": kind, "Authorization": login})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def post_some(gateway, first, step, interval_s, until, results):
    """Posts every `step`-th report at its time, one after the other on one connection."""
    connection, number, begin = http.client.HTTPConnection("127.0.0.1", gateway, timeout=30), first, time.time()
    due = begin + interval_s * first / step
    while due < until:
        time.sleep(max(0, due - time.time()))
        began = time.monotonic()
        try:
            status = post(connection, number)
        except (OSError, http.client.HTTPException):
            connection.close()
            status = 0
        results.append((number, status, time.monotonic() - began))
        number, due = number + step, due + interval_s
    connection.close()


def poster(gateway, process, rate, until, queue):
    results, step = [], PROCESSES * CONNECTIONS
    threads = [
        threading.Thread(target=post_some, args=[gateway, process * CONNECTIONS + place, step, step / rate, until, results])
        for place in range(CONNECTIONS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    queue.put(results)


def metrics(service):
    with urllib.request.urlopen(f"http://127.0.0.1:{service.admin}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    found = re.findall(r"^imchannel_ingress_(spool_\S+) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found if "_bucket" not in name}


def memory_of(process):
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024


def channels(lab_):
    text = ""
    for bsp, login in (("koomessage", ""), ("twilio", 'user = "u", ')):
        text += f'[[channel]]\nid = "measure-{bsp}"\nbsp = "{bsp}"\ntenant = "measure"\nwebhook = [{{ {login}password = "p" }}]\n'
    file = lab_.folder / "channels.toml"
    file.write_text(text)
    return file


def event_ids(lab_, nats):
    """The event ids of each message."""
    ids = {}
    done = lab_.cli(nats, "--json", "tail", "reports", "--from-beginning", "--no-follow", "--unmask")
    for line in done.stdout.splitlines():
        text = json.dumps(json.loads(line))
        event = re.search(r'"event_?[iI]d": "([^"]+)"', text)
        message = re.search(r'"message_?[iI]d": "(m-\d+)"', text)
        if event and message:
            ids.setdefault(message[1], set()).add(event[1])
    return ids


def quantiles(results, what):
    times = sorted(seconds for _, status, seconds in results if status == 200)
    at = lambda share: times[min(len(times) - 1, int(len(times) * share))]
    print(f"  {what}: {len(times):,} answered 200; p50 {at(0.5):.3f} s, p99 {at(0.99):.3f} s, p99.9 {at(0.999):.3f} s, longest {times[-1]:.3f} s")


def run(lab_, options):
    nats = lab.Nats(lab_, options.nats)
    gateway = lab.free_port()
    lab_.set_up(nats, channels(lab_))
    environment = {
        "IMCHANNEL_INGRESS_LISTEN": f"127.0.0.1:{gateway}",
        "IMCHANNEL_SPOOL_DIR": options.folder or str(lab_.folder / "spool"),
    }
    ingress = lab_.service("ingress", nats, **environment)
    lab_.service("normalizer", nats)
    queue, until = multiprocessing.Queue(), time.time() + BEFORE_S + options.away + AFTER_S
    posters = [
        multiprocessing.Process(target=poster, args=[gateway, number, options.rate, until, queue], daemon=True) for number in range(PROCESSES)
    ]
    for process in posters:
        process.start()
    time.sleep(BEFORE_S)
    nats.kill(nats.nodes[0])
    time.sleep(options.away / 2)
    if options.kill:
        ingress.kill()
        ingress.wait()
        ingress = lab_.service("ingress", nats, **environment)
    time.sleep(options.away / 2)
    before = metrics(ingress)
    print(f"NATS away for {options.away} s at {options.rate} reports/s")
    print(f"  in the spool at the end: {before['spool_entries']:,.0f} reports, {before['spool_size_bytes'] / 2**20:,.0f} MiB; ingress used at most {memory_of(ingress) / 2**20:,.0f} MiB of memory")
    nats.start(nats.nodes[0])
    began = time.monotonic()
    results = [result for _ in posters for result in queue.get()]
    lab.until(lambda: metrics(ingress)["spool_entries"] == 0, "the spool is empty", 600)
    print(f"  drained {time.monotonic() - began:.0f} s after NATS came back")
    lab.until(lambda: nats.waiting("WEBHOOKS") == 0, "everything is normalized", 600)
    quantiles(results, "response times")
    others = sum(1 for _, status, _ in results if status != 200)
    ids = event_ids(lab_, nats)
    taken = [number for number, status, _ in results if status == 200]
    lost = [number for number in taken if f"m-{number}" not in ids]
    twice = [number for number in taken if len(ids.get(f"m-{number}", ())) > 1]
    print(f"  posted {len(results):,}, not answered 200: {others:,}; lost of those answered 200: {len(lost):,}; with two event ids: {len(twice):,}")
    after = metrics(ingress)
    syncs = after["spool_sync_seconds_count"]
    print(f"  {syncs:,.0f} fsyncs, {1000 * after['spool_sync_seconds_sum'] / max(1, syncs):.1f} ms each on average", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", default="target/release")
    parser.add_argument("--nats", default="nats-server")
    parser.add_argument("--rate", type=int, default=2000)
    parser.add_argument("--away", type=int, default=80, help="seconds without NATS")
    parser.add_argument("--kill", action="store_true", help="kill ingress in the middle")
    parser.add_argument("--folder", default="", help="folder of the spool")
    options = parser.parse_args()
    print(subprocess.run([options.nats, "--version"], capture_output=True, text=True).stdout.strip())
    with lab.Lab(options.programs) as lab_:
        run(lab_, options)


if __name__ == "__main__":
    main()
