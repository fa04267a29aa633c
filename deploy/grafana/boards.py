"""The panels of the three dashboards. generate.py turns them into JSON; how a panel is built is not known here.

Every normalizer reports gauges of the same streams, so they are joined by `max`, as in deploy/prometheus/alerts.yml. A panel uses a
recording rule of that file where there is one.
"""

from generate import (BSPS, FAULTS, JOBS, OTHERS, OUTCOMES, RULES, STATUSES, STREAMS, Board, bars, heatmap, latency, lines, stat, table,
                      timeline)

RATE = "[$__rate_interval]"
BSP = 'bsp=~"$bsp"'
CHANNEL = 'channel=~"$channel"'
STORED = f'outcome=~"stored|duplicate|spooled",{BSP}'
ADMITTED = f'outcome=~"stored|duplicate|spooled|not_stored|overloaded|not_ready",{BSP}'
REFUSED = f'outcome!~"stored|duplicate|spooled|challenged",{BSP}'
ACCEPTED = f'outcome="accepted",{BSP}'
REPORTS = f'kind="report",{BSP}'


def rate(by, metric, matchers=""):
    return f"sum by ({by}) (rate({metric}{{{matchers}}}{RATE}))"


def total(metric, matchers=""):
    return f"sum(rate({metric}{{{matchers}}}{RATE}))"


def overview():
    board = Board("imchannel-overview", "imchannel overview",
                  "Are webhooks stored, parsed and published, and are messages sent? The other dashboards have the details.")
    board.add(
        stat("Webhooks", "reqps", total("imchannel_ingress_requests_total", STORED), "Webhooks stored per second.", decimals=1),
        stat("Stored", "percentunit", total("imchannel_ingress_requests_total", STORED) + " / " + total("imchannel_ingress_requests_total", ADMITTED),
             "Share of the authenticated webhooks that was stored or spooled. The rest was answered 503, and the BSP retries it. Refused webhooks do not count.",
             0.99, 0.999, falling=True, decimals=2),
        stat("Store, p99", "s", f"histogram_quantile(0.99, sum by (le) (rate(imchannel_ingress_store_seconds_bucket{{{BSP}}}{RATE})))",
             "Time from a webhook's last byte to JetStream's acknowledgement. The shortest deadline of a BSP is 2 s.", 0.5, 2),
        stat("Waiting", "short", 'max(imchannel:consumer_pending:max{stream="WEBHOOKS"})',
             "Stored webhooks that the normalizers have not finished.", 1000, 10000),
        stat("Oldest", "s", 'max(imchannel:consumer_oldest_age_seconds:max{stream="WEBHOOKS"})',
             "Age of the oldest stored webhook that the normalizers have not finished.", 30, 60),
        stat("Sends", "reqps", f"{total('imchannel_sender_results_total', ACCEPTED)} or vector(0)",
             "Messages per second that the BSP accepted.", decimals=1),
        stat("Unknown, 1 h", "short", f'sum(imchannel:results:increase1h{{outcome="unknown",{BSP}}}) or vector(0)',
             "Sends of the last hour whose outcome is unknown: the customer may or may not have the message.", 0.5, 10, decimals=0),
        stat("Dead letters, 1 h", "short", f"sum(imchannel:dead_letters:increase1h{{{BSP}}}) or vector(0)",
             "Items of webhooks of the last hour that could not be parsed.", 0.5, 20, decimals=0),
        width=3, height=4)

    board.row("Webhooks in")
    board.add(
        lines("Stored, by BSP", "reqps", [(rate("bsp", "imchannel_ingress_requests_total", STORED), "{{bsp}}")],
              "Webhooks that were answered 200: stored in NATS, duplicates of stored ones, and spooled ones.", BSPS, stacked=True),
        lines("Refused, by outcome", "reqps",
              [(f"{rate('outcome', 'imchannel_ingress_requests_total', REFUSED)} > 0", "{{outcome}}")],
              "Webhooks that were not stored, without Twilio's normal first calls. not_stored, overloaded and not_ready are answered 503.",
              OUTCOMES, stacked=True),
        lines("Time to store, p99 by BSP", "s", [(f"imchannel:store_seconds:p99_5m{{{BSP}}}", "{{bsp}}")],
              "Time from a webhook's last byte to JetStream's acknowledgement, over 5 minutes. Dashed: the threshold of the ticket.", BSPS, limit=0.5),
        width=8)

    board.add(
        lines("Spooled", "short", [("sum by (instance) (imchannel_ingress_spool_entries)", "{{instance}}")],
              "Webhooks that were answered 200 and wait on the disk of ingress until NATS stores them. Normally 0."),
        lines("Oldest spooled", "s", [("max by (instance) (imchannel_ingress_spool_oldest_age_seconds)", "{{instance}}")],
              "Age of the oldest spooled webhook. Dashed: the threshold of the page.", limit=900),
        width=12)

    board.row("Processing")
    board.add(
        lines("Waiting", "short", [('imchannel:consumer_pending:max{stream=~"WEBHOOKS|EVENTS"}', "{{stream}}")],
              "Messages that are not delivered or not acknowledged yet: WEBHOOKS by the normalizers, EVENTS by the contact center.", STREAMS),
        lines("Oldest waiting", "s", [('imchannel:consumer_oldest_age_seconds:max{stream=~"WEBHOOKS|EVENTS"}', "{{stream}}")],
              "Age of the oldest unacknowledged message. Dashed: the threshold of the page for WEBHOOKS (EVENTS: 300 s).", STREAMS, limit=60),
        lines("Reports, by status", "reqps",
              [('label_replace(' + rate("detail", "imchannel_normalizer_items_total", REPORTS)
                + ', "status", "$1", "detail", "REPORT_STATUS_(.+)")', "{{status}}")],
              "Reports about sent messages that were published as events.", STATUSES, stacked=True),
        width=8)

    board.row("Sends")
    board.add(
        lines("Results", "reqps", [(rate("outcome", "imchannel_sender_results_total", BSP), "{{outcome}}")],
              "Results of commands. Rejected and expired commands were not sent; unknown ones may have been.", OUTCOMES, stacked=True),
        lines("Waiting, by channel", "short", [(f"topk(10, max by (channel) (imchannel_sender_pending_commands{{{CHANNEL}}}))", "{{channel}}")],
              "Commands that wait in the stream, for the ten channels with the most."),
        heatmap("Calls to the BSP", "imchannel_sender_call_seconds", "", "Duration of the calls that send. All BSPs together."),
        width=8)

    board.row("Media")
    board.add(
        lines("Fetches, by outcome", "reqps", [(rate("outcome", "imchannel_media_fetches_total"), "{{outcome}}")],
              "HEAD and GET requests for files.", OUTCOMES, stacked=True),
        lines("Uploads, by outcome", "reqps", [(rate("outcome", "imchannel_media_uploads_total"), "{{outcome}}")],
              "Files that the contact center uploads.", OUTCOMES, stacked=True),
        lines("Traffic of files", "Bps", [(total("imchannel_media_served_bytes_total"), "out"), (total("imchannel_media_uploaded_bytes_total"), "in")],
              "Bytes of files served to BSPs (out) and uploaded by the contact center (in).", OTHERS),
        width=8)

    board.row("Streams and services")
    board.add(
        bars("Streams, fill", "percentunit", [("imchannel:stream_fill:ratio", "{{stream}}")],
             "Fill of each stream, as a share of its limit. Above 70 % processed messages are purged; at 95 % nothing more is stored.", 0.75, 0.9),
        lines("Streams, fill over time", "percentunit", [("imchannel:stream_fill:ratio", "{{stream}}")],
              "The same over time. A sawtooth between 50 and 70 % is normal for WEBHOOKS, EVENTS and COMMANDS. Dashed: the threshold of the ticket.",
              STREAMS, limit=0.75, highest=1),
        lines("Instances up", "short", [("imchannel:instances:count", "{{job}}")],
              "Instances of each service that Prometheus reaches.", JOBS),
        width=8)
    return board


def details():
    board = Board("imchannel-details", "imchannel details",
                  "Everything else that the services count, by service and channel.")
    board.row("Alerts and instances")
    board.add(
        table("Firing", 'ALERTS{alertname=~"Imchannel.+",alertstate="firing"}', "Alerts that fire now. docs/runbook.md says what to do.",
              {"severity": "Severity", "alertname": "Alert", "bsp": "BSP", "channel": "Channel", "stream": "Stream", "job": "Service"}),
        table("Versions", "imchannel_build_info", "The version of each running instance.", {"program": "Program", "version": "Version", "instance": "Instance"}),
        width=6)
    board.add(
        timeline("Connected to NATS", [("min by (job, instance) (imchannel_nats_connected)", "{{job}} {{instance}}")],
                 "Does each instance have a connection to NATS?", [("away", OUTCOMES["unknown"]), ("connected", OUTCOMES["accepted"])]),
        timeline("Sequence gone back", [("max by (stream) (imchannel_nats_sequence_gone_back)", "{{stream}}")],
                 "Streams whose sequence has gone back, as an instance has found. The services store nothing in them until `imchannel streams repair`.",
                 [("ok", OUTCOMES["accepted"]), ("gone back", OUTCOMES["unknown"])]),
        width=6)
    board.add(
        lines("Waiting to be stored", "short",
              [("sum by (job, stream) (imchannel_nats_publishes_pending)", "{{job}} {{stream}}")],
              "Webhooks, events, results and dead letters that wait because their stream acknowledges slowly.", OTHERS),
        lines("Stores in flight, lowest limit", "short",
              [("min by (job, stream) (imchannel_nats_publishes_in_flight_limit)", "{{job}} {{stream}}")],
              "The number of stores that an instance may have in flight. It grows with the load and falls while the stream acknowledges slowly.",
              OTHERS),
        width=12)
    board.add(
        lines("Messages stored in batches", "short",
              [(f"sum by (job, stream, outcome) (rate(imchannel_nats_batch_messages_total{RATE}))", "{{job}} {{stream}} {{outcome}}")],
              "Group commit: messages that are stored together. After `halved`, `refused` and `unknown` they are stored again.", OTHERS),
        lines("Batches", "short",
              [(f"sum by (job, stream, outcome) (rate(imchannel_nats_batches_total{RATE}))", "{{job}} {{stream}} {{outcome}}")],
              "Batches of group commit. A server that syncs every message syncs a batch once.", OTHERS),
        width=12)

    # Other programs have metrics of these names too.
    ours = "and on (job, instance) imchannel_build_info"
    board.row("Processes")
    board.add(
        lines("CPU", "short", [(f"sum by (job, instance) (rate(process_cpu_seconds_total{RATE}) {ours})", "{{job}} {{instance}}")],
              "CPU cores that each instance uses."),
        lines("Memory", "bytes", [(f"sum by (job, instance) (process_resident_memory_bytes {ours})", "{{job}} {{instance}}"),
                                  (f"max(process_virtual_memory_bytes {ours})", "reserved addresses, most")],
              "Resident memory of each instance. Reserved addresses use no memory; the line shows whether they grow without limit."),
        lines("Open files", "percentunit", [(f"max by (job, instance) (process_open_fds / process_max_fds {ours})", "{{job}} {{instance}}")],
              "Open files and connections of each instance, as a share of its limit. At 1 it accepts no more connections.", limit=0.8, highest=1),
        lines("Running for", "s", [(f"min by (job, instance) (time() - process_start_time_seconds {ours})", "{{job}} {{instance}}")],
              "Time since the start of each instance. A drop to 0 is a restart."),
        width=6)

    board.row("Ingress")
    board.add(
        lines("Requests, by outcome", "reqps", [(f"{rate('outcome', 'imchannel_ingress_requests_total', BSP)} > 0", "{{outcome}}")],
              "All requests. challenged is Twilio's normal first call, duplicate a webhook that was already stored.", OUTCOMES),
        lines("Refused, by channel", "reqps",
              [(rate("bsp, channel, cause", "imchannel_ingress_channel_refused_total", f"{BSP},{CHANNEL}"), "{{bsp}} {{channel}} {{cause}}")],
              "Refused webhooks of known channels by cause, including Twilio's normal first calls. other_bsp: the channel belongs to another BSP."),
        lines("Passwords in use", "reqps",
              [(rate("channel, credential", "imchannel_ingress_credential_used_total", CHANNEL), "{{channel}} no. {{credential}}")],
              "Webhooks by the position of their password in the channel's list. A password that stays at 0 can be removed."),
        width=8)
    board.add(
        latency("Time to store", "imchannel_ingress_store_seconds", f"{{{BSP}}}",
                "Time from a webhook's last byte to JetStream's acknowledgement. Dashed: the shortest deadline of a BSP.", limit=2),
        lines("In progress", "short", [("sum by (instance) (imchannel_ingress_requests_in_flight)", "{{instance}}")],
              "Webhooks in progress. Above IMCHANNEL_REQUESTS_MAX (default 4096) ingress answers 503."),
        lines("Memory of bodies", "bytes", [("sum by (instance) (imchannel_ingress_body_memory_bytes)", "{{instance}}")],
              "Memory of bodies. Above IMCHANNEL_BODY_MEMORY (default 64 MiB) ingress answers 503."),
        lines("Channels known", "short", [("max by (instance) (imchannel_ingress_channels)", "{{instance}}")],
              "Channels that each instance has. The instances should agree within a second of a change."),
        width=6)
    board.add(
        lines("Memory of bodies, largest channels", "bytes",
              [(f"topk(10, max by (channel) (imchannel_ingress_channel_body_memory_bytes{{{CHANNEL}}}))", "{{channel}}")],
              "Memory of a channel's bodies on one instance. Above its share (default a quarter) ingress answers the channel's next webhooks 503."),
        lines("Connections", "short", [("sum by (job, instance) (imchannel_ingress_connections)", "{{job}} {{instance}}"),
                                       ("sum by (job, instance) (imchannel_media_connections)", "{{job}} {{instance}}"),
                                       ("sum by (job, instance) (imchannel_timeline_connections)", "{{job}} {{instance}}")],
              "Open connections of the public ports. Above IMCHANNEL_CONNECTIONS_MAX (default 4096) each new one closes the one that was idle for longest."),
        lines("Callers limited", "reqps", [(rate("job, limit", "imchannel_ingress_limited_total"), "{{job}} {{limit}}"),
                                           (rate("job, limit", "imchannel_media_limited_total"), "{{job}} {{limit}}"),
                                           (rate("job, limit", "imchannel_timeline_limited_total"), "{{job}} {{limit}}")],
              "Connections, requests and failed credentials beyond the limit of one address, and idle connections that were closed for new ones."),
        width=8)

    board.add(
        lines("Spooled and drained", "reqps", [(total("imchannel_ingress_spool_spooled_total", BSP), "spooled"),
                                               (total("imchannel_ingress_spool_drained_total"), "drained")],
              "Webhooks written to the spools, and those of them that NATS has stored since.", OTHERS),
        lines("Spool refused", "reqps", [(rate("reason", "imchannel_ingress_spool_refused_total"), "{{reason}}")],
              "Webhooks that a spool did not take, by the reason. They are answered 503."),
        lines("Spool, size", "bytes", [("sum by (instance) (imchannel_ingress_spool_bytes)", "{{instance}} waiting"),
                                       ("sum by (instance) (imchannel_ingress_spool_size_bytes)", "{{instance}} on disk"),
                                       ("max(imchannel_ingress_spool_limit_bytes)", "limit")],
              "Spooled webhooks, and what their folder takes on disk. At the limit (IMCHANNEL_SPOOL_MAX_SIZE) ingress answers 503; 0: no spool."),
        heatmap("Spool, time to write", "imchannel_ingress_spool_sync_seconds", "",
                "Duration of one write with its fsync. One write has all webhooks that came during the write before it."),
        width=6)
    board.add(
        lines("Spool, faults and records aside", "short",
              [("sum by (kind) (increase(imchannel_ingress_spool_faults_total[1h]))", "{{kind}}"),
               ("sum by (reason) (increase(imchannel_ingress_spool_aside_total[1h]))", "{{reason}}")],
              "Errors of the disk of the spool in an hour, and records that could not be read or published."),
        timeline("Spool usable", [("max by (instance) (imchannel_ingress_spool_usable)", "{{instance}}")],
                 "Does the spool of each instance take webhooks? Without a spool it does not.",
                 [("no", OUTCOMES["unknown"]), ("yes", OUTCOMES["accepted"])]),
        lines("Spool folders held", "short", [("sum by (instance) (imchannel_ingress_spool_folders)", "{{instance}}")],
              "Sub-folders that each instance holds: its own, and those of instances that are gone, until they are drained."),
        lines("Age of the channels", "s", [("max by (instance) (imchannel_ingress_registry_age_seconds)", "{{instance}}")],
              "Time since the channels in use were known to be those of NATS. It grows while NATS is away."),
        width=6)

    board.row("Normalizer")
    board.add(
        lines("Customers' messages, by content", "reqps",
              [(rate("detail", "imchannel_normalizer_items_total", f'kind="message",{BSP}'), "{{detail}}")],
              "Customers' messages that were published as events. An unsupported message is published as JSON.", stacked=True),
        lines("Other items", "reqps",
              [(rate("kind, detail", "imchannel_normalizer_items_total", f'kind=~"account|customer|ignored|rejected",{BSP}'), "{{kind}} {{detail}}")],
              "Events about the account and about customers, items that imchannel ignores, and items that became dead letters.", stacked=True),
        lines("Unknown and damaged values in 1 h", "short",
              [(f"imchannel:unrecognized:increase1h{{{BSP}}}", "{{bsp}} {{field}}"),
               (f"sum by (bsp, field) ((imchannel_normalizer_invalid_utf8_total{{{BSP}}} unless imchannel_normalizer_invalid_utf8_total offset 1h)"
                f" or increase(imchannel_normalizer_invalid_utf8_total{{{BSP}}}[1h])) > 0", "{{bsp}} {{field}} damaged")],
              "Values that this version does not know, and texts in which bytes that are not UTF-8 were replaced, by field. Their events "
              "were published anyway."),
        lines("Dead letters in 1 h", "short",
              [(f"imchannel:dead_letters:increase1h{{{BSP}}}", "{{bsp}} {{reason}}"),
               ("imchannel:dead_letters_rejected:increase10m", "{{channel}} no room")],
              "Items of webhooks that could not be parsed, by reason; and refused attempts to store a dead letter, by channel, for lack of room."),
        width=6)
    board.add(
        lines("Unread members in 1 h", "short",
              [(f"topk(20, sum by (bsp, path) ((imchannel_normalizer_unread_total{{{BSP}}} unless imchannel_normalizer_unread_total offset 1h)"
                f" or increase(imchannel_normalizer_unread_total{{{BSP}}}[1h])) > 0)", "{{bsp}} {{path}}")],
              "Data of BSPs for which events have no field, by path: the 20 most frequent. The events carry it in unread_json. A new path "
              "means that the BSP has added something."),
        width=24)
    board.add(
        latency("From arrival to event", "imchannel_normalizer_webhook_age_seconds", "",
                "Time from a webhook's arrival at ingress to the storage of its last event."),
        heatmap("From arrival to event", "imchannel_normalizer_webhook_age_seconds", "", "The same, as a distribution."),
        lines("Work", "reqps", [(total("imchannel_worker_processed_total"), "done"), (total("imchannel_worker_retries_total"), "retried"),
                                (f'{total("imchannel_worker_panics_total")} + ({total("imchannel_sender_panics_total")} or vector(0))', "panicked")],
              "Webhooks processed, webhooks returned for a later attempt, and handlers of webhooks and commands that panicked.", OTHERS),
        lines("In flight and paused", "short", [("sum(imchannel_worker_in_flight_messages)", "held"), ("sum(imchannel_worker_paused)", "paused")],
              "Webhooks in flight, and workers that are paused because a stream is full.", OTHERS),
        width=6)

    board.row("Sender")
    board.add(
        lines("Calls, by outcome", "reqps", [(rate("outcome", "imchannel_sender_calls_total", f"{BSP},{CHANNEL}"), "{{outcome}}")],
              "Calls that send. After unclear, timed_out and broken the message is looked up in the BSP's message log.", OUTCOMES),
        lines("Failed calls", "percentunit", [(f"imchannel:calls_failed:ratio5m{{{BSP}}}", "{{bsp}}")],
              "Share of the calls that failed because of the account, or of the network path to it. Dashed: the threshold of the page.",
              BSPS, limit=0.2, highest=1),
        lines("Lookups, by outcome", "reqps", [(rate("outcome", "imchannel_sender_lookups_total", f"{BSP},{CHANNEL}"), "{{outcome}}")],
              "Queries to the BSP's message log about messages of unknown outcome.", OUTCOMES),
        lines("Results, by content", "reqps", [(rate("content, outcome", "imchannel_sender_results_total", BSP), "{{content}} {{outcome}}")],
              "Results of commands, by content.", stacked=True),
        width=6)
    board.add(
        latency("Duration of calls", "imchannel_sender_call_seconds", "",
                "Duration of the calls that send. Timeout: IMCHANNEL_SEND_TIMEOUT (default 10 s).", limit=10),
        latency("From storage to acceptance", "imchannel_sender_time_to_accept_seconds", "",
                "Time from a command's storage to the BSP's acceptance, including all waiting. More than an hour is shown as an hour."),
        lines("In progress, by channel", "short", [(f"max by (channel) (imchannel_sender_in_flight_commands{{{CHANNEL}}})", "{{channel}}")],
              "Commands that are being sent or looked up."),
        lines("Oldest waiting, by channel", "s", [(f"max by (channel) (imchannel_sender_oldest_pending_age_seconds{{{CHANNEL}}})", "{{channel}}")],
              "Age of the oldest waiting command. Dashed: the threshold of the ticket. Commands expire after 23 h at the latest.", limit=3600),
        width=6)
    board.add(
        timeline("Lanes", [(f"max by (channel) (imchannel_sender_lane_halted{{{CHANNEL}}})", "{{channel}}")],
                 "Does a channel's lane send? `imchannel lanes list` says why it does not.",
                 [("sends", OUTCOMES["accepted"]), ("halted", OUTCOMES["unknown"])]),
        lines("Lanes, by sender", "short", [("max by (instance) (imchannel_sender_lanes)", "{{instance}}")],
              "Lanes that each sender owns. Senders share the lanes evenly.", stacked=True),
        lines("Dead letters, duplicates, withheld calls in 1 h", "short",
              [("sum(increase(imchannel_sender_dead_letters_total[1h]))", "dead letters"),
               ("sum(increase(imchannel_sender_duplicate_commands_total[1h]))", "published twice"),
               ("sum(increase(imchannel_sender_aborted_calls_total[1h]))", "withheld")],
              "Commands that became dead letters; commands that were published twice and sent once; "
              "and calls that a sender did not make because it was suspended or had lost its lane.",
              OTHERS),
        width=8)
    board.add(
        lines("Results, by channel", "reqps",
              [(rate("channel, outcome", "imchannel_sender_results_total", f"{BSP},{CHANNEL}"), "{{channel}} {{outcome}}")],
              "Results of commands, by channel. unknown stands for every channel that is not stored."),
        lines("Calls, by channel", "reqps",
              [(rate("channel, outcome", "imchannel_sender_calls_total", f"{BSP},{CHANNEL}"), "{{channel}} {{outcome}}")],
              "Calls that send, by channel and outcome."),
        width=12)
    board.add(
        lines("Behind earlier ones, by channel", "short", [(f"max by (channel) (imchannel_sender_recipient_queue_commands{{{CHANNEL}}})", "{{channel}}")],
              "Commands that wait for an earlier one to the same recipient. At most 500 wait for one recipient."),
        lines("Recipient queues in 1 h", "short",
              [("sum(increase(imchannel_sender_overtaken_commands_total[1h]))", "overtaken"),
               ("sum(increase(imchannel_sender_recipient_queue_full_total[1h]))", "queue full")],
              "Commands of unknown outcome that the next command to their recipient overtook, "
              "and commands refused because too many waited for their recipient.",
              OTHERS),
        width=12)

    board.add(
        lines("Ledger, in flight", "short",
              [("max(imchannel_sender_ledger_in_flight)", "in flight"), ("min(imchannel_sender_ledger_limit)", "limit"),
               ("sum(increase(imchannel_sender_ledger_timeouts_total[1h]))", "timeouts in 1 h")],
              "Ledger writes and reads in flight in the busiest sender, the lowest limit of a sender, and timeouts. "
              "The limit falls while the ledger answers slowly.",
              OTHERS),
        latency("Ledger, time to acknowledge", "imchannel_sender_ledger_seconds", "",
                "Time until the ledger acknowledges a write or answers a read."),
        width=12)

    board.row("Media")
    board.add(
        lines("Fetches", "reqps", [(rate("kind, method, outcome", "imchannel_media_fetches_total"), "{{kind}} {{method}} {{outcome}}")],
              "Requests for files, by kind, method and outcome. none is a malformed URL."),
        lines("Uploads", "reqps", [(rate("kind, outcome", "imchannel_media_uploads_total"), "{{kind}} {{outcome}}")],
              "Uploads, by kind and outcome."),
        lines("Upload tokens", "reqps", [(rate("tenant, token", "imchannel_media_upload_token_used_total"), "{{tenant}} {{token}}")],
              "Uploads that began, by tenant and token: general is the token of all tenants; first and second are the lines of the tenant's file. "
              "A token that is no longer used can be removed."),
        width=8)
    board.add(
        lines("Lost in 1 h", "short", [("sum(increase(imchannel_media_expired_without_fetch_total[1h]))", "expired unfetched"),
                                       ("sum(increase(imchannel_media_background_tasks_dropped_total[1h]))", "dropped")],
              "Files that expired before the BSP fetched them although their message was sent, and dropped events or expiry times of fetches.", OTHERS),
        timeline("Redis", [("min by (instance) (imchannel_media_redis_connected)", "{{instance}}")],
                 "Does Redis answer each instance of media?", [("away", OUTCOMES["unknown"]), ("answers", OUTCOMES["accepted"])]),
        width=12)

    board.row("Bus")
    board.add(
        lines("Not delivered yet", "short", [("max by (stream, durable) (imchannel_consumer_pending_messages)", "{{stream}} {{durable}}")],
              "Messages that NATS has not delivered to the consumer."),
        lines("Not acknowledged yet", "short", [("max by (stream, durable) (imchannel_consumer_unacknowledged_messages)", "{{stream}} {{durable}}")],
              "Messages that NATS has delivered and the consumer has not acknowledged."),
        lines("Size of streams", "bytes", [("max by (stream) (imchannel_stream_size_bytes)", "{{stream}}")],
              "Bytes that each stream holds.", STREAMS),
        lines("Limits of streams", "bytes", [("max by (stream) (imchannel_stream_limit_bytes)", "{{stream}}")],
              "Limit of each stream in bytes.", STREAMS),
        width=6)
    board.add(
        lines("Purged to make room", "short",
              [("sum(increase(imchannel_ingress_purged_messages_total[1h]))", "ingress"),
               ("sum(increase(imchannel_normalizer_purged_messages_total[1h]))", "normalizer"),
               ("sum(increase(imchannel_sender_purged_messages_total[1h]))", "sender")],
              "Processed messages that were purged in the last hour, by service.", JOBS),
        lines("Age of the oldest, by consumer", "s",
              [("max by (stream, durable) (imchannel_consumer_oldest_unprocessed_age_seconds)", "{{stream}} {{durable}}")],
              "Age of the oldest message that a consumer has not acknowledged, as reported by any instance, connected or not."),
        width=12)
    return board


def messages():
    board = Board("imchannel-timeline", "imchannel timeline",
                  "What is missing in the lives of messages, how long a message takes to its customer, and how far the timeline has read.")
    overdue = "max by (channel, rule) (imchannel_timeline_problems{" + CHANNEL + "})"
    delivery = "imchannel_timeline_delivery_seconds"
    board.add(
        stat("Problems", "short", f"sum({overdue}) or vector(0)",
             "Messages in whose life something is missing. An unsolved problem stays one for as long as its rows are kept.", decimals=0),
        stat("New in 1 h", "short", f"sum(imchannel:timeline_problems:new1h{{{CHANNEL}}} > 0) or vector(0)",
             "Problems that there were not an hour ago.", 5, 50, decimals=0),
        stat("Delivery, p50", "s", f"histogram_quantile(0.5, sum by (le) (rate({delivery}_bucket{{{CHANNEL}}}[1h])))",
             "Time from a command to the report that its message was delivered, over an hour."),
        stat("Behind", "s", "max(time() - imchannel_timeline_read_until_seconds)",
             "Age of what the timeline has read last, of the stream that it has read the least far.", 60, 300),
        stat("Missed, 1 h", "short", "sum(imchannel:timeline_missed:increase1h) or vector(0)",
             "Messages that the streams no longer held when the timeline came to them.", 0.5, 1000, decimals=0),
        stat("Not readable", "short", "max(imchannel_timeline_unreadable_parts) or vector(0)",
             "Days and other parts of the timeline's store that answers lack.", 0.5, 1000, decimals=0),
        width=4, height=4)

    board.row("Messages")
    board.add(
        lines("Problems, by rule", "short", [(f"max by (rule) (sum by (rule, instance) (imchannel_timeline_problems{{{CHANNEL}}}))", "{{rule}}")],
              "no_report: accepted, and no report. not_fetched: no client has fetched the file. no_result and no_bulk_result (campaigns): the command waits. webhook_waiting and event_waiting: "
              "stored, and not read by the normalizer or the back end.", RULES),
        lines("New problems in 1 h, by channel", "short", [(f"imchannel:timeline_problems:new1h{{{CHANNEL}}} > 0", "{{channel}} {{rule}}")],
              "Problems that there were not an hour ago."),
        lines("Time to delivery, p90 by channel", "s",
              [(f"histogram_quantile(0.9, sum by (channel, le) (rate({delivery}_bucket{{{CHANNEL}}}[15m])))", "{{channel}}")],
              "Time from a command to the report that its message was delivered, over 15 minutes. A phone that is switched off counts with its whole time."),
        width=8)
    board.add(
        latency("Time to delivery", delivery, f"{{{CHANNEL}}}", "Time from a command to the report that its message was delivered."),
        heatmap("Time to delivery, distribution", delivery, f"{{{CHANNEL}}}", "How many messages took how long to their customer."),
        width=12)

    board.row("Timeline")
    board.add(
        lines("Behind, messages", "short", [("max by (stream) (imchannel_timeline_behind_messages)", "{{stream}}")],
              "Messages of each stream that are not stored in the timeline yet.", STREAMS),
        lines("Behind, time", "s", [("max by (stream) (time() - imchannel_timeline_read_until_seconds)", "{{stream}}")],
              "Age of what the timeline has read last of each stream. Dashed: the threshold of the ticket.", STREAMS, limit=300),
        lines("Rows", "wps", [(rate("kind", "imchannel_timeline_rows_total"), "{{kind}}")], "Rows stored per second, by what happened.", stacked=True),
        width=8)
    board.add(
        lines("Size of the store", "bytes", [("max by (instance) (imchannel_timeline_store_bytes)", "{{instance}}")],
              "Bytes of the store. It grows until the first rows are older than IMCHANNEL_TIMELINE_RETENTION."),
        lines("Failures of the store", "short", [("sum by (fault) (increase(imchannel_timeline_store_failures_total[1h]))", "{{fault}}")],
              "Calls of the store that failed in the last hour, by fault.", FAULTS),
        lines("Missed in 1 h", "short", [("imchannel:timeline_missed:increase1h", "{{stream}}")],
              "Messages that a stream no longer held when the timeline came to them.", STREAMS),
        width=8)
    return board
