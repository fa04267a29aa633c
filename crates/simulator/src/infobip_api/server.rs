//! The HTTP server: authentication, responses, and withheld responses.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::schema;
use super::{DUPLICATE, Faults, InfobipApi, Intermediary, PENDING, REJECTED, Received, RetryAfter, Status};

/// Largest request body, in bytes.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Most open connections. Further ones are closed.
const CONNECTIONS_MAX: usize = 4096;

/// The connection is closed: the caller gets no response.
#[derive(Debug, thiserror::Error)]
#[error("cut")]
struct Cut;

/// Random choice of what happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CallFault {
    NoFault,
    Limited,
    ErrorBefore,
    ErrorAfter,
    Stalled,
    Cut,
    Rejected,
}

type Answer = (StatusCode, Value);

impl InfobipApi {
    /// Serves HTTP until `stop`.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        self.serve_with(listener, None, stop).await;
    }

    /// Serves HTTPS if `tls` is some, else HTTP, until `stop`.
    pub async fn serve_with(self, listener: TcpListener, tls: Option<TlsAcceptor>, stop: CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            while connections.try_join_next().is_some() {}
            let Ok((stream, _)) = accepted else { continue };
            if connections.len() >= CONNECTIONS_MAX {
                continue;
            }
            let _ = stream.set_nodelay(true);
            let account = self.clone();
            let service = service_fn(move |request| {
                let account = account.clone();
                async move { account.handle(request).await }
            });
            let tls = tls.clone();
            connections.spawn(async move {
                let Some(tls) = tls else {
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                    return;
                };
                if let Ok(stream) = tls.accept(stream).await {
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                }
            });
        }
    }

    async fn handle(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Cut> {
        let expected = format!("App {}", self.api_key);
        let presented = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
        if presented != Some(expected.as_bytes()) {
            return Ok(respond(fault(
                StatusCode::UNAUTHORIZED,
                "UNAUTHORIZED",
                "Invalid login details",
                None,
            )));
        }
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        match (method, path.as_str()) {
            (Method::POST, "/omni/1/advanced") => self.advanced(request).await,
            (Method::GET, "/omni/1/logs") => {
                let latency = {
                    let mut state = self.state();
                    // Also of a caller that does not wait for the answer.
                    state.calls.lookups += 1;
                    state.faults.latency
                };
                tokio::time::sleep(latency).await;
                let answer = self.logs(request.uri().query().unwrap_or_default());
                let retry_after = self.state().faults.log_retry_after;
                Ok(if answer.0 == StatusCode::TOO_MANY_REQUESTS {
                    limited(retry_after)
                } else {
                    respond(answer)
                })
            }
            _ => Ok(respond(fault(StatusCode::NOT_FOUND, "NOT_FOUND", "Requested URL not found", None))),
        }
    }

    async fn advanced(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Cut> {
        let is_json = request
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
        let body =
            Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await.map_err(|_| Cut)?.to_bytes();
        let (call_fault, faults) = {
            let mut state = self.state();
            state.calls.sends += 1;
            let faults = state.faults.of(&recipient_of(&body));
            let call_fault = draw(&faults);
            state.calls.faulty += u64::from(call_fault != CallFault::NoFault);
            (call_fault, faults)
        };
        tokio::time::sleep(faults.latency).await;
        let front = in_front(&faults, &body);
        if let Some(front) = front {
            self.state().calls.faulty += u64::from(call_fault == CallFault::NoFault);
            if !front.is_after {
                return Ok(front.answer());
            }
        }
        match call_fault {
            CallFault::Limited => return Ok(limited(faults.retry_after)),
            CallFault::ErrorBefore => return Ok(respond(general_error())),
            _ => {}
        }
        let read = if is_json {
            schema::read(&body)
        } else {
            Err(("Content-Type", "must be application/json".to_owned()))
        };
        let request = match read {
            Ok(request) => request,
            Err((field, why)) => {
                self.state().calls.malformed += 1;
                let errors = json!({ field: [why] });
                return Ok(respond(fault(
                    StatusCode::BAD_REQUEST,
                    "BAD_REQUEST",
                    "Bad request",
                    Some(errors),
                )));
            }
        };
        if !self.scenarios.contains_key(&request.scenario_key) {
            let errors = json!({ "scenarioKey": ["unknown scenario"] });
            return Ok(respond(fault(StatusCode::BAD_REQUEST, "BAD_REQUEST", "Bad request", Some(errors))));
        }
        let messages: Vec<Value> =
            request.destinations.iter().map(|to| self.take(&request, to, call_fault, body.len())).collect();
        if let Some(front) = front {
            return Ok(front.answer());
        }
        match call_fault {
            CallFault::ErrorAfter => Ok(respond(general_error())),
            CallFault::Cut => Err(Cut),
            CallFault::Stalled => {
                tokio::time::sleep(faults.stall_for).await;
                Ok(respond((StatusCode::OK, json!({ "messages": messages }))))
            }
            _ => Ok(respond((StatusCode::OK, json!({ "messages": messages })))),
        }
    }

    /// Accepts or rejects one message of a request of this size in bytes. Returns its entry in the response.
    fn take(
        &self,
        request: &schema::Request,
        destination: &schema::Destination,
        call_fault: CallFault,
        bytes: usize,
    ) -> Value {
        let to = &destination.to;
        let recipient = to.phone_number.clone().or_else(|| to.whats_app_user_id.clone()).unwrap_or_default();
        let message_id = destination.message_id.clone().unwrap_or_else(random_uuid);
        let mut state = self.state();
        let status = if call_fault == CallFault::Rejected {
            REJECTED
        } else if state.faults.unique_ids && state.ids.contains(&message_id) {
            state.calls.duplicates += 1;
            DUPLICATE
        } else {
            PENDING
        };
        state.log(&message_id, &recipient, status);
        if status.id == PENDING.id {
            let is_repeat = !state.ids.insert(message_id.clone());
            let count = state.record(Received {
                message_id: message_id.clone(),
                recipient: recipient.clone(),
                scenario: request.scenario_key.clone(),
                content: request.whats_app.clone(),
                callback_data: request.callback_data.clone().unwrap_or_default(),
                at: Instant::now(),
                file: None,
                fault: None,
                is_repeat,
                bytes,
            });
            let place = Arc::clone(&self.delivering).try_acquire_owned();
            state.calls.unreported += u64::from(place.is_err());
            drop(state);
            if let Ok(place) = place {
                let delivery = self.clone().deliver(count);
                tokio::spawn(async move {
                    delivery.await;
                    drop(place);
                });
            }
        }
        let mut to_object = json!({});
        let key = if to.phone_number.is_some() { "phoneNumber" } else { "whatsAppUserId" };
        to_object[key] = json!(recipient);
        json!({ "to": to_object, "status": status_object(status), "messageId": message_id })
    }

    fn logs(&self, query: &str) -> Answer {
        let mut ids = Vec::new();
        for pair in query.split('&') {
            if let Some(("messageId", value)) = pair.split_once('=') {
                ids.extend(value.split(',').map(str::to_owned));
            }
        }
        let mut state = self.state();
        let now = Instant::now();
        if !state.may_ask(now) {
            state.calls.lookups_refused += 1;
            return fault(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_REQUESTS", "Too many requests", None);
        }
        let mut results = Vec::new();
        for id in &ids {
            for logged in state.log.get_mut(id).into_iter().flatten() {
                if logged.visible_at <= now {
                    logged.asked += 1;
                    results.push(json!({
                        "messageId": id, "to": logged.recipient, "from": "447860099299", "channel": "WHATSAPP",
                        "text": "Hello", "messageCount": 1, "status": status_object(logged.status),
                        "sentAt": time_text(Some(logged.sent_at)), "doneAt": time_text(logged.done_at),
                    }));
                }
            }
        }
        (StatusCode::OK, json!({ "results": results }))
    }
}

/// Returns the customer of a request, if it can be parsed.
fn recipient_of(body: &[u8]) -> String {
    let request = serde_json::from_slice::<Value>(body).unwrap_or_default();
    let to = &request["destinations"][0]["to"];
    to["phoneNumber"].as_str().or(to["whatsAppUserId"].as_str()).unwrap_or_default().to_owned()
}

/// Returns what responds to a call in place of the account.
fn in_front<'a>(faults: &'a Faults, body: &[u8]) -> Option<&'a Intermediary> {
    if faults.fronts.is_empty() {
        return None;
    }
    let recipient = recipient_of(body);
    faults.fronts.iter().find(|front| front.answers(&recipient))
}

fn limited(retry_after: Option<RetryAfter>) -> Response<Full<Bytes>> {
    let answer = fault(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_REQUESTS", "Too many requests", None);
    let mut response = respond(answer);
    if let Some(retry_after) = retry_after {
        response.headers_mut().insert(RETRY_AFTER, retry_after.value());
    }
    response
}

fn draw(faults: &Faults) -> CallFault {
    let mut left = fastrand::f64();
    let shares = [
        (faults.limited, CallFault::Limited),
        (faults.error_before, CallFault::ErrorBefore),
        (faults.error_after, CallFault::ErrorAfter),
        (faults.stalled, CallFault::Stalled),
        (faults.cut, CallFault::Cut),
        (faults.rejected, CallFault::Rejected),
    ];
    for (share, call_fault) in shares {
        if left < share {
            return call_fault;
        }
        left -= share;
    }
    CallFault::NoFault
}

fn status_object(status: Status) -> Value {
    json!({
        "groupId": status.group.0, "groupName": status.group.1,
        "id": status.id, "name": status.name, "description": status.description,
    })
}

/// A time in Infobip's form.
fn time_text(time: Option<Timestamp>) -> Option<String> {
    time.map(|time| time.strftime("%Y-%m-%dT%H:%M:%S.000+0000").to_string())
}

fn general_error() -> Answer {
    let text = "Something went wrong. Please contact support.";
    fault(StatusCode::INTERNAL_SERVER_ERROR, "GENERAL_ERROR", text, None)
}

/// An error in the form of the older APIs.
fn fault(status: StatusCode, message_id: &str, text: &str, validation: Option<Value>) -> Answer {
    let mut exception = json!({ "messageId": message_id, "text": text });
    if let Some(validation) = validation {
        exception["validationErrors"] = validation;
    }
    (status, json!({ "requestError": { "serviceException": exception } }))
}

fn respond((status, body): Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn random_uuid() -> String {
    let bits = fastrand::u128(..);
    let digits = format!("{bits:032x}");
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}
