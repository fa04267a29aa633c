#!/usr/bin/env python3
"""What a spool costs ingress while NATS is there: webhooks/s and response times with IMCHANNEL_SPOOL_DIR set and without it.

    bench/measure/spool_hot_path.py [--programs target/release] [--nats nats-server] [--rounds 6] [--seconds 4] [--connections 64]

Two ingress processes run beside one NATS server, one with a spool. The channel spools in both configurations. They are loaded in
turns, and which one is first changes from round to round. Use only the ratios: load, server and programs share this machine.
"""

import argparse
import re
import subprocess

import lab


def load(lab_, gateway, options):
    """Returns webhooks/s and the 99th percentile in milliseconds."""
    args = [lab_.programs / "imchannel-bench", "load", "--gateway", f"127.0.0.1:{gateway}", "--password", "p"]
    args += ["--path", "/social/on/whatsapp/infobip/report/measure", "--seconds", options.seconds, "--connections", options.connections]
    done = subprocess.run(list(map(str, args)), capture_output=True, text=True)
    numbers = re.search(r"(\d+) requests/s, p50 ([\d.]+) ms, p99 ([\d.]+) ms", done.stdout + done.stderr)
    if not numbers:
        raise SystemExit(f"no result of the load: {done.stdout}{done.stderr}")
    return float(numbers[1]), float(numbers[3])


def run(lab_, options):
    nats = lab.Nats(lab_, options.nats)
    channels = lab_.folder / "channels.toml"
    channels.write_text('[[channel]]\nid = "measure"\nbsp = "infobip"\ntenant = "measure"\nspool = true\nwebhook = [{ password = "p" }]\n')
    lab_.set_up(nats, channels)
    gateways = {"without": lab.free_port(), "with": lab.free_port()}
    lab_.service("ingress", nats, IMCHANNEL_INGRESS_LISTEN=f"127.0.0.1:{gateways['without']}")
    lab_.service(
        "ingress", nats, IMCHANNEL_INGRESS_LISTEN=f"127.0.0.1:{gateways['with']}", IMCHANNEL_SPOOL_DIR=lab_.folder / "spool"
    )
    rates, times = [], []
    for number in range(options.rounds + 1):
        order = ["without", "with"] if number % 2 else ["with", "without"]
        found = {name: load(lab_, gateways[name], options) for name in order}
        if number == 0:
            continue  # The first round warms up.
        rates.append(found["with"][0] / found["without"][0])
        times.append(found["with"][1] / found["without"][1])
        print("  " + "; ".join(f"{name} a spool {found[name][0]:,.0f}/s, p99 {found[name][1]:.1f} ms" for name in gateways), flush=True)
    print(f"with a spool over without, least / median / most: webhooks/s {lab.spread(rates, '{:.3f}')}; p99 {lab.spread(times, '{:.3f}')}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", default="target/release")
    parser.add_argument("--nats", default="nats-server")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--connections", type=int, default=64)
    options = parser.parse_args()
    print(subprocess.run([options.nats, "--version"], capture_output=True, text=True).stdout.strip())
    with lab.Lab(options.programs) as lab_:
        run(lab_, options)


if __name__ == "__main__":
    main()
