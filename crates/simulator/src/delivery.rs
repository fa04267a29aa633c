//! Posts one webhook like its BSP: the call, the response to a challenge, and the retries until it is accepted or given
//! up.

use std::sync::Arc;
use std::time::Instant;

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use reqwest::{Client, Response, StatusCode};
use tokio::sync::Semaphore;

use crate::bsp_client::{Body, Failure};
use crate::plan::Plan;
use crate::stats::Stats;
use crate::target::Target;

/// Most open calls, of all webhooks. Each holds a connection and its buffers, about 45 KiB, for up to the BSP's
/// timeout. Further calls wait.
const CALLS_MAX: usize = 1_000;

/// HTTP client and limits of the calls.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) client: Client,
    places: Arc<Semaphore>,
}

impl Caller {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, places: Arc::new(Semaphore::new(CALLS_MAX)) }
    }
}

/// The channel that a webhook is posted to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Destination<'a> {
    /// Its position in the statistics.
    pub(crate) position: usize,
    pub(crate) target: &'a Target,
}

/// How posting a webhook ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeliveryResult {
    /// It was answered 200.
    Taken,
    /// The BSP has given it up.
    Lost,
}

/// Posts until it is answered 200 or the BSP gives up.
pub(crate) async fn post(
    caller: &Caller,
    plan: &Plan,
    to: Destination<'_>,
    body: &Body,
    tally: &Stats,
) -> DeliveryResult {
    let mut repeat = 0;
    loop {
        let open = caller.places.acquire().await;
        let started = Instant::now();
        let Err(failure) = call(&caller.client, to, body, tally).await else {
            tally.taken(to.position, started.elapsed());
            return DeliveryResult::Taken;
        };
        drop(open);
        tally.refused(to.position, failure);
        let Some(wait) = to.target.client.retry_delay(repeat, failure, plan) else {
            tally.lost(to.position);
            return DeliveryResult::Lost;
        };
        tokio::time::sleep(plan.scaled(wait)).await;
        tally.repeated(to.position);
        repeat += 1;
    }
}

async fn call(client: &Client, to: Destination<'_>, body: &Body, tally: &Stats) -> Result<(), Failure> {
    let headers = to.target.client.headers(&to.target.endpoint, body);
    let answer = request(client, to.target, body, headers.clone()).await?;
    let challenge =
        answer.headers().get(WWW_AUTHENTICATE).filter(|_| answer.status() == StatusCode::UNAUTHORIZED);
    let challenge = challenge.and_then(|value| value.to_str().ok());
    let Some(login) =
        challenge.and_then(|challenge| to.target.client.answer_challenge(&to.target.endpoint, challenge))
    else {
        return judge(to.target, answer).await;
    };
    tally.challenged(to.position);
    let mut headers = headers;
    headers.extend(login);
    judge(to.target, request(client, to.target, body, headers).await?).await
}

async fn request(
    client: &Client,
    target: &Target,
    body: &Body,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let request = client.post(target.endpoint.url(body.route)).headers(headers).body(body.bytes.clone());
    request.timeout(target.client.timeout()).send().await.map_err(|error| failure(&error))
}

fn failure(error: &reqwest::Error) -> Failure {
    if error.is_connect() {
        Failure::NotConnected
    } else if error.is_timeout() {
        Failure::TimedOut
    } else {
        Failure::Broken
    }
}

async fn judge(target: &Target, answer: Response) -> Result<(), Failure> {
    let status = answer.status();
    let body = answer.bytes().await.map_err(|error| failure(&error))?;
    if target.client.is_success(status, &body) { Ok(()) } else { Err(Failure::Status(status.as_u16())) }
}
