//! `shardman up`: wires the manager, its HTTP API, its children and Discord.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use shardman_core::PoolId;
use shardman_sim::SimConfig;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

mod reload;

use super::{EXIT_CONFIG, Signals, progress};
use crate::alerts::{Alerting, Targets};
use crate::config::{ConfigError, DiscordApi, SecretSettings, UpArgs, Workers, pool_settings, reachable};
use crate::http::{self, HttpState};
use crate::manager::{
    Alert, Count, Manager, ManagerHandle, PoolSettings, Register, RestartRule, Secrets, Settings,
    WorkerProgram,
};
use crate::store::DiskStore;
use crate::supervisor::Limits;
use crate::telemetry::Live;
use crate::{alerts, discord, systemd};
use reload::Reloader;

/// How long open requests may take to finish when the manager stops.
const HTTP_GRACE: Duration = Duration::from_secs(2);

/// The same when the next manager is to follow at once: what waits for a permit
/// is cut off and asks again.
const HANDOVER_GRACE: Duration = Duration::from_millis(200);

/// The token that a simulator gets where none is set.
const SIM_TOKEN: &str = "simulated";

pub(super) async fn up(mut args: UpArgs, live: &Live) -> anyhow::Result<ExitCode> {
    let secrets = SecretSettings::from_env()?;
    let assigns = args.assigns()?;
    let mut signals = Signals::new()?;
    let mut leave = signal(SignalKind::user_defined2())?;
    let hangups = signal(SignalKind::hangup())?;
    let program = own_executable()?;
    shardman_serve::raise_descriptor_limit();
    let sim = CancellationToken::new();
    if let Some(shards) = args.sim {
        args.discord_api_url = start_sim(shards, args.sim_max_concurrency, sim.clone()).await?;
        if args.data_dir == Path::new("data") {
            args.data_dir = "data/sim".into();
        }
    }
    let token = match args.sim {
        Some(_) => Some(SIM_TOKEN.to_owned()),
        None => bot_token(&args, &secrets)?,
    };
    if args.sim.is_none() && token.is_some() && secrets.bot_token.is_none() {
        warn!(
            "no BOT_TOKEN is set: the Discord at {} is taken for a simulated one",
            args.discord_api_url
        );
    }
    let pools = pool_settings(&args)?;
    let cors = reload::cors(&args)?;
    let targets = Targets::new(&secrets, args.webhook_content.as_deref())?;
    let listener = match systemd::listener(args.listens_by_choice.then_some(args.listen))? {
        Some(listener) => TcpListener::from_std(listener)?,
        None => TcpListener::bind(args.listen)
            .await
            .map_err(|error| listen_error(args.listen, &error))?,
    };
    let address = listener.local_addr()?;
    let store = DiskStore::open(&args.data_dir).map_err(|error| ConfigError(error.to_string()))?;
    let (secret, made) = secrets.worker_secret(&args.data_dir)?;
    if let Some(path) = made {
        info!("no SECRET is set: workers present the one in {}", path.display());
    }

    let settings = settings(&args, address, token.as_deref(), &program, pools, assigns);
    if settings.count == Count::Nothing {
        warn!("neither BOT_TOKEN nor MAX_SHARDS is set: no bot is run, only further pools");
    }
    let keys = Secrets {
        shared: secret,
        operator: secrets.operator.clone(),
    };
    let (alert_sender, alert_queue) = mpsc::channel(alerts::QUEUE);
    let has_pools = !settings.pools.is_empty();
    let (manager, handle) = Manager::start(store, settings, &keys, alert_sender.clone()).await?;
    // Nothing was taken up and nothing else is to be run.
    let alone = !has_pools && !handle.is_in_use();
    let targets = watch::Sender::new(targets);
    let no_more_alerts = CancellationToken::new();
    let alerting = Alerting {
        targets: targets.subscribe(),
        alerts: alert_queue,
        fleet: handle.summary(),
        stop: no_more_alerts.clone(),
        metrics: handle.metrics(),
    };
    let alerting = tokio::spawn(alerts::run(alerting));

    // Whoever asks from the first moment on is answered.
    let reloads = handle
        .reload_calls()
        .context("somebody else reads the configuration")?;

    let shutdown = CancellationToken::new();
    let state = HttpState {
        manager: handle.clone(),
        public_status: args.public_status,
    };
    let router = watch::Sender::new(http::router(state, &cors));
    let grace = watch::Sender::new(HTTP_GRACE);
    let server = http::serve_current(listener, router.subscribe(), shutdown.clone(), grace.subscribe());
    let server = tokio::spawn(server);
    let owner_stop = CancellationToken::new();
    let mut owner = tokio::spawn(manager.run(owner_stop.clone()));
    info!("shardman listens on http://{address}");
    tokio::spawn(progress::show(handle.summary(), live.is_possible()));
    tokio::spawn(progress::draw(handle.clone(), live.clone()));
    let token = token.map(watch::Sender::new);
    let api = args.discord_api_url.clone();
    let known = token.as_ref().map(watch::Sender::subscribe);
    let refused = watch_discord(&api, known, &handle, alone, alert_sender);
    tokio::pin!(refused);
    let (stop_seconds, simulates) = (args.stop_seconds.as_secs_f64(), args.sim.is_some());
    let reloader = Reloader {
        args,
        address,
        program,
        assigns,
        handle: handle.clone(),
        targets,
        router,
        token,
    };
    tokio::spawn(reloader.run(hangups, reloads));
    systemd::ready();
    tokio::spawn(systemd::show(handle.summary()));
    let turns = handle.clone();
    tokio::spawn(systemd::keep_watchdog(move || turns.turns()));
    let mut leaves = false;
    let code = tokio::select! {
        () = signals.next() => {
            info!("stopping: the workers get {stop_seconds} s; a second signal kills them");
            ExitCode::SUCCESS
        }
        () = handle.stop_asked() => {
            info!("stopping, as an operator asked: the workers get {stop_seconds} s");
            ExitCode::SUCCESS
        }
        () = asked_to_leave(&mut leave, simulates) => {
            info!("stopping: the workers go on, and the next manager adopts them");
            grace.send_replace(HANDOVER_GRACE);
            leaves = true;
            ExitCode::SUCCESS
        }
        error = &mut refused => {
            error!("{error}");
            ExitCode::from(EXIT_CONFIG)
        }
        ended = &mut owner => {
            ended.context("the manager ended by itself")?;
            anyhow::bail!("the manager ended by itself");
        }
    };
    systemd::stopping();
    if !leaves {
        stop_fleet(&handle, &mut signals, &mut owner).await;
    }
    shutdown.cancel();
    drop(server.await);
    owner_stop.cancel();
    if !owner.is_finished() {
        drop(owner.await);
    }
    no_more_alerts.cancel();
    // It has a bound of its own, and the next manager need not wait for it.
    let patience = if leaves {
        HANDOVER_GRACE
    } else {
        alerts::LAST_ATTEMPT * 2
    };
    let _ = tokio::time::timeout(patience, alerting).await;
    sim.cancel();
    Ok(code)
}

/// SIGUSR2. Workers on our own simulator would have nothing to go on with.
async fn asked_to_leave(leave: &mut Signal, simulates: bool) {
    loop {
        leave.recv().await;
        if !simulates {
            return;
        }
        warn!(
            "SIGUSR2 is ignored: the simulated Discord of --sim ends with this manager; SIGTERM stops both"
        );
    }
}

/// Returns once no child is left.
async fn stop_fleet(handle: &ManagerHandle, signals: &mut Signals, owner: &mut JoinHandle<()>) {
    let mut summary = handle.summary();
    handle.stop_fleet().await;
    let gone = summary.wait_for(|fleet| fleet.stopping && fleet.running == 0);
    tokio::pin!(gone);
    let mut forced = false;
    let mut turns = 0;
    let mut extends = tokio::time::interval(systemd::STOP_EXTENSION / 3);
    loop {
        tokio::select! {
            _ = &mut gone => break,
            _ = extends.tick() => {
                // An owner that hangs ends no child: systemd may kill it.
                if std::mem::replace(&mut turns, handle.turns()) != turns {
                    systemd::still_stopping();
                }
            }
            // Nobody is left to wait for; the children live on.
            _ = &mut *owner => return,
            () = signals.next() => {
                forced = true;
                handle.stop_fleet().await;
            }
        }
    }
    info!("stopped: {}", if forced { "forced" } else { "clean" });
}

async fn watch_discord(
    api: &DiscordApi,
    token: Option<watch::Receiver<String>>,
    handle: &ManagerHandle,
    alone: bool,
    alerts: mpsc::Sender<Alert>,
) -> discord::AskError {
    match token {
        Some(token) => discord::watch(api.clone(), token, handle.clone(), alone, alerts).await,
        None => std::future::pending().await,
    }
}

/// The token to ask Discord with; none where nothing has to be asked.
pub(super) fn bot_token(args: &UpArgs, secrets: &SecretSettings) -> Result<Option<String>, ConfigError> {
    let token = secrets.bot_token.clone();
    if token.is_some() || !args.discord_api_url.is_local() {
        let own_workers = args.worker_command.is_some() || args.workers == Workers::AtMost(0);
        if token.is_none() && !args.is_without_bot(None) && !(args.max_shards.is_some() && own_workers) {
            return Err(ConfigError(
                "BOT_TOKEN is not set: set it, or set MAX_SHARDS and bring your own workers, or try `shardman up --sim 8`"
                    .to_owned(),
            ));
        }
        return Ok(token);
    }
    Ok(Some(SIM_TOKEN.to_owned()))
}

fn settings(
    args: &UpArgs,
    address: SocketAddr,
    token: Option<&str>,
    program: &Path,
    pools: Vec<PoolSettings>,
    assigns: bool,
) -> Settings {
    let program = match &args.worker_command {
        Some(command) => WorkerProgram::Command(command.clone()),
        None => WorkerProgram::Bundled(program.to_owned()),
    };
    let mut worker_env = vec![("SHARDMAN_URL", format!("http://{}", reachable(address)))];
    worker_env.extend(token.map(|token| ("BOT_TOKEN", token.to_owned())));
    if !args.discord_api_url.is_discord() {
        worker_env.push(("DISCORD_API_URL", args.discord_api_url.to_string()));
    }
    if assigns {
        // What a `client.login()` of discord.js reads by itself.
        worker_env.extend(token.map(|token| ("DISCORD_TOKEN", token.to_owned())));
    }
    Settings {
        assigns,
        login_within: args.login_seconds,
        max_seconds: args.max_seconds,
        register_within: args.register_seconds,
        count: match args.max_shards {
            _ if args.is_without_bot(token) => Count::Nothing,
            Some(shards) => Count::Fixed(shards),
            None => Count::Discord,
        },
        rescale: args.rescale,
        asks_discord: token.is_some(),
        program,
        max_workers: match args.workers {
            Workers::Auto => None,
            Workers::AtMost(most) => Some(most),
        },
        shards_per_worker: args.shards_per_worker,
        worker_env,
        inherit: Vec::new(),
        reserve_percent: args.budget_reserve,
        worker_starts_percent: args.worker_starts,
        deaf: Some(args.deaf_seconds).filter(|floor| !floor.is_zero()),
        grace: args.stop_seconds,
        limits: Limits {
            memory_bytes: args.worker_memory,
            open_files: args.worker_open_files,
        },
        kills_at_once: args.kills_at_once,
        nice: 0,
        logs: args.data_dir.join("logs"),
        forget_resume_points: args.sim.is_some(),
        pool: PoolId::discord(),
        register: Register::Connect,
        restart: RestartRule::Always,
        pools,
    }
}

/// Where our executable is, found once: when another one takes its place, the
/// kernel no longer names the place, and children are to run what is there.
fn own_executable() -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe().context("cannot find our own executable")?;
    // It was replaced already, since we began a moment ago.
    let replaced = path.to_str().and_then(|path| path.strip_suffix(" (deleted)"));
    Ok(replaced.map_or_else(|| path.clone(), PathBuf::from))
}

fn listen_error(address: SocketAddr, error: &std::io::Error) -> ConfigError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the list of kinds is open")]
    let remedy = match error.kind() {
        std::io::ErrorKind::AddrInUse => "stop the other program, or choose another port",
        std::io::ErrorKind::PermissionDenied => "choose a port above 1023",
        _ => "choose an address of this machine",
    };
    ConfigError(format!("LISTEN is '{address}': {error}; {remedy}"))
}

/// A Discord in this process.
async fn start_sim(shards: u32, max_concurrency: u32, stop: CancellationToken) -> anyhow::Result<DiscordApi> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .context("no port for the simulator")?;
    let address = listener.local_addr()?;
    let config = SimConfig {
        shards,
        max_concurrency,
        guilds: shards * 10,
        events_per_second: 20.0,
        ..SimConfig::default()
    };
    tokio::spawn(async move {
        if let Err(error) = shardman_sim::serve(listener, config, async move { stop.cancelled().await }).await
        {
            error!("the simulator ended: {error}");
        }
    });
    info!("a simulated Discord runs at http://{address}, report at http://{address}/sim/report");
    Ok(DiscordApi {
        host: address.to_string(),
        plain: true,
    })
}
