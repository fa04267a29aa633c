"""What is on the two boards. generate.py makes JSON of it; nothing here knows how a panel is built.

Gauges that every normalizer reports of the same stream are joined by `max`, as in deploy/prometheus/alerts.yml, whose
recording rules are used wherever there is one.
"""

from generate import (BSPS, JOBS, OTHERS, OUTCOMES, STATUSES, STREAMS, Board, bars, heatmap, latency, lines, stat, table,
                      timeline)

RATE = "[$__rate_interval]"
BSP = 'bsp=~"$bsp"'
CHANNEL = 'channel=~"$channel"'
TAKEN = f'outcome=~"stored|duplicate",{BSP}'
ADMITTED = f'outcome=~"stored|duplicate|not_stored|overloaded|not_ready",{BSP}'
NOT_TAKEN = f'outcome!~"stored|duplicate|challenged",{BSP}'
ACCEPTED = f'outcome="accepted",{BSP}'
REPORTS = f'kind="report",{BSP}'


def rate(by, metric, matchers=""):
    return f"sum by ({by}) (rate({metric}{{{matchers}}}{RATE}))"


def total(metric, matchers=""):
    return f"sum(rate({metric}{{{matchers}}}{RATE}))"


def overview():
    board = Board("imchannel-overview", "imchannel overview",
                  "Whether webhooks are stored, understood and passed on, and messages sent. Details are on the other board.")
    board.add(
        stat("Webhooks", "reqps", total("imchannel_ingress_requests_total", TAKEN), "Webhooks stored a second.", decimals=1),
        stat("Stored", "percentunit", total("imchannel_ingress_requests_total", TAKEN) + " / " + total("imchannel_ingress_requests_total", ADMITTED),
             "Share of the admitted webhooks that was stored. The rest was answered 503, and the BSP repeats it. Refused ones do not count.",
             0.99, 0.999, falling=True, decimals=2),
        stat("Store, p99", "s", f"histogram_quantile(0.99, sum by (le) (rate(imchannel_ingress_store_seconds_bucket{{{BSP}}}{RATE})))",
             "From a webhook's last byte to the stored acknowledgement. The shortest deadline is 2 s.", 0.5, 2),
        stat("Waiting", "short", 'max(imchannel:consumer_pending:max{stream="WEBHOOKS"})',
             "Stored webhooks that the normalizers have not finished.", 1000, 10000),
        stat("Oldest", "s", 'max(imchannel:consumer_oldest_age_seconds:max{stream="WEBHOOKS"})',
             "Age of the oldest stored webhook that the normalizers have not finished.", 30, 60),
        stat("Sends", "reqps", f"{total('imchannel_sender_results_total', ACCEPTED)} or vector(0)",
             "Messages a second that the BSP has accepted.", decimals=1),
        stat("Unknown, 1 h", "short", f'sum(imchannel:results:increase1h{{outcome="unknown",{BSP}}}) or vector(0)',
             "Sends of the last hour of which nobody can say whether the customer has the message.", 0.5, 10, decimals=0),
        stat("Dead letters, 1 h", "short", f"sum(imchannel:dead_letters:increase1h{{{BSP}}}) or vector(0)",
             "Items of webhooks of the last hour that could not be understood.", 0.5, 20, decimals=0),
        width=3, height=4)

    board.row("Webhooks in")
    board.add(
        lines("Stored, by BSP", "reqps", [(rate("bsp", "imchannel_ingress_requests_total", TAKEN), "{{bsp}}")],
              "Webhooks that were stored and answered 200, with repeats of what had been stored before.", BSPS, stacked=True),
        lines("Not taken, by reason", "reqps",
              [(f"{rate('outcome', 'imchannel_ingress_requests_total', NOT_TAKEN)} > 0", "{{outcome}}")],
              "Webhooks that were not taken, without Twilio's normal first call. not_stored, overloaded and not_ready are answered 503.",
              OUTCOMES, stacked=True),
        lines("Time to store, p99 by BSP", "s", [(f"imchannel:store_seconds:p99_5m{{{BSP}}}", "{{bsp}}")],
              "From a webhook's last byte to the stored acknowledgement, over 5 minutes. Dashed: where the ticket is written.", BSPS, limit=0.5),
        width=8)

    board.row("Processing")
    board.add(
        lines("Waiting", "short", [('imchannel:consumer_pending:max{stream=~"WEBHOOKS|EVENTS"}', "{{stream}}")],
              "Messages that were not given out or not acknowledged yet: WEBHOOKS by the normalizers, EVENTS by the contact centre.", STREAMS),
        lines("Oldest waiting", "s", [('imchannel:consumer_oldest_age_seconds:max{stream=~"WEBHOOKS|EVENTS"}', "{{stream}}")],
              "Age of the oldest message that is not acknowledged. Dashed: where somebody is paged for WEBHOOKS (EVENTS: 300 s).", STREAMS, limit=60),
        lines("Reports, by status", "reqps",
              [('label_replace(' + rate("detail", "imchannel_normalizer_items_total", REPORTS)
                + ', "status", "$1", "detail", "REPORT_STATUS_(.+)")', "{{status}}")],
              "Reports about sent messages that were published as events.", STATUSES, stacked=True),
        width=8)

    board.row("Sends")
    board.add(
        lines("Results", "reqps", [(rate("outcome", "imchannel_sender_results_total", BSP), "{{outcome}}")],
              "What became of commands. Rejected and expired ones were not sent; of unknown ones nobody can say.", OUTCOMES, stacked=True),
        lines("Waiting, by channel", "short", [(f"topk(10, max by (channel) (imchannel_sender_pending_commands{{{CHANNEL}}}))", "{{channel}}")],
              "Commands that wait in the stream, of the ten channels where most do."),
        heatmap("Calls to the BSP", "imchannel_sender_call_seconds", "", "How long the calls that send take. All BSPs together."),
        width=8)

    board.row("Media")
    board.add(
        lines("Fetches, by outcome", "reqps", [(rate("outcome", "imchannel_media_fetches_total"), "{{outcome}}")],
              "HEAD and GET requests for files.", OUTCOMES, stacked=True),
        lines("Uploads, by outcome", "reqps", [(rate("outcome", "imchannel_media_uploads_total"), "{{outcome}}")],
              "Files that the contact centre brings.", OUTCOMES, stacked=True),
        lines("Traffic of files", "Bps", [(total("imchannel_media_served_bytes_total"), "out"), (total("imchannel_media_uploaded_bytes_total"), "in")],
              "Bytes of files served to BSPs (out) and taken from the contact centre (in).", OTHERS),
        width=8)

    board.row("Streams and services")
    board.add(
        bars("Streams, fill", "percentunit", [("imchannel:stream_fill:ratio", "{{stream}}")],
             "Share of its bytes that each stream holds. Above 70 % processed messages are purged; at 95 % nothing more is stored.", 0.75, 0.9),
        lines("Streams, fill over time", "percentunit", [("imchannel:stream_fill:ratio", "{{stream}}")],
              "The same over time. A saw between 50 and 70 % is normal for WEBHOOKS, EVENTS and COMMANDS. Dashed: where the ticket is written.",
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
        table("Firing", 'ALERTS{alertname=~"Imchannel.+",alertstate="firing"}', "Alerts that fire now. What to do: docs/runbook.md.",
              {"severity": "Severity", "alertname": "Alert", "bsp": "BSP", "channel": "Channel", "stream": "Stream", "job": "Service"}),
        table("Versions", "imchannel_build_info", "What runs.", {"program": "Program", "version": "Version", "instance": "Instance"}),
        width=6)
    board.add(
        timeline("Connected to NATS", [("min by (job, instance) (imchannel_nats_connected)", "{{job}} {{instance}}")],
                 "Whether each instance has a connection to NATS.", [("away", OUTCOMES["unknown"]), ("connected", OUTCOMES["accepted"])]),
        timeline("Sequence gone back", [("max by (stream) (imchannel_nats_sequence_gone_back)", "{{stream}}")],
                 "Streams that NATS has set back, as an instance has found. They take nothing until `imchannel streams repair`.",
                 [("well", OUTCOMES["accepted"]), ("gone back", OUTCOMES["unknown"])]),
        width=6)
    board.add(
        lines("Waiting to be stored", "short",
              [("sum by (job, stream) (imchannel_nats_publishes_pending)", "{{job}} {{stream}}")],
              "Messages that wait because their stream acknowledges slowly: webhooks, events, results and dead letters.", OTHERS),
        lines("Stores in flight, lowest limit", "short",
              [("min by (job, stream) (imchannel_nats_publishes_in_flight_limit)", "{{job}} {{stream}}")],
              "How many stores an instance may have in flight. It grows with the load and falls while the stream acknowledges slowly.",
              OTHERS),
        width=12)

    # Other programs have metrics of these names too.
    ours = "and on (job, instance) imchannel_build_info"
    board.row("Processes")
    board.add(
        lines("Processor", "short", [(f"sum by (job, instance) (rate(process_cpu_seconds_total{RATE}) {ours})", "{{job}} {{instance}}")],
              "Processors that each instance keeps busy."),
        lines("Memory", "bytes", [(f"sum by (job, instance) (process_resident_memory_bytes {ours})", "{{job}} {{instance}}"),
                                  (f"max(process_virtual_memory_bytes {ours})", "reserved addresses, most")],
              "Memory that each instance holds. Reserved addresses cost nothing, and show whether they grow without end."),
        lines("Open files", "percentunit", [(f"max by (job, instance) (process_open_fds / process_max_fds {ours})", "{{job}} {{instance}}")],
              "Files and connections of each instance as a share of what it may have open. At 1 nothing more is accepted.", limit=0.8, highest=1),
        lines("Running for", "s", [(f"min by (job, instance) (time() - process_start_time_seconds {ours})", "{{job}} {{instance}}")],
              "Time since each instance was started. A fall to 0 is a restart."),
        width=6)

    board.row("Ingress")
    board.add(
        lines("Everything, by outcome", "reqps", [(f"{rate('outcome', 'imchannel_ingress_requests_total', BSP)} > 0", "{{outcome}}")],
              "All requests. challenged is Twilio's normal first call, duplicate a webhook that had been stored before.", OUTCOMES),
        lines("Not taken, by channel", "reqps",
              [(rate("bsp, channel, cause", "imchannel_ingress_channel_refused_total", f"{BSP},{CHANNEL}"), "{{bsp}} {{channel}} {{cause}}")],
              "Refused webhooks of known channels by cause, with Twilio's normal first calls. other_bsp: the channel is another BSP's."),
        lines("Passwords in use", "reqps",
              [(rate("channel, credential", "imchannel_ingress_credential_used_total", CHANNEL), "{{channel}} no. {{credential}}")],
              "Webhooks by the password that they came with, by its place in the channel's list. One that rests at 0 can be taken out."),
        width=8)
    board.add(
        latency("Time to store", "imchannel_ingress_store_seconds", f"{{{BSP}}}",
                "From a webhook's last byte to the stored acknowledgement. Dashed: the shortest deadline.", limit=2),
        lines("In progress", "short", [("sum by (instance) (imchannel_ingress_requests_in_flight)", "{{instance}}")],
              "Webhooks in progress. At IMCHANNEL_REQUESTS_MAX, 4096 unless set, more are answered 503."),
        lines("Memory of bodies", "bytes", [("sum by (instance) (imchannel_ingress_body_memory_bytes)", "{{instance}}")],
              "Bytes that bodies hold. At IMCHANNEL_BODY_MEMORY, 64 MiB unless set, more are answered 503."),
        lines("Channels known", "short", [("max by (instance) (imchannel_ingress_channels)", "{{instance}}")],
              "Channels that each instance knows. They should agree within a second of a change."),
        width=6)
    board.add(
        lines("Memory of bodies, largest channels", "bytes",
              [(f"topk(10, max by (channel) (imchannel_ingress_channel_body_memory_bytes{{{CHANNEL}}}))", "{{channel}}")],
              "Bytes that a channel's bodies hold on one instance. At its share, a quarter of all unless set, its next ones are answered 503."),
        lines("Connections", "short", [("sum by (job, instance) (imchannel_ingress_connections)", "{{job}} {{instance}}"),
                                       ("sum by (job, instance) (imchannel_media_connections)", "{{job}} {{instance}}")],
              "Open connections of the public ports. At IMCHANNEL_CONNECTIONS_MAX, 4096 unless set, the one idle for longest is closed for the next."),
        lines("Callers limited", "reqps", [(rate("job, limit", "imchannel_ingress_limited_total"), "{{job}} {{limit}}"),
                                           (rate("job, limit", "imchannel_media_limited_total"), "{{job}} {{limit}}")],
              "Connections, requests and failed credentials that were more than one address may have, and idle connections that were closed for others."),
        width=8)

    board.row("Normalizer")
    board.add(
        lines("Customers' messages, by content", "reqps",
              [(rate("detail", "imchannel_normalizer_items_total", f'kind="message",{BSP}'), "{{detail}}")],
              "Messages that customers wrote, published as events. unsupported is passed on as JSON.", stacked=True),
        lines("Other items", "reqps",
              [(rate("kind, detail", "imchannel_normalizer_items_total", f'kind=~"account|customer|ignored|rejected",{BSP}'), "{{kind}} {{detail}}")],
              "Events about the account and about customers, items that mean nothing to us, and items that became dead letters.", stacked=True),
        lines("Unknown and damaged values in 1 h", "short",
              [(f"imchannel:unrecognized:increase1h{{{BSP}}}", "{{bsp}} {{field}}"),
               (f"sum by (bsp, field) ((imchannel_normalizer_invalid_utf8_total{{{BSP}}} unless imchannel_normalizer_invalid_utf8_total offset 1h)"
                f" or increase(imchannel_normalizer_invalid_utf8_total{{{BSP}}}[1h])) > 0", "{{bsp}} {{field}} damaged")],
              "Values that this version does not know, and texts in which bytes that are not UTF-8 were replaced, by field. Their events "
              "went out all the same."),
        lines("Dead letters in 1 h", "short",
              [(f"imchannel:dead_letters:increase1h{{{BSP}}}", "{{bsp}} {{reason}}"),
               ("imchannel:dead_letters_rejected:increase10m", "{{channel}} no room")],
              "Items of webhooks that could not be understood, by reason; and attempts to store a dead letter that found no room, by channel."),
        width=6)
    board.add(
        lines("Unread members in 1 h", "short",
              [(f"topk(20, sum by (bsp, path) ((imchannel_normalizer_unread_total{{{BSP}}} unless imchannel_normalizer_unread_total offset 1h)"
                f" or increase(imchannel_normalizer_unread_total{{{BSP}}}[1h])) > 0)", "{{bsp}} {{path}}")],
              "What BSPs say that no field of an event has, by its path: the 20 most frequent. The events carry it in unread_json. A path "
              "that was not there before is something new of the BSP's."),
        width=24)
    board.add(
        latency("From arrival to event", "imchannel_normalizer_webhook_age_seconds", "",
                "From a webhook's arrival at ingress to the storage of its last event."),
        heatmap("From arrival to event", "imchannel_normalizer_webhook_age_seconds", "", "The same, all of it."),
        lines("Work", "reqps", [(total("imchannel_worker_processed_total"), "done"), (total("imchannel_worker_retries_total"), "retried"),
                                (f'{total("imchannel_worker_panics_total")} + ({total("imchannel_sender_panics_total")} or vector(0))', "panicked")],
              "Webhooks finished, given back for a later attempt, and handlers of webhooks and commands that panicked.", OTHERS),
        lines("Held and paused", "short", [("sum(imchannel_worker_in_flight_messages)", "held"), ("sum(imchannel_worker_paused)", "paused")],
              "Webhooks being worked on, and parts of workers that are paused because a stream is full.", OTHERS),
        width=6)

    board.row("Sender")
    board.add(
        lines("Calls, by outcome", "reqps", [(rate("outcome", "imchannel_sender_calls_total", f"{BSP},{CHANNEL}"), "{{outcome}}")],
              "Calls that send. unclear, timed_out and broken ones are looked up in the BSP's log.", OUTCOMES),
        lines("Failed calls", "percentunit", [(f"imchannel:calls_failed:ratio5m{{{BSP}}}", "{{bsp}}")],
              "Share of the calls after which the account, or the way to it, looks unwell. Dashed: where somebody is paged.",
              BSPS, limit=0.2, highest=1),
        lines("Look-ups, by outcome", "reqps", [(rate("outcome", "imchannel_sender_lookups_total", f"{BSP},{CHANNEL}"), "{{outcome}}")],
              "Questions to the BSP's log about messages whose outcome is not known.", OUTCOMES),
        lines("Results, by content", "reqps", [(rate("content, outcome", "imchannel_sender_results_total", BSP), "{{content}} {{outcome}}")],
              "What became of commands, by what they contained.", stacked=True),
        width=6)
    board.add(
        latency("Duration of calls", "imchannel_sender_call_seconds", "",
                "How long calls that send take. Time-out: IMCHANNEL_SEND_TIMEOUT, 10 s unless set.", limit=10),
        latency("From storage to acceptance", "imchannel_sender_time_to_accept_seconds", "",
                "From a command's storage to the BSP's acceptance, with all waiting. More than an hour is shown as an hour."),
        lines("In progress, by channel", "short", [(f"max by (channel) (imchannel_sender_in_flight_commands{{{CHANNEL}}})", "{{channel}}")],
              "Commands that are being sent or looked up."),
        lines("Oldest waiting, by channel", "s", [(f"max by (channel) (imchannel_sender_oldest_pending_age_seconds{{{CHANNEL}}})", "{{channel}}")],
              "Age of the oldest command that waits. Dashed: where the ticket is written. Commands expire after 23 h at the latest.", limit=3600),
        width=6)
    board.add(
        timeline("Lanes", [(f"max by (channel) (imchannel_sender_lane_halted{{{CHANNEL}}})", "{{channel}}")],
                 "Whether a channel's lane sends. `imchannel lanes list` says why it does not.",
                 [("sends", OUTCOMES["accepted"]), ("halted", OUTCOMES["unknown"])]),
        lines("Lanes, by sender", "short", [("max by (instance) (imchannel_sender_lanes)", "{{instance}}")],
              "Channels that each sender works. They divide them evenly.", stacked=True),
        lines("Odd ones in 1 h", "short",
              [("sum(increase(imchannel_sender_dead_letters_total[1h]))", "dead letters"),
               ("sum(increase(imchannel_sender_duplicate_commands_total[1h]))", "published twice"),
               ("sum(increase(imchannel_sender_aborted_calls_total[1h]))", "withheld")],
              "Commands that became dead letters, that were published twice and sent once, "
              "and calls withheld because the process had slept or lost its lane.",
              OTHERS),
        width=8)
    board.add(
        lines("Results, by channel", "reqps",
              [(rate("channel, outcome", "imchannel_sender_results_total", f"{BSP},{CHANNEL}"), "{{channel}} {{outcome}}")],
              "What became of commands, by channel. unknown stands for every channel that is not stored."),
        lines("Calls, by channel", "reqps",
              [(rate("channel, outcome", "imchannel_sender_calls_total", f"{BSP},{CHANNEL}"), "{{channel}} {{outcome}}")],
              "Calls that send, by channel and what they ended with."),
        width=12)
    board.add(
        lines("Behind earlier ones, by channel", "short", [(f"max by (channel) (imchannel_sender_recipient_queue_commands{{{CHANNEL}}})", "{{channel}}")],
              "Commands that wait for an earlier one to the same recipient. 500 of one recipient may wait."),
        lines("Recipients in 1 h", "short",
              [("sum(increase(imchannel_sender_overtaken_commands_total[1h]))", "overtaken"),
               ("sum(increase(imchannel_sender_recipient_queue_full_total[1h]))", "queue full")],
              "Commands of unknown outcome that the next one to their recipient was let pass, "
              "and commands refused because too many waited for their recipient.",
              OTHERS),
        width=12)

    board.add(
        lines("Ledger, under way", "short",
              [("max(imchannel_sender_ledger_in_flight)", "in flight"), ("min(imchannel_sender_ledger_limit)", "limit"),
               ("sum(increase(imchannel_sender_ledger_timeouts_total[1h]))", "timeouts in 1 h")],
              "Writes and reads of the ledger under way in the busiest sender, the lowest limit of a sender, and those that were not answered "
              "in time. The limit falls while the ledger answers slowly.",
              OTHERS),
        latency("Ledger, time to acknowledge", "imchannel_sender_ledger_seconds", "",
                "How long the ledger takes to acknowledge a write or answer a read."),
        width=12)

    board.row("Media")
    board.add(
        lines("Fetches", "reqps", [(rate("kind, method, outcome", "imchannel_media_fetches_total"), "{{kind}} {{method}} {{outcome}}")],
              "Requests for files, by kind, method and outcome. none is a malformed URL."),
        lines("Uploads", "reqps", [(rate("kind, outcome", "imchannel_media_uploads_total"), "{{kind}} {{outcome}}")],
              "Uploads, by kind and outcome."),
        lines("Upload tokens", "reqps", [(rate("tenant, token", "imchannel_media_upload_token_used_total"), "{{tenant}} {{token}}")],
              "Uploads that began, by tenant and token: general is that of every tenant; first and second by their line in the tenant's file. "
              "A token that no longer shows can be taken out."),
        width=8)
    board.add(
        lines("Lost in 1 h", "short", [("sum(increase(imchannel_media_expired_without_fetch_total[1h]))", "expired unfetched"),
                                       ("sum(increase(imchannel_media_background_tasks_dropped_total[1h]))", "dropped")],
              "Files whose message was sent and that nobody came for, and events or expiries of fetches that were dropped.", OTHERS),
        timeline("Redis", [("min by (instance) (imchannel_media_redis_connected)", "{{instance}}")],
                 "Whether Redis answers each instance of media.", [("away", OUTCOMES["unknown"]), ("answers", OUTCOMES["accepted"])]),
        width=12)

    board.row("Bus")
    board.add(
        lines("Not given out yet", "short", [("max by (stream, durable) (imchannel_consumer_pending_messages)", "{{stream}} {{durable}}")],
              "Messages that the reader has not been given."),
        lines("Not acknowledged yet", "short", [("max by (stream, durable) (imchannel_consumer_unacknowledged_messages)", "{{stream}} {{durable}}")],
              "Messages that the reader was given and has not acknowledged."),
        lines("Size of streams", "bytes", [("max by (stream) (imchannel_stream_size_bytes)", "{{stream}}")],
              "Bytes that each stream holds.", STREAMS),
        lines("Limits of streams", "bytes", [("max by (stream) (imchannel_stream_limit_bytes)", "{{stream}}")],
              "Bytes that each stream may hold.", STREAMS),
        width=6)
    board.add(
        lines("Purged to make room", "short",
              [("sum(increase(imchannel_ingress_purged_messages_total[1h]))", "ingress"),
               ("sum(increase(imchannel_normalizer_purged_messages_total[1h]))", "normalizer"),
               ("sum(increase(imchannel_sender_purged_messages_total[1h]))", "sender")],
              "Processed messages that were purged in the last hour, by who did it.", JOBS),
        lines("Age of the oldest, by reader", "s",
              [("max by (stream, durable) (imchannel_consumer_oldest_unprocessed_age_seconds)", "{{stream}} {{durable}}")],
              "Age of the oldest message that a reader has not acknowledged, as any instance sees it, connected or not."),
        width=12)
    return board
