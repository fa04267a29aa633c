//! Ingress against receivers with the same guarantees that people would write in other languages: FastAPI with nats-py,
//! Fastify with nats.js, and a Go program over Benthos.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::bail;

use crate::bench_channel::{CHANNEL, PASSWORD};
use crate::body::Bodies;
use crate::client::Target;
use crate::environment::{Environment, Receiver, free_address};
use crate::load;
use crate::output;
use crate::part::Part;
use crate::results::{Aim, Measured, Row, WIDTH_MAX_RATE};
use crate::suite::ingress::{both_of, start_ours, turns};
use crate::suite::{CONNECTIONS, Effort, purge};

/// The folders of the prepared receivers. One without a folder is not measured.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Folders {
    /// Folder of the prepared FastAPI receiver (with its `venv`); it is skipped if not given.
    #[arg(long)]
    fastapi: Option<PathBuf>,
    /// Folder of the prepared Fastify receiver (with its `node_modules`); it is skipped if not given.
    #[arg(long)]
    fastify: Option<PathBuf>,
    /// Folder of the built receiver over Benthos; it is skipped if not given.
    #[arg(long)]
    benthos: Option<PathBuf>,
}

impl Folders {
    /// The folder of a part that needs one; `None` if it was not given.
    pub(crate) fn of(&self, part: Part) -> Option<&Path> {
        match part {
            Part::Fastapi => self.fastapi.as_deref(),
            Part::Fastify => self.fastify.as_deref(),
            Part::Benthos => self.benthos.as_deref(),
            _ => None,
        }
    }
}

/// Whether a part needs a folder.
pub(crate) fn needs_folder(part: Part) -> bool {
    matches!(part, Part::Fastapi | Part::Fastify | Part::Benthos)
}

/// Measures ingress against the receiver in a folder.
pub(crate) async fn measure(part: Part, folder: &Path, effort: Effort) -> anyhow::Result<Measured> {
    let folder = std::path::absolute(folder)?;
    let python = folder.join("venv/bin/python");
    match part {
        Part::Fastapi => {
            let name = "FastAPI with nats-py";
            let receiver = Receiver { name, command: python, script: Some("app.py"), folder };
            compare(receiver, Aim::AtLeast(7.0), effort).await
        }
        Part::Fastify => {
            let name = "Fastify with nats.js";
            let receiver = Receiver { name, command: "node".into(), script: Some("app.js"), folder };
            compare(receiver, Aim::AtLeast(3.0), effort).await
        }
        Part::Benthos => {
            let name = "Go over Benthos with nats.go";
            let receiver = Receiver { name, command: folder.join("receiver"), script: None, folder };
            compare(receiver, Aim::AtLeast(1.5), effort).await
        }
        _ => bail!("part {} has no receiver to compare with", part.name()),
    }
}

async fn compare(receiver: Receiver, aim: Aim, effort: Effort) -> anyhow::Result<Measured> {
    let name = receiver.name;
    let place = Environment::start(effort.layout).await?;
    let (ours, our_target) = start_ours(&place).await?;
    let address = free_address()?;
    let path = format!("/social/on/whatsapp/infobip/report/{CHANNEL}");
    let target = Target { address, path, password: PASSWORD.to_owned() };
    let mut other = place.other(&receiver, address.port())?;
    other.until_it_serves(&target).await?;
    let mut pairs = Vec::new();
    for round in 0..effort.rounds {
        let pair = turns(round, &target, &our_target, async |target: &Target| {
            purge(&place, &["WEBHOOKS"]).await?;
            load::closed(target, CONNECTIONS, effort.time, &Arc::new(Bodies::new())).await
        })
        .await?;
        output::say(&format!("  {name}  {}", pair.baseline));
        output::say(&format!("  imchannel  {}", pair.ours));
        pairs.push(pair);
    }
    ours.end().await;
    other.end().await;
    let row = Row::against(
        "requests",
        &format!("requests/s, {name}"),
        both_of(&pairs, |outcome| outcome.per_second),
    );
    let rows = row.map(|row| row.with_aim(aim).with_width_max(WIDTH_MAX_RATE)).into_iter().collect();
    let errors: u64 = pairs.iter().map(|pair| pair.baseline.errors + pair.ours.errors).sum();
    let remark = format!("{name}: {errors} answers of both were not 200 and are not counted.");
    Ok(Measured { rows, curves: Vec::new(), remarks: if errors > 0 { vec![remark] } else { Vec::new() } })
}
