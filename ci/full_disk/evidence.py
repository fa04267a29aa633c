"""What a failed full-disk check leaves behind, before it changes anything: logs, data folders, and every server's word."""

import json
import re
import shutil
import urllib.error
import urllib.request

REPORT = re.compile(rb"full-\d+-end")


def keep(nats, folder, missing):
    """Keeps everything in `folder`; its `summary.txt` says where on the disks the missing webhooks are."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "missing.txt").write_text("\n".join(sorted(missing, key=number)) + "\n")
    for node in nats.nodes:
        name = node["name"]
        for what, path in (
            ("jsz", "/jsz?accounts=1&streams=1&consumers=1&raft=1&config=1"),
            ("healthz", "/healthz"),
            ("raftz", "/raftz"),
            ("varz", "/varz"),
            ("connz", "/connz?subs=1"),
            ("routez", "/routez"),
        ):
            (folder / f"{name}-{what}.json").write_text(answer(f"http://127.0.0.1:{node['monitor']}{path}"))
        shutil.copy(nats.folder / f"{name}.log", folder)
        copy(nats.disk(node), folder / name)
    lines = [line for node in nats.nodes for line in on_disk(folder / node["name"], missing)]
    lines += [line for node in nats.nodes for line in words(folder, node["name"])]
    (folder / "summary.txt").write_text("\n".join(lines) + "\n")


def copy(disk, folder):
    """The data folder of a server, which may go on changing it."""
    try:
        shutil.copytree(disk, folder, ignore=shutil.ignore_patterns("ballast"), dirs_exist_ok=True)
    except shutil.Error as error:
        print(f"not copied whole: {error}")


def number(name):
    return int(name.split("-")[1])


def answer(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as found:
            return found.read().decode()
    except urllib.error.HTTPError as error:
        return error.read().decode()
    except OSError as error:
        return str(error)


def on_disk(folder, missing):
    """Where the missing ones are on a server's disk, by folder of a stream or of a log of Raft."""
    wanted = {name.encode() for name in missing}
    found = {}
    for file in sorted(folder.rglob("*.blk")):
        names = wanted & set(REPORT.findall(file.read_bytes()))
        found.setdefault(file.parent.parent.name, set()).update(names)
    for place, names in found.items():
        yield f"{folder.name}: files of {place} hold {len(names)} of {len(wanted)}"


def words(folder, name):
    """What a server says of its streams and their readers."""
    try:
        answered = json.loads((folder / f"{name}-jsz.json").read_text())
    except ValueError:
        yield f"{name}: says nothing"
        return
    for account in answered.get("account_details") or []:
        for stream in account.get("stream_detail") or []:
            state, cluster = stream["state"], stream.get("cluster") or {}
            yield (
                f"{name}: {stream['name']} {state['messages']} messages {state['first_seq']} to {state['last_seq']}, "
                f"leader {cluster.get('leader')}, {replicas(cluster)}"
            )
            for one in stream.get("consumer_detail") or []:
                cluster = one.get("cluster") or {}
                yield (
                    f"{name}:   {one['name']} delivered {one['delivered']}, acknowledged {one['ack_floor']}, in flight "
                    f"{one['num_ack_pending']}, pending {one['num_pending']}, waiting {one['num_waiting']}, "
                    f"leader {cluster.get('leader')}, {replicas(cluster)}"
                )


def replicas(cluster):
    return ", ".join(
        f"{one['name']} {'current' if one.get('current') else 'behind'} lag {one.get('lag', 0)}"
        for one in cluster.get("replicas") or []
    )
