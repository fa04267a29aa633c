#!/usr/bin/env python3
"""Writes dashboards/overview.json, details.json and timeline.json from the panels in boards.py.

    python3 deploy/grafana/generate.py            write them
    python3 deploy/grafana/generate.py --check    check that the files are up to date; exit code 1 if not

Needs nothing but Python 3.9. After a change, `ci/observability.sh` runs every query against a gateway.
"""

import json
import pathlib
import sys

HOME = pathlib.Path(__file__).parent / "dashboards"
SCHEMA_VERSION = 39  # Grafana 11; later ones migrate it when they load it
WIDTH = 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}

# Okabe and Ito's colors, which readers with every kind of color vision can distinguish.
SKY, BLUE, GREEN, YELLOW, ORANGE, RED, PINK, GRAY = (
    "#56B4E9", "#0072B2", "#009E73", "#F0E442", "#E69F00", "#D55E00", "#CC79A7", "#999999")
# Series of the same name have the same color on all dashboards. Healthy is blue; unhealthy is orange or red.
BSPS = {"infobip": SKY, "koomessage": GREEN, "gupshup": PINK, "twilio": YELLOW, "none": GRAY}
JOBS = {"ingress": SKY, "normalizer": GREEN, "sender": PINK, "media": YELLOW, "timeline": BLUE}
STREAMS = {"WEBHOOKS": SKY, "EVENTS": GREEN, "COMMANDS": PINK, "DEADLETTERS": RED, "KV_imchannel_sends": YELLOW}
STATUSES = {"PENDING": GRAY, "SENT": SKY, "DELIVERED": BLUE, "READ": GREEN, "FAILED": RED, "DELETED": PINK, "UNRECOGNIZED": ORANGE}
OUTCOMES = {
    "stored": SKY, "spooled": YELLOW, "duplicate": GRAY, "challenged": GRAY, "unauthorized": RED, "not_stored": ORANGE, "overloaded": YELLOW,
    "accepted": SKY, "rejected": ORANGE, "expired": YELLOW, "unknown": RED, "unclear": RED, "limited": YELLOW, "timed_out": ORANGE,
    "served": SKY, "not_modified": GRAY, "not_found": ORANGE, "unavailable": RED, "out_of_memory": RED, "answered": SKY, "no_answer": RED}
RULES = {"no_report": ORANGE, "not_fetched": YELLOW, "no_result": RED, "no_bulk_result": RED, "webhook_waiting": SKY, "event_waiting": GREEN}
FAULTS = {"unavailable": ORANGE, "full": RED, "damaged": PINK}
QUANTILES = {"p50": SKY, "p95": YELLOW, "p99": RED}
OTHERS = {"done": SKY, "retried": ORANGE, "panicked": RED, "out": SKY, "in": GREEN, "held": SKY, "paused": RED,
          "dead letters": RED, "published twice": GRAY, "withheld": ORANGE, "dropped": ORANGE, "expired unfetched": RED,
          "overtaken": ORANGE, "queue full": RED, "spooled": ORANGE, "drained": SKY}


class Board:
    """A dashboard. Its panels are placed from left to right, row by row; every row must be full."""

    def __init__(self, uid, title, description):
        self.uid, self.title, self.description = uid, title, description
        self.panels, self.x, self.y, self.height = [], 0, 0, 0

    def row(self, title):
        self._add({"type": "row", "title": title, "collapsed": False, "panels": []}, WIDTH, 1)

    def add(self, *panels, width, height=8):
        for panel in panels:
            self._add(panel, width, height)

    def _add(self, panel, width, height):
        assert self.x == 0 or self.height == height, f"{panel['title']}: heights differ within a row"
        place = {"x": self.x, "y": self.y, "w": width, "h": height}
        self.panels.append({"id": len(self.panels) + 1, "gridPos": place, **panel})
        self.x, self.height = self.x + width, height
        assert self.x <= WIDTH, f"{panel['title']}: the row is wider than {WIDTH} columns"
        if self.x == WIDTH:
            self.x, self.y = 0, self.y + height

    def to_json(self):
        assert self.x == 0, f"{self.title}: the last row is not full"
        alerts = {"name": "Alerts", "enable": True, "datasource": SOURCE, "iconColor": RED, "step": "60s",
                  "expr": 'ALERTS{alertname=~"Imchannel.+",alertstate="firing"}',
                  "titleFormat": "{{alertname}}", "tagKeys": "severity,bsp,channel,stream,job"}
        variables = [
            {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "refresh": 1, "hide": 0,
             "current": {}, "options": [], "regex": "", "multi": False, "includeAll": False},
            choice("bsp", "BSP", "label_values(imchannel_ingress_requests_total, bsp)"),
            choice("channel", "Channel", "label_values(imchannel_ingress_credential_used_total, channel)")]
        links = [{"type": "dashboards", "title": "imchannel", "tags": ["imchannel"], "asDropdown": False, "icon": "external link",
                  "includeVars": True, "keepTime": True, "targetBlank": False, "tooltip": "", "url": ""}]
        return {
            "uid": self.uid, "title": self.title, "description": self.description, "tags": ["imchannel"],
            "schemaVersion": SCHEMA_VERSION, "version": 1, "editable": True, "graphTooltip": 1, "refresh": "30s",
            "time": {"from": "now-3h", "to": "now"}, "timezone": "browser", "links": links,
            "annotations": {"list": [alerts]}, "templating": {"list": variables}, "panels": self.panels}


def choice(name, label, query):
    return {"name": name, "label": label, "type": "query", "datasource": SOURCE, "query": {"query": query, "refId": name},
            "definition": query, "refresh": 2, "sort": 1, "multi": True, "includeAll": True, "allValue": ".*", "hide": 0,
            "current": {"text": ["All"], "value": ["$__all"]}, "options": [], "regex": ""}


# --- kinds of panels. A query is (expression, legend).

def panel(kind, title, unit, description, queries, defaults, options, form="time_series", instant=False):
    targets = [{"refId": chr(ord("A") + place), "datasource": SOURCE, "expr": expression, "legendFormat": legend,
                "format": form, "instant": instant, "range": not instant} for place, (expression, legend) in enumerate(queries)]
    return {"type": kind, "title": title, "description": description, "datasource": SOURCE, "targets": targets,
            "fieldConfig": {"defaults": {"unit": unit, **defaults}, "overrides": []}, "options": options}


def steps(*limits):
    """Blue, then orange, then red. With one limit: blue, then red."""
    colors = [SKY, RED] if len(limits) == 1 else [SKY, ORANGE, RED]
    return {"mode": "absolute", "steps": [{"color": color, "value": limit} for color, limit in zip(colors, [None, *limits])]}


def stat(title, unit, query, description, *limits, falling=False, decimals=None):
    thresholds = steps(*limits)
    if falling:  # less is worse
        colors = [RED, ORANGE, SKY][-len(limits) - 1:]
        thresholds["steps"] = [{"color": color, "value": limit} for color, limit in zip(colors, [None, *limits])]
    idle = {"type": "special", "options": {"match": "null+nan", "result": {"text": "idle", "color": GRAY, "index": 0}}}
    defaults = {"color": {"mode": "thresholds"}, "thresholds": thresholds, "mappings": [idle], "noValue": "idle"}
    if decimals is not None:
        defaults["decimals"] = decimals
    return panel("stat", title, unit, description, [(query, title)], defaults, {
        "colorMode": "value", "graphMode": "area", "justifyMode": "center", "textMode": "value", "wideLayout": True,
        "orientation": "auto", "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}})


def lines(title, unit, queries, description, colors=None, stacked=False, limit=None, highest=None):
    custom = {"drawStyle": "line", "lineInterpolation": "monotone", "lineWidth": 1 if stacked else 2,
              "fillOpacity": 45 if stacked else 8, "gradientMode": "none", "showPoints": "never", "spanNulls": False,
              "stacking": {"mode": "normal" if stacked else "none", "group": "A"}, "axisSoftMin": 0,
              "thresholdsStyle": {"mode": "dashed" if limit is not None else "off"}}
    defaults = {"color": {"mode": "palette-classic-by-name"}, "custom": custom, "min": 0}
    if limit is not None:
        defaults["thresholds"] = steps(limit)
    if highest is not None:
        defaults["max"] = highest
    made = panel("timeseries", title, unit, description, queries, defaults, {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"}})
    made["fieldConfig"]["overrides"] = [
        {"matcher": {"id": "byName", "options": name},
         "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": color}}]} for name, color in (colors or {}).items()]
    return made


def latency(title, histogram, matchers, description, limit=None):
    """Three quantiles of a histogram."""
    queries = [(f"histogram_quantile({quantile}, sum by (le) (rate({histogram}_bucket{matchers}[$__rate_interval])))", name)
               for name, quantile in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))]
    return lines(title, "s", queries, description, QUANTILES, limit=limit)


def heatmap(title, histogram, matchers, description):
    query = f"sum by (le) (increase({histogram}_bucket{matchers}[$__rate_interval]))"
    return panel("heatmap", title, "s", description, [(query, "{{le}}")], {}, {
        "calculate": False, "cellGap": 1, "color": {"mode": "scheme", "scheme": "Blues", "steps": 32, "fill": SKY, "exponent": 0.5},
        "filterValues": {"le": 1e-9}, "legend": {"show": True}, "rowsFrame": {"layout": "auto"}, "showValue": "never",
        "tooltip": {"mode": "single", "yHistogram": False}, "yAxis": {"axisPlacement": "left", "unit": "s", "reverse": False}},
        form="heatmap")


def bars(title, unit, queries, description, *limits):
    defaults = {"color": {"mode": "thresholds"}, "thresholds": steps(*limits), "min": 0, "max": 1}
    return panel("bargauge", title, unit, description, queries, defaults, {
        "displayMode": "basic", "orientation": "horizontal", "valueMode": "color", "showUnfilled": True, "minVizHeight": 16,
        "minVizWidth": 8, "namePlacement": "auto", "sizing": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}, instant=True)


def timeline(title, queries, description, texts):
    """States over time: 0 and 1 with their texts and colors."""
    values = {str(number): {"text": text, "color": color, "index": number} for number, (text, color) in enumerate(texts)}
    defaults = {"color": {"mode": "fixed", "fixedColor": GRAY}, "custom": {"fillOpacity": 80, "lineWidth": 0},
                "mappings": [{"type": "value", "options": values}]}
    return panel("state-timeline", title, "none", description, queries, defaults, {
        "showValue": "never", "rowHeight": 0.8, "mergeValues": True, "alignValue": "left",
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True}, "tooltip": {"mode": "single", "sort": "none"}})


def table(title, query, description, columns):
    """The present result of a query, one line per series; `columns` maps labels to headings."""
    made = panel("table", title, "none", description, [(query, "")], {"custom": {"align": "left", "filterable": False}}, {
        "showHeader": True, "cellHeight": "sm", "footer": {"show": False}}, form="table", instant=True)
    made["transformations"] = [
        {"id": "filterFieldsByName", "options": {"include": {"names": list(columns)}}},
        {"id": "organize", "options": {"renameByName": columns, "indexByName": {name: place for place, name in enumerate(columns)}}}]
    return made


def compact(value, depth=0):
    """JSON in which a value that fits into one line is one line, so that a change of one panel changes few lines."""
    short = json.dumps(value, ensure_ascii=False)
    if len(short) + 2 * depth <= 150 or not isinstance(value, (dict, list)):
        return short
    pad = "\n" + "  " * (depth + 1)
    if isinstance(value, dict):
        parts = [f"{json.dumps(key)}: {compact(part, depth + 1)}" for key, part in value.items()]
        return "{" + pad + ("," + pad).join(parts) + "\n" + "  " * depth + "}"
    return "[" + pad + ("," + pad).join(compact(part, depth + 1) for part in value) + "\n" + "  " * depth + "]"


def main():
    sys.dont_write_bytecode = True
    import boards
    is_check, stale = "--check" in sys.argv[1:], []
    for name, board in (("overview", boards.overview()), ("details", boards.details()), ("timeline", boards.messages())):
        path, text = HOME / f"{name}.json", compact(board.to_json()) + "\n"
        if not is_check:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(str(path))
    if stale:
        sys.exit(f"out of date, run deploy/grafana/generate.py: {', '.join(stale)}")


if __name__ == "__main__":
    # boards.py imports this file by its name.
    sys.modules["generate"] = sys.modules["__main__"]
    main()
