#!/usr/bin/env python3
"""Throughput of the programs while NATS, Redis or the BSP is slow: as much as the slow one can do, without a flood of log lines.

    bench/measure/slow.py [--programs target/release] [--nats nats-server] [--only ingress,normalizer,…] [--delay-ms 20] [--answer-ms 3000]

NATS syncs every message (nats-server 2.10 or later) and Redis its log; strace makes each of these syncs `--delay-ms` longer. The
BSP answers after `--answer-ms`. Needs strace, redis-server and the right to trace processes.
"""

import argparse
import contextlib
import http.client
import json
import os
import re
import subprocess
import threading
import time
import urllib.parse
import urllib.request

import lab

SECONDS = 20
CHANNELS = 20
REPORT = b'{"results":[{"messageId":"m-%d","to":"49151","status":{"groupName":"DELIVERED"}}]}'


@contextlib.contextmanager
def slow_syncs(processes, delay_ms):
    """Makes every sync of these processes longer."""
    args = ["strace", "-f", "-qq", "-e", "trace=fsync,fdatasync", "-o", "/dev/null"]
    args += ["-e", f"inject=fsync,fdatasync:delay_enter={delay_ms * 1000}"]
    tracers = [subprocess.Popen([*args, "-p", str(process.pid)], stderr=subprocess.DEVNULL) for process in processes]
    # The status of a traced process shows it.
    traced = lambda process: "TracerPid:\t0" not in open(f"/proc/{process.pid}/status").read()
    lab.until(lambda: all(traced(process) for process in processes), "strace is attached")
    try:
        yield
    finally:
        for tracer in tracers:
            tracer.terminate()
            tracer.wait()


def metrics(service):
    """Every series of a service, as in its text."""
    with urllib.request.urlopen(f"http://127.0.0.1:{service.admin}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if line and line[0] != "#"}


def total(service, name):
    """The sum of all series of a name."""
    return sum(value for series, value in metrics(service).items() if series.split("{")[0] == f"imchannel_{name}")


def by_outcome(service, name):
    found = {}
    for series, value in metrics(service).items():
        if series.startswith(f"imchannel_{name}{{") and value:
            outcome = re.search(r'outcome="(\w+)"', series)[1]
            found[outcome] = found.get(outcome, 0) + int(value)
    return ", ".join(f"{outcome} {count:,}" for outcome, count in sorted(found.items())) or "none"


def warnings(process):
    lines = process.log.read_text().splitlines()
    return sum("WARN" in line or "ERROR" in line for line in lines)


def say(case, text, process):
    print(f"{case}: {text}; lines at WARN or ERROR: {warnings(process):,}", flush=True)


def ingress(lab_, options):
    nats = lab.Nats(lab_, options.nats, sync="always")
    lab_.set_up(nats, lab_.channels(lab.free_port(), count=1))
    gateway = lab.free_port()
    service = lab_.service("ingress", nats, IMCHANNEL_INGRESS_LISTEN=f"127.0.0.1:{gateway}")
    load = [lab_.programs / "imchannel-bench", "load", "--gateway", f"127.0.0.1:{gateway}", "--password", "p"]
    load += ["--path", "/social/on/whatsapp/infobip/report/measure-0", "--seconds", str(SECONDS), "--connections", "512"]
    with slow_syncs([node["process"] for node in nats.nodes], options.delay_ms):
        before = nats.count("WEBHOOKS")[0]
        subprocess.run(load, capture_output=True)
        stored = (nats.count("WEBHOOKS")[0] - before) / SECONDS
        answered = by_outcome(service, "ingress_requests_total")
    say("ingress, 512 connections", f"{stored:.0f} webhooks/s were stored; answers in {SECONDS} s: {answered}", service)
    nats.stop()


def normalizer(lab_, options):
    nats = lab.Nats(lab_, options.nats, sync="always")
    lab_.set_up(nats, lab_.channels(lab.free_port(), count=1))
    headers = [("Nats-Msg-Id", None), ("IMC-Route", "infobip/report")]
    count = 4096
    lab.publish(nats, (("imchannel.webhook.infobip.measure-0", headers_of(headers, number), REPORT % number) for number in range(count)))
    with slow_syncs([node["process"] for node in nats.nodes], options.delay_ms):
        service = lab_.service("normalizer", nats)
        began = time.monotonic()
        time.sleep(SECONDS)
        events, spent = nats.count("EVENTS")[0], time.monotonic() - began
        done = total(service, "worker_processed_total")
        retried = total(service, "worker_retries_total")
    text = f"{events / spent:.0f} events/s were stored, {done / spent:.0f} webhooks/s finished, {retried:.0f} given back"
    say(f"normalizer, {count:,} webhooks waiting", text, service)
    nats.stop()


def headers_of(headers, number):
    return [(name, value or f"measure-{number}") for name, value in headers]


def infobip(lab_, nats, channels, account, *more):
    args = ["simulate", "infobip", "--channels", channels, "--listen", f"127.0.0.1:{account}", *more]
    return lab_.program("imchannel", nats, [*args, "--gateway", f"http://127.0.0.1:{lab.free_port()}", "--api-key", lab.API_KEY])


def commands(nats, count):
    names = [f"measure-{number % CHANNELS}" for number in range(count)]
    messages = (
        (f"imchannel.command.send.{name}", [], lab.text_command(name, number, "run", 25)) for number, name in enumerate(names)
    )
    lab.publish(nats, messages)


def sender_of(lab_, nats):
    return lab_.service("sender", nats, IMCHANNEL_REDIS_URL="redis://127.0.0.1:1", IMCHANNEL_MEDIA_PUBLIC_URL="http://127.0.0.1:1")


def said_of_sends(service, spent):
    results = by_outcome(service, "sender_results_total")
    per_second = total(service, "sender_results_total") / spent
    withheld, timeouts = total(service, "sender_aborted_calls_total"), total(service, "sender_ledger_timeouts_total")
    lanes = total(service, "sender_lanes")
    return (
        f"{per_second:.1f} results/s ({results}), calls: {by_outcome(service, 'sender_calls_total')}, withheld {withheld:.0f}, "
        f"timeouts of the ledger {timeouts:.0f}, lanes held {lanes:.0f} of {CHANNELS}"
    )


def sender(lab_, options):
    nats = lab.Nats(lab_, options.nats, sync="always")
    account = lab.free_port()
    channels = lab_.channels(account, count=CHANNELS)
    lab_.set_up(nats, channels)
    infobip(lab_, nats, channels, account)
    commands(nats, 4_000)
    service = sender_of(lab_, nats)
    lab.until(lambda: total(service, "sender_results_total") > 0, "the first command is sent")
    with slow_syncs([node["process"] for node in nats.nodes], options.delay_ms):
        before, began = total(service, "sender_results_total"), time.monotonic()
        time.sleep(SECONDS)
        spent = time.monotonic() - began
        slow = (total(service, "sender_results_total") - before) / spent
        text = said_of_sends(service, spent)
    say(f"sender, {CHANNELS} lanes, commands waiting", f"{slow:.1f} results/s while slow; all: {text}", service)
    nats.stop()


def answers(lab_, options):
    nats = lab.Nats(lab_, options.nats)
    account = lab.free_port()
    channels = lab_.channels(account, count=CHANNELS)
    lab_.set_up(nats, channels)
    infobip(lab_, nats, channels, account, "--latency", f"{options.answer_ms}ms")
    commands(nats, 60_000)
    began = time.monotonic()
    service = sender_of(lab_, nats)
    time.sleep(SECONDS)
    say(f"answers of {options.answer_ms} ms, {CHANNELS} lanes", said_of_sends(service, time.monotonic() - began), service)
    nats.stop()


def lookups(lab_, options):
    """Every call is cut after the BSP accepted the message, so that each is looked up in a message log that is slow too."""
    nats = lab.Nats(lab_, options.nats)
    account = lab.free_port()
    channels = lab_.channels(account, count=CHANNELS)
    lab_.set_up(nats, channels)
    infobip(lab_, nats, channels, account, "--latency", f"{options.answer_ms}ms", "--reset-pct", "100")
    commands(nats, 2_000)
    service = sender_of(lab_, nats)
    began = time.monotonic()
    lab.until(lambda: total(service, "sender_results_total") >= 2_000, "every message was looked up", 400)
    spent = time.monotonic() - began
    text = f"2,000 unknown messages in {spent:.0f} s, look-ups: {by_outcome(service, 'sender_lookups_total')}; "
    say(f"look-ups of {options.answer_ms} ms", text + said_of_sends(service, spent), service)
    nats.stop()


def media(lab_, options):
    nats = lab.Nats(lab_, options.nats)
    lab_.set_up(nats, lab_.channels(lab.free_port(), count=1))
    port, gateway = lab.free_port(), lab.free_port()
    args = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(lab_.folder), "--save", "", "--appendonly", "yes"]
    redis = subprocess.Popen([*args, "--appendfsync", "always"], stdout=subprocess.DEVNULL)
    lab_.started.append(redis)
    settings = {"IMCHANNEL_REDIS_URL": f"redis://127.0.0.1:{port}", "IMCHANNEL_MEDIA_PUBLIC_URL": f"http://127.0.0.1:{gateway}"}
    settings |= {"IMCHANNEL_MEDIA_UPLOAD_TOKEN": "measure-measure-measure", "IMCHANNEL_MEDIA_LISTEN": f"127.0.0.1:{gateway}"}
    service = lab_.service("media", nats, **settings)
    path = "/measure/imchannel/media?channel=measure-0&kind=image"
    picture = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + b"x" * 300_000
    end = time.monotonic() + SECONDS
    stored, lock = [], threading.Lock()

    def exchange(connection, method, where, body=None):
        headers = {"Authorization": "Bearer measure-measure-measure", "Content-Type": "image/jpeg"} if body else {}
        connection.request(method, where, body=body, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def work(does):
        connection = http.client.HTTPConnection("127.0.0.1", gateway, timeout=30)
        while time.monotonic() < end:
            try:
                does(connection)
            except (OSError, http.client.HTTPException):
                connection.close()

    def uploads(connection):
        status, text = exchange(connection, "POST", path, picture)
        if status == 201:
            with lock:
                stored.append(urllib.parse.urlparse(json.loads(text)["url"]).path)

    def fetches(connection):
        if not stored:
            return time.sleep(0.05)
        exchange(connection, "GET", stored[hash(time.monotonic()) % len(stored)])

    with slow_syncs([redis], options.delay_ms):
        workers = [threading.Thread(target=work, args=(does,)) for does in [uploads] * 16 + [fetches] * 64]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        text = f"in {SECONDS} s, 300 KB each: uploads {by_outcome(service, 'media_uploads_total')}; fetches {by_outcome(service, 'media_fetches_total')}"
        text += f"; notes dropped {total(service, 'media_background_tasks_dropped_total'):.0f}"
    say("media, 16 concurrent uploads and 64 concurrent fetches", text, service)
    nats.stop()


CASES = {"ingress": ingress, "normalizer": normalizer, "sender": sender, "answers": answers, "lookups": lookups, "media": media}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", default="target/release")
    parser.add_argument("--nats", default="nats-server")
    parser.add_argument("--only", default=",".join(CASES))
    parser.add_argument("--delay-ms", type=int, default=20)
    parser.add_argument("--answer-ms", type=int, default=3000)
    options = parser.parse_args()
    version = subprocess.run([options.nats, "--version"], capture_output=True, text=True).stdout.strip()
    print(f"{version}, {os.cpu_count()} cores, load before {os.getloadavg()[0]:.1f}")
    for name in options.only.split(","):
        with lab.Lab(options.programs) as lab_:
            CASES[name](lab_, options)


if __name__ == "__main__":
    main()
