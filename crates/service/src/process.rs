//! The run of a process: settings, log, runtime, the service, and the signals that stop it.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::context::ProcessContext;
use crate::http::{self, HttpLimits, HttpServer};
use crate::process_settings::ProcessSettings;
use crate::readiness::Readiness;
use crate::settings::{self, ConfigErrors, ConfigReader, Setting};
pub use crate::tls::install_crypto_provider;
use crate::trace::SpanTracer;
use crate::{admin, files, health, log, memory, terminal, words};

/// Exit code for invalid settings.
pub const EXIT_SETTINGS: u8 = 2;

/// Most open connections of the admin port: probes, Prometheus, `imchannel top`.
const ADMIN_CONNECTIONS_MAX: usize = 256;

/// A service that is configured and can run.
pub struct Service {
    run: std::pin::Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Service")
    }
}

impl Service {
    /// A service that runs the future `run`.
    pub fn new(run: impl Future<Output = anyhow::Result<()>> + Send + 'static) -> Self {
        Self { run: Box::pin(run) }
    }
}

/// Name and purpose of a program.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
    /// Its version number, for metrics.
    pub version: &'static str,
    /// The number with the commit that it was built from, for `--version` and the log.
    pub full_version: &'static str,
}

/// Runs a service as a process: reads its settings, and runs it with its admin port until a signal stops it.
pub fn main<S: Send + 'static>(
    program: Program,
    settings: &[&'static Setting],
    read: impl FnOnce(ConfigReader) -> Result<(ProcessSettings, S), ConfigErrors>,
    start: impl FnOnce(S, ProcessContext, &mut Registry) -> Service,
) -> ExitCode {
    let command = clap::Command::new(program.name).about(program.about).version(program.full_version);
    let command = settings::add_to(command, settings).subcommand(health::command());
    let matches = match command.try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return terminal::usage(&error),
    };
    if let Some(asked) = matches.subcommand_matches(health::NAME) {
        return health::check(&matches, asked);
    }
    let (process, settings) = match read(ConfigReader::from_matches(&matches, settings)) {
        Ok(read) => read,
        Err(faults) => {
            print_errors(program.name, &faults);
            return ExitCode::from(EXIT_SETTINGS);
        }
    };
    match run(program, &process, |context, registry| start(settings, context, registry)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The log has stopped.
            terminal::print_error(format_args!("{}: {}", program.name, words::causes(&error)));
            ExitCode::FAILURE
        }
    }
}

/// Writes every error to standard error: the log is not started before the settings are read.
pub fn print_errors(program: &str, faults: &ConfigErrors) {
    terminal::print_error(format_args!("{program}: invalid settings:"));
    for fault in &faults.0 {
        terminal::print_error(format_args!("  {fault}"));
    }
}

fn run(
    program: Program,
    settings: &ProcessSettings,
    start: impl FnOnce(ProcessContext, &mut Registry) -> Service,
) -> anyhow::Result<()> {
    install_crypto_provider();
    install_panic_hook();
    files::raise_limit();
    memory::use_small_pages();
    let _log = log::start(settings.log.format, settings.log.level)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let tracer = SpanTracer::of_setting(settings.otlp_endpoint.as_deref(), program.name)?;
        let context = ProcessContext {
            nats: settings.nats.clone(),
            stop: stop_on_signal()?,
            readiness: Readiness::default(),
            tracer: tracer.clone(),
            payloads: settings.log.payloads,
            grace: settings.grace,
        };
        let mut registry = registry(program.name, program.version);
        let service = start(context.clone(), &mut registry);
        tracing::info!(function = "process", "{} {} started", program.name, program.full_version);
        let outcome = with_admin(settings.admin_listen, context, registry, service).await;
        tracing::info!(function = "process", "{} stopped", program.name);
        // The exporter blocks until it has sent its pending spans.
        let _ = tokio::task::spawn_blocking(move || tracer.shutdown()).await;
        outcome
    });
    runtime.shutdown_timeout(settings.grace);
    outcome
}

/// The metrics registry of a program, with its name and version as the first metric.
pub fn registry(program: &'static str, version: &'static str) -> Registry {
    let mut registry = Registry::with_prefix("imchannel");
    let build = Info::new(vec![("program", program), ("version", version)]);
    registry.register("build", "The program and its version", build);
    registry
}

/// Runs a service together with its admin port. The admin port stops last, so that probes see a process that
/// is draining.
async fn with_admin(
    listen: SocketAddr,
    context: ProcessContext,
    registry: Registry,
    service: Service,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|error| anyhow::anyhow!("cannot listen on {listen} (admin): {error}"))?;
    let bound = listener.local_addr().unwrap_or(listen);
    tracing::info!(function = "process", "probes and metrics on {bound}");
    let stop_admin = CancellationToken::new();
    let state = AdminState { readiness: context.readiness, stopping: context.stop, registry };
    let admin = tokio::spawn(serve_admin(listener, state, stop_admin.clone()));
    // A task shares the runtime's threads. Awaited here, the service would occupy one more thread.
    let outcome = tokio::spawn(service.run).await;
    stop_admin.cancel();
    let _ = admin.await;
    outcome?
}

/// What the admin port shows.
#[derive(Debug)]
pub struct AdminState {
    /// Conditions under which the process is ready.
    pub readiness: Readiness,
    /// The stop of the process. Once it has begun, the process is not ready.
    pub stopping: CancellationToken,
    /// The metrics.
    pub registry: Registry,
}

/// Serves the admin port until `stop`.
pub async fn serve_admin(listener: TcpListener, state: AdminState, stop: CancellationToken) {
    let AdminState { readiness, stopping, registry } = state;
    readiness.require("not stopping", move || {
        if stopping.is_cancelled() { Err("stopping".to_owned()) } else { Ok(()) }
    });
    let router = admin::router(readiness, Arc::new(registry));
    let grace = std::time::Duration::from_millis(500);
    let limits = HttpLimits { connections: ADMIN_CONNECTIONS_MAX, ..HttpLimits::default() };
    http::serve(listener, router, HttpServer { limits, ..HttpServer::default() }, stop, grace).await;
}

/// Installs a panic hook that logs where a panic was. It hides the message, which may quote a customer's
/// text.
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(function = "process", "panicked at {place} (message hidden)");
        // The log may not run.
        terminal::print_error(format_args!("panicked at {place} (message hidden)"));
    }));
}

/// A token that SIGTERM, SIGINT and SIGHUP cancel.
///
/// # Errors
/// If a signal handler cannot be installed.
pub fn stop_on_signal() -> std::io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // A closed terminal.
    let mut hang_up = signal(SignalKind::hangup())?;
    let canceled = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hang_up.recv() => {}
        }
        canceled.cancel();
    });
    Ok(stop)
}
