//! Ingress against alternative receivers with the same guarantees: FastAPI with nats-py and Fastify with nats.js.

use std::path::Path;
use std::sync::Arc;

use crate::bench_channel::{CHANNEL, PASSWORD};
use crate::body::Bodies;
use crate::client::Target;
use crate::environment::{Environment, free_address};
use crate::load::{self, Outcome};
use crate::output;
use crate::pair::Pair;
use crate::suite::ingress::{start_ours, turns};
use crate::suite::{CONNECTIONS, Effort, purge};

/// A comparison with one of them.
#[derive(Debug)]
pub(crate) struct Comparison {
    pub(crate) name: &'static str,
    pub(crate) pairs: Vec<Pair<Outcome>>,
}

/// The folders of the receivers to compare with. One that is missing is not measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Folders<'a> {
    pub(crate) fastapi: Option<&'a Path>,
    pub(crate) fastify: Option<&'a Path>,
}

pub(crate) async fn measure(effort: Effort, folders: Folders<'_>) -> anyhow::Result<Vec<Comparison>> {
    let mut all = Vec::new();
    if let Some(folder) = folders.fastapi {
        let folder = &std::path::absolute(folder)?;
        let python = folder.join("venv/bin/python");
        all.push(compare("FastAPI with nats-py", &python, folder, "app.py", effort).await?);
    }
    if let Some(folder) = folders.fastify {
        all.push(compare("Fastify with nats.js", Path::new("node"), folder, "app.js", effort).await?);
    }
    Ok(all)
}

async fn compare(
    name: &'static str,
    command: &Path,
    folder: &Path,
    script: &str,
    effort: Effort,
) -> anyhow::Result<Comparison> {
    let place = Environment::start().await?;
    let (ours, our_target) = start_ours(&place).await?;
    let address = free_address()?;
    let path = format!("/social/on/whatsapp/infobip/report/{CHANNEL}");
    let target = Target { address, path, password: PASSWORD.to_owned() };
    let mut other = place.other(command, folder, script, address.port())?;
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
    Ok(Comparison { name, pairs })
}
