//! The report: the machine, how to repeat it, the figures, and a picture.

mod plot;
mod timeline;

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use crate::load::Outcome;
use crate::pair::Pair;
use crate::suite::Effort;
use crate::suite::timeline as timeline_suite;
use crate::suite::{
    comparison, end_to_end, ingress, media, normalizer, sender, sender_setup, synced, timeline_postgres,
};

/// All results.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) ingress: Option<ingress::Measured>,
    pub(crate) comparisons: Vec<comparison::Comparison>,
    pub(crate) normalizer: Option<normalizer::Measured>,
    pub(crate) end_to_end: Option<Vec<end_to_end::Round>>,
    pub(crate) sender: Option<sender::Measured>,
    pub(crate) media: Option<media::Measured>,
    pub(crate) timeline: Option<timeline_suite::Measured>,
    pub(crate) timeline_postgres: Option<timeline_postgres::Measured>,
}

/// Median, minimum and maximum of some numbers.
#[derive(Debug, Clone, Copy)]
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

fn spread(numbers: impl Iterator<Item = f64>) -> Spread {
    let mut sorted: Vec<f64> = numbers.collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let median = match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    };
    let (least, most) = (sorted.first().copied(), sorted.last().copied());
    Spread { median, least: least.unwrap_or(f64::NAN), most: most.unwrap_or(f64::NAN) }
}

impl Report {
    /// Writes the report and its picture.
    pub(crate) fn write(&self, effort: Effort, path: &Path) -> anyhow::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("")).join("docs");
        std::fs::create_dir_all(&folder)?;
        if let Some(measured) = &self.ingress {
            plot::latencies(measured, &folder.join("latency.svg"))?;
        }
        let text = self.to_text(effort)?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// The report as text (Markdown).
    pub(crate) fn to_text(&self, effort: Effort) -> anyhow::Result<String> {
        let mut text = String::new();
        head(&mut text, effort)?;
        if let Some(measured) = &self.ingress {
            ingress_section(&mut text, measured)?;
        }
        comparison_section(&mut text, &self.comparisons)?;
        if let Some(measured) = &self.normalizer {
            normalizer_section(&mut text, measured)?;
        }
        if let Some(rounds) = &self.end_to_end {
            end_to_end_section(&mut text, rounds)?;
        }
        if let Some(measured) = &self.sender {
            sender_section(&mut text, measured)?;
        }
        if let Some(measured) = &self.media {
            media_section(&mut text, measured)?;
        }
        if let Some(measured) = &self.timeline {
            timeline::section(&mut text, measured)?;
        }
        if let Some(measured) = &self.timeline_postgres {
            timeline::postgres(&mut text, measured)?;
        }
        Ok(text)
    }
}

fn head(text: &mut String, effort: Effort) -> std::fmt::Result {
    let Effort { time, rounds, webhooks, rows: _ } = effort;
    writeln!(text, "# Benchmarks\n")?;
    writeln!(
        text,
        "Written by `./dev bench` ({} s a measurement, {rounds} rounds of every pair in turns, {webhooks} webhooks for \
         the normalizer). Machines differ and drift, so the ratios say more than the figures: each is the median over \
         the rounds, with the least and the most in brackets. Load generator, nats-server (file storage, default \
         sync) and the measured program share the machine. Every body is unique.\n",
        time.as_secs()
    )?;
    writeln!(text, "| | |\n|---|---|")?;
    writeln!(text, "| date | {:.0} |", jiff::Timestamp::now())?;
    writeln!(
        text,
        "| processor | {} × {} |",
        std::thread::available_parallelism().map_or(0, usize::from),
        processor()
    )?;
    writeln!(text, "| system | {} |", first_line("uname", &["-sr"]))?;
    writeln!(text, "| rustc | {} |", first_line("rustc", &["--version"]))?;
    writeln!(text, "| NATS | {} |\n", first_line("nats-server", &["--version"]))
}

fn ingress_section(text: &mut String, measured: &ingress::Measured) -> std::fmt::Result {
    writeln!(text, "## Ingress\n")?;
    writeln!(
        text,
        "Ingress in a process of its own against the bare receiver (`crates/bench/src/baseline.rs`: credential compared, \
         body published, acknowledgement awaited; no id, no headers, no limits, no metrics), 64 connections.\n"
    )?;
    writeln!(text, "| | bare | imchannel | ratio | aim |\n|---|---|---|---|---|")?;
    let closed = |of: fn(&Outcome) -> f64| row(&measured.closed, of);
    let (bare, ours, ratio) = closed(|outcome| outcome.per_second);
    writeln!(text, "| requests/s, as fast as answers come | {bare:.0} | {ours:.0} | {ratio} | ≥ 0.85 |")?;
    let (bare, ours, ratio) = closed(|outcome| outcome.millis(0.99));
    writeln!(text, "| 99th percentile of that, ms | {bare:.2} | {ours:.2} | {ratio} | ≤ 1.5 |")?;
    for (quantile, name, aim) in
        [(0.5, "median", ""), (0.99, "99th percentile", ""), (0.999, "99.9th percentile", "")]
    {
        let bare = spread(measured.open.iter().map(|pair| pair.baseline.millis(quantile))).median;
        let ours = spread(measured.open.iter().map(|pair| pair.ours.millis(quantile))).median;
        let ratio = spread(
            measured.open.iter().map(|pair| pair.ours.millis(quantile) / pair.baseline.millis(quantile)),
        );
        let rate = measured.open_rate;
        writeln!(
            text,
            "| {name} at {rate:.0} requests/s, ms | {bare:.2} | {ours:.2} | {} | {aim} |",
            show(ratio)
        )?;
    }
    if let Some(peak) = measured.peak_mib {
        writeln!(text, "| most memory, MiB | | {peak:.1} | | < 40 |")?;
    }
    let pairs = || measured.closed.iter().chain(&measured.open);
    let bare: u64 = pairs().map(|pair| pair.baseline.errors).sum();
    let ours: u64 = pairs().map(|pair| pair.ours.errors).sum();
    writeln!(
        text,
        "\nAnswers other than 200, which are not counted above: {bare} of the bare receiver, {ours} of imchannel.\n"
    )?;
    writeln!(text, "![Latency by percentile at a constant rate](docs/latency.svg)\n")?;
    writeln!(
        text,
        "One measurement alone: `imchannel-bench load --gateway 127.0.0.1:8080 --path \
         /social/on/whatsapp/infobip/report/CHANNEL --password PASSWORD [--rate N]`, against a gateway that runs.\n"
    )
}

type Row = (f64, f64, String);

fn row(pairs: &[Pair<Outcome>], of: fn(&Outcome) -> f64) -> Row {
    let bare = spread(pairs.iter().map(|pair| of(&pair.baseline))).median;
    let ours = spread(pairs.iter().map(|pair| of(&pair.ours))).median;
    (bare, ours, show(spread(pairs.iter().map(|pair| of(&pair.ours) / of(&pair.baseline)))))
}

fn show(ratio: Spread) -> String {
    format!("**{:.2}** ({:.2}–{:.2})", ratio.median, ratio.least, ratio.most)
}

fn comparison_section(text: &mut String, all: &[comparison::Comparison]) -> std::fmt::Result {
    if all.is_empty() {
        return Ok(());
    }
    writeln!(text, "## Ingress against what people would write instead\n")?;
    writeln!(
        text,
        "Receivers of the same guarantees (constant-time comparison, id by hash, 200 after the acknowledgement, a limit \
         of the body; `bench/comparison`), one process each, 64 connections.\n"
    )?;
    writeln!(text, "| | its requests/s | imchannel's | ratio | aim |\n|---|---|---|---|---|")?;
    for comparison in all {
        let (other, ours, ratio) = row(&comparison.pairs, |outcome| outcome.per_second);
        let aim = if comparison.name.starts_with("FastAPI") { "≥ 5" } else { "≥ 2.8" };
        let errors: u64 = comparison.pairs.iter().map(|pair| pair.baseline.errors).sum();
        let errors = if errors > 0 { format!(" ({errors} other answers)") } else { String::new() };
        writeln!(text, "| {} | {other:.0}{errors} | {ours:.0} | {ratio} | {aim} |", comparison.name)?;
    }
    writeln!(text)
}

fn normalizer_section(text: &mut String, measured: &normalizer::Measured) -> std::fmt::Result {
    let of = |pick: fn(&normalizer::Round) -> f64| spread(measured.rounds.iter().map(pick)).median;
    let ratio = |pick: fn(&normalizer::Round) -> f64| {
        show(spread(measured.rounds.iter().map(|round| pick(round) / round.baseline)))
    };
    writeln!(text, "## Normalizer\n")?;
    writeln!(
        text,
        "One normalizer against a bare loop that pulls, parses the JSON, publishes the payload without headers and \
         acknowledges, all in one task. The normalizer works in a lane for each core; its log goes to a file.\n"
    )?;
    writeln!(text, "| | webhooks/s | ratio to the bare loop | aim |\n|---|---|---|---|")?;
    writeln!(text, "| bare loop | {:.0} | 1 | |", of(|round| round.baseline))?;
    writeln!(
        text,
        "| imchannel, as set up by default | {:.0} | {} | ≥ 0.7 |",
        of(|round| round.masked),
        ratio(|round| round.masked)
    )?;
    writeln!(
        text,
        "| `IMCHANNEL_LOG_PAYLOADS=off`: the line without the body | {:.0} | {} | |",
        of(|round| round.off),
        ratio(|round| round.off)
    )?;
    writeln!(
        text,
        "| `IMCHANNEL_LOG_LEVEL=warn`: no line | {:.0} | {} | |",
        of(|round| round.silent),
        ratio(|round| round.silent)
    )?;
    let cost = spread(measured.rounds.iter().map(|round| 1e6 / round.masked - 1e6 / round.silent));
    writeln!(
        text,
        "\nIn throughput, the log line costs {:.1} µs a webhook (median; {:.1}–{:.1}, less than nothing being the noise).",
        cost.median, cost.least, cost.most
    )?;
    if let Some(peak) = measured.peak_mib {
        writeln!(text, "The normalizer had {peak:.1} MiB at most.")?;
    }
    writeln!(text)
}

fn end_to_end_section(text: &mut String, rounds: &[end_to_end::Round]) -> std::fmt::Result {
    let quantile = |quantile: f64| {
        spread(rounds.iter().map(move |round| round.latency_us.value_at_quantile(quantile) as f64 / 1000.0))
    };
    let (capacity, rate) =
        (spread(rounds.iter().map(|round| round.capacity)), spread(rounds.iter().map(|round| round.rate)));
    writeln!(text, "## From the first byte to the readable event\n")?;
    writeln!(
        text,
        "Ingress, normalizer, nats-server, the load and a reader of EVENTS beside each other. Together they carry {:.0} \
         webhooks/s on this machine; measured at half of it, {:.0}/s.\n",
        capacity.median, rate.median
    )?;
    writeln!(text, "| | ms | least–most | aim |\n|---|---|---|---|")?;
    for (name, at, aim) in
        [("median", 0.5, ""), ("99th percentile", 0.99, "< 20"), ("99.9th percentile", 0.999, "")]
    {
        let spread = quantile(at);
        writeln!(
            text,
            "| {name} | **{:.2}** | {:.2}–{:.2} | {aim} |",
            spread.median, spread.least, spread.most
        )?;
    }
    let missing: u64 = rounds.iter().map(|round| round.missing).sum();
    let refused: u64 = rounds.iter().map(|round| round.refused).sum();
    writeln!(text, "\nWebhooks not answered 200: {refused}; events that never came out: {missing}.")
}

fn sender_section(text: &mut String, measured: &sender::Measured) -> std::fmt::Result {
    writeln!(text, "\n## Sender\n")?;
    writeln!(
        text,
        "One sender process over 20 channels against a simulated account whose every answer takes {} ms; the commands \
         wait already. Intent, call, outcome, result and acknowledgement of each; the account shares the machine.\n",
        sender_setup::LATENCY.as_millis()
    )?;
    let rate = spread(measured.per_second.iter().copied());
    writeln!(text, "| | | least–most | aim |\n|---|---|---|---|")?;
    writeln!(text, "| sends/s | **{:.0}** | {:.0}–{:.0} | ≥ 2000 |", rate.median, rate.least, rate.most)?;
    let ratio = spread(measured.beside.iter().map(|(alone, beside)| beside / alone));
    writeln!(
        text,
        "| time of a channel's 1,000 messages beside 10,000 that wait for a channel limited to 1/s, against alone | \
         **{:.2}** | {:.2}–{:.2} | < 2 |",
        ratio.median, ratio.least, ratio.most
    )?;
    if let Some(peak) = measured.peak_mib {
        writeln!(text, "| most memory, MiB | {peak:.1} | | |")?;
    }
    synced_section(text, measured.synced.as_deref())
}

fn synced_section(text: &mut String, rounds: Option<&[synced::Round]>) -> std::fmt::Result {
    let Some(rounds) = rounds else {
        return writeln!(
            text,
            "\nAll figures are with the server's default sync: this nats-server has no `sync_interval: always`, which \
             2.10 and later have, so the rows for it are missing. With a newer one first in `PATH` they are written."
        );
    };
    let of = |pick: fn(&synced::Round) -> f64| spread(rounds.iter().map(pick));
    let (alone, sends) = (of(|round| round.alone), of(|round| round.sends));
    let ratio = of(|round| round.sends / round.alone);
    let warnings: usize = rounds.iter().map(|round| round.warnings).sum();
    writeln!(
        text,
        "\nOn one server with `sync_interval: always`, which is what compose runs. A send writes the ledger twice, its \
         result and its acknowledgement, so a ratio of 0.5 to what the ledger's stream stores alone (before and after \
         each round, {WRITES_AT_ONCE} at once) cannot be exceeded.\n",
        WRITES_AT_ONCE = synced::WRITES_AT_ONCE
    )?;
    writeln!(text, "| | | least–most | aim |\n|---|---|---|---|")?;
    writeln!(
        text,
        "| writes/s of the ledger's stream alone | {:.0} | {:.0}–{:.0} | |",
        alone.median, alone.least, alone.most
    )?;
    writeln!(text, "| sends/s | {:.0} | {:.0}–{:.0} | |", sends.median, sends.least, sends.most)?;
    writeln!(
        text,
        "| sends/s against those writes | **{:.2}** | {:.2}–{:.2} | ≥ 0.35 |",
        ratio.median, ratio.least, ratio.most
    )?;
    writeln!(text, "| lines of the sender at WARN or ERROR | {warnings} | | 0 |")
}

fn media_section(text: &mut String, measured: &media::Measured) -> std::fmt::Result {
    writeln!(text, "\n## Media\n")?;
    writeln!(
        text,
        "Files of 100 KB over 64 connections, against a bare axum handler that returns the value out of Redis. Media also \
         asks for what is known of the file, checks whose it is, sets its expiry, writes three lines and publishes an \
         event.\n"
    )?;
    let bare = spread(measured.pairs.iter().map(|pair| pair.baseline)).median;
    let ours = spread(measured.pairs.iter().map(|pair| pair.ours)).median;
    let ratio = show(spread(measured.pairs.iter().map(|pair| pair.ours / pair.baseline)));
    writeln!(text, "| | bare | imchannel | ratio | aim |\n|---|---|---|---|---|")?;
    writeln!(text, "| files/s | {bare:.0} | {ours:.0} | {ratio} | ≥ 0.8 |")?;
    if let Some(peak) = measured.peak_mib {
        writeln!(text, "| most memory, MiB | | {peak:.1} | | |")?;
    }
    Ok(())
}

fn first_line(program: &str, args: &[&str]) -> String {
    // On Debian, servers are in a folder that is not in the path of every user.
    let paths = [program.to_owned(), format!("/usr/sbin/{program}")];
    let output = paths.iter().find_map(|path| Command::new(path).args(args).output().ok());
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").to_owned()
}

fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}
