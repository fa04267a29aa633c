//! Traces across processes, with W3C trace context.
//!
//! Spans exist only if an endpoint is set. Without an endpoint, an incoming `traceparent` is passed on
//! unchanged.

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{Span as _, SpanContext, SpanKind, Status, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

use crate::settings::Setting;
use crate::tls;

/// URL to which traces are exported.
pub static OTLP_ENDPOINT: Setting = Setting::new(
    "otlp-endpoint",
    "",
    "URL to which traces are exported by OTLP over HTTP, such as http://collector:4318; without it there are no traces",
)
.from_variable("OTEL_EXPORTER_OTLP_ENDPOINT");

/// Header of the W3C trace context.
const TRACEPARENT: &str = "traceparent";
/// Length of its value in bytes: `00-`, 32 digits, `-`, 16 digits, `-` and 2 digits.
const TRACEPARENT_LENGTH: usize = 55;

/// Tracer of a service; without an endpoint it creates no spans.
#[derive(Debug, Clone, Default)]
pub struct SpanTracer {
    active: Option<Active>,
}

#[derive(Debug, Clone)]
struct Active {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl SpanTracer {
    /// Exports the spans of `service` to an OTLP endpoint over HTTP. `OTEL_TRACES_SAMPLER` and the related variables
    /// apply.
    ///
    /// # Errors
    /// When the endpoint is not a URL.
    pub fn to_endpoint(endpoint: &str, service: &'static str) -> anyhow::Result<Self> {
        // The exporter's client is built with the process's TLS provider and panics without one.
        tls::install_crypto_provider();
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .build()?;
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(Resource::builder().with_service_name(service).build())
            .build();
        let tracer = provider.tracer("imchannel");
        Ok(Self { active: Some(Active { provider, tracer }) })
    }

    /// As [`to_endpoint`](Self::to_endpoint); without an endpoint, a tracer that creates no spans.
    ///
    /// # Errors
    /// When the endpoint is not a URL.
    pub fn of_setting(endpoint: Option<&str>, service: &'static str) -> anyhow::Result<Self> {
        endpoint.map_or_else(|| Ok(Self::default()), |endpoint| Self::to_endpoint(endpoint, service))
    }

    /// Starts a span, as a child of the `traceparent` of a request or message if there is one.
    pub fn start(&self, name: &'static str, kind: SpanKind, parent: Option<&str>) -> Span {
        let parent = parent.filter(|text| is_traceparent(text));
        let Some(active) = &self.active else {
            return Span(Inner::Propagated(parent.map(str::to_owned)));
        };
        let context = parent.map_or_else(Context::new, |text| {
            let carrier = std::collections::HashMap::from([(TRACEPARENT.to_owned(), text.to_owned())]);
            TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier)
        });
        let span =
            active.tracer.span_builder(name).with_kind(kind).start_with_context(&active.tracer, &context);
        Span(Inner::Active(Box::new(span)))
    }

    /// Exports the pending spans and stops. It blocks.
    pub fn shutdown(&self) {
        if let Some(active) = &self.active
            && let Err(error) = active.provider.shutdown()
        {
            tracing::warn!(function = "trace", "cannot export the last spans: {error}");
        }
    }
}

fn is_traceparent(text: &str) -> bool {
    text.len() == TRACEPARENT_LENGTH && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// A span of a trace. It ends when it is dropped.
#[derive(Debug)]
pub struct Span(Inner);

#[derive(Debug)]
enum Inner {
    Active(Box<<SdkTracer as Tracer>::Span>),
    Propagated(Option<String>),
}

impl Span {
    /// The `traceparent` for outgoing requests and messages; `None` without a trace.
    pub fn traceparent(&self) -> Option<String> {
        match &self.0 {
            Inner::Propagated(traceparent) => traceparent.clone(),
            Inner::Active(span) => Some(to_traceparent(span.span_context())),
        }
    }

    /// The trace id for a log line; `None` without a span.
    pub fn trace_id(&self) -> Option<String> {
        match &self.0 {
            Inner::Propagated(_) => None,
            Inner::Active(span) => Some(span.span_context().trace_id().to_string()),
        }
    }

    /// Adds an attribute, which must not contain personal data.
    pub fn set(&mut self, name: &'static str, value: impl Into<opentelemetry::Value>) {
        if let Inner::Active(span) = &mut self.0 {
            span.set_attribute(KeyValue::new(name, value));
        }
    }

    /// Marks the span as failed, with a short name of the kind of failure.
    pub fn set_error(&mut self, kind: &'static str) {
        if let Inner::Active(span) = &mut self.0 {
            span.set_attribute(KeyValue::new("error.type", kind));
            span.set_status(Status::error(kind));
        }
    }
}

fn to_traceparent(context: &SpanContext) -> String {
    let flags = u8::from(context.is_sampled());
    format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn without_an_endpoint_a_traceparent_is_passed_on() {
        let tracing = SpanTracer::default();
        let span = tracing.start("x", SpanKind::Server, Some(PARENT));
        assert_eq!(span.traceparent().as_deref(), Some(PARENT));
        for bad in ["", "junk", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0\n"] {
            assert_eq!(tracing.start("x", SpanKind::Server, Some(bad)).traceparent(), None, "{bad}");
        }
    }

    #[test]
    fn with_an_endpoint_a_child_stays_in_its_trace() {
        let tracing = SpanTracer::to_endpoint("http://127.0.0.1:9", "test").unwrap();
        let span = tracing.start("x", SpanKind::Server, Some(PARENT));
        let child = span.traceparent().unwrap();
        assert!(is_traceparent(&child), "{child}");
        assert_eq!(&child[..36], &PARENT[..36]);
        assert_ne!(child, PARENT);
    }
}
