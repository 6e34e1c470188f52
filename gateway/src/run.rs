//! An Envoy that runs on a [`Blueprint`].

use std::{
    collections::BTreeMap,
    env, error, fmt, fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::{Blueprint, BlueprintError, process::Process};

/// How often Envoy is asked for something that it has not done yet.
const POLL: Duration = Duration::from_millis(20);
/// How long a log line may take from the end of its stream to the file; Envoy flushes every 20 ms.
const LOGGED_WITHIN: Duration = Duration::from_secs(10);
/// How long the administration interface may take to answer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);
/// How long Envoy may take to end when it is asked to.
const STOPPED_WITHIN: Duration = Duration::from_secs(10);

/// Holds a running Envoy, which ends when this is dropped, or when the process does.
#[derive(Debug)]
pub struct Gateway {
    process: Process,
    folder: TempDir,
    client: reqwest::Client,
    admin: SocketAddr,
    listener: SocketAddr,
}

/// Says how Envoy is run.
#[derive(Clone, Debug)]
pub struct StartOptions {
    /// The number of worker threads (`--concurrency`), 2 by default.
    pub workers: u32,
    /// The level of Envoy's log (`--log-level`), `warning` by default.
    pub log_level: String,
    /// The levels of its components (`--component-log-level`), such as `wasm:debug,http:info`;
    /// `wasm:debug` by default.
    pub component_log_level: String,
    /// Variables that Envoy has in its environment besides those of this process; none by default.
    pub environment: Vec<(String, String)>,
    /// A second configuration that Envoy merges into the first (`--config-yaml`): what is in its lists
    /// comes after what is there. None by default.
    pub overlay: Option<String>,
    /// Whether [`Gateway::push`] can give it other listeners; false by default, as the shipped file
    /// has them in itself.
    pub is_dynamic: bool,
    /// How long old listeners and filter chains serve on after [`Gateway::push`]
    /// (`--drain-time-s`): ten minutes by default, like Envoy's own.
    pub drain: Duration,
    /// How long Envoy may take until it serves, a minute by default: it compiles the module first.
    pub ready_within: Duration,
}

/// Says why there is no Envoy to talk to.
#[derive(Debug)]
#[non_exhaustive]
pub enum GatewayError {
    /// The administration interface gave no answer, or one that makes no sense.
    Admin(reqwest::Error),
    /// No local configuration could be derived.
    Blueprint(BlueprintError),
    /// Envoy ended, for instance because it refused the configuration.
    Exited {
        /// How it ended.
        status: ExitStatus,
        /// The end of its log.
        log: String,
    },
    /// A file of the gateway's own could not be written or read, or Envoy could not be executed.
    Io(io::Error),
    /// The environment variable `ENVOY` is not set.
    NoEnvoy,
    /// The module has not been built.
    NoModule(PathBuf),
    /// Envoy was too late.
    Overdue {
        /// What was waited for.
        awaited: &'static str,
        /// The end of its log.
        log: String,
    },
}

impl Gateway {
    /// Starts an Envoy and waits until it serves.
    ///
    /// # Errors
    ///
    /// When `ENVOY` or the module is missing, when no configuration can be derived, and when Envoy
    /// ends or is not ready in time; then with the end of its log.
    pub async fn start(blueprint: Blueprint, options: StartOptions) -> Result<Self, GatewayError> {
        let envoy = env::var_os("ENVOY").ok_or(GatewayError::NoEnvoy)?;
        let module = dynamic_module().unwrap_or_else(|| blueprint.module().to_owned());
        if !module.is_file() {
            return Err(GatewayError::NoModule(module));
        }
        let folder = tempfile::Builder::new().prefix("gateway-").tempdir()?;
        let bootstrap = if options.is_dynamic {
            let place = listeners(folder.path());
            let [bootstrap, listeners] = blueprint.apart(&place)?;
            fs::create_dir_all(place.parent().unwrap_or(folder.path()))?;
            fs::write(place, listeners)?;
            bootstrap
        } else {
            blueprint.yaml()?
        };
        fs::write(folder.path().join("envoy.yaml"), bootstrap)?;
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut gateway = Self {
            process: Process::spawn(command(Path::new(&envoy), folder.path(), &options)?)?,
            folder,
            client: client()?,
            admin: unknown,
            listener: unknown,
        };
        gateway.settle(Instant::now() + options.ready_within).await?;
        Ok(gateway)
    }

    /// Returns the listener's address.
    pub fn address(&self) -> SocketAddr {
        self.listener
    }

    /// Returns the listener's URL, without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://{}", self.listener)
    }

    /// Returns the URL of the administration interface, without a slash at its end.
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }

    /// Returns the process id of Envoy.
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Returns what Envoy and the module have logged so far.
    pub fn log(&self) -> String {
        self.read("envoy.log")
    }

    /// Returns the access log's entries so far, in the order in which the streams ended.
    ///
    /// An entry follows the end of its stream by a moment: see [`Self::access_log_of`].
    pub fn access_log(&self) -> Vec<serde_json::Value> {
        let log = self.read("access.log");
        // The last line may be half written.
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits until the access log has at least `count` entries, and returns all of them.
    ///
    /// # Errors
    ///
    /// When Envoy ends, or when there are fewer after ten seconds.
    pub async fn access_log_of(
        &self,
        count: usize,
    ) -> Result<Vec<serde_json::Value>, GatewayError> {
        self.until(Instant::now() + LOGGED_WITHIN, "an entry of the access log", async || {
            Some(self.access_log()).filter(|entries| entries.len() >= count)
        })
        .await
    }

    /// Returns Envoy's counters and gauges by their full names.
    ///
    /// # Errors
    ///
    /// When Envoy does not answer.
    pub async fn stats(&self) -> Result<BTreeMap<String, u64>, GatewayError> {
        let text = self.ask("stats").await?;
        let stats = text.lines().filter_map(|line| {
            let (name, value) = line.rsplit_once(": ")?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Ok(stats.collect())
    }

    /// Returns one of keyless's metrics, by the name that it has with its labels
    /// (`keyless_core::metrics`), or zero where it is not there yet.
    ///
    /// # Errors
    ///
    /// When Envoy does not answer.
    pub async fn metric(&self, name: &str) -> Result<u64, GatewayError> {
        let name = match dynamic_module() {
            // The dynamic module's labels are none of the name's, and Envoy joins them by dots.
            Some(_) => {
                let name = name.replace("=.=", ".").replace(";.;", ".");
                format!("dynamicmodulescustom.{}", name.trim_end_matches('.'))
            }
            None => format!("wasmcustom.{name}"),
        };
        Ok(self.stats().await?.get(&name).copied().unwrap_or_default())
    }

    /// Gives Envoy the listeners of this configuration in place of its present ones, as a control
    /// plane does, and waits until it has taken them; all else stays. It must have been started for
    /// that ([`StartOptions::is_dynamic`]).
    ///
    /// # Errors
    ///
    /// When no configuration can be derived, when Envoy ends, and when it does not take it in time,
    /// for instance because it is refused.
    pub async fn push(&self, blueprint: &Blueprint) -> Result<(), GatewayError> {
        let place = listeners(self.folder.path());
        let [_, listeners] = blueprint.apart(&place)?;
        let before = self.updates().await;
        let new = self.folder.path().join("new.yaml");
        fs::write(&new, listeners)?;
        // Envoy looks when a file is moved into the folder, and would read half of a written one.
        fs::rename(new, place)?;
        let deadline = Instant::now() + ANSWERED_WITHIN;
        self.until(deadline, "the new listeners", async || {
            (self.updates().await > before).then_some(())
        })
        .await
    }

    /// Counts how often Envoy has taken other listeners.
    async fn updates(&self) -> Option<u64> {
        self.stats().await.ok()?.remove("listener_manager.lds.update_success")
    }

    /// Returns the memory that Envoy holds (`VmRSS`, proc(5)), in KiB.
    ///
    /// # Errors
    ///
    /// When Envoy has ended.
    pub fn resident(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let size = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        size.ok_or_else(|| io::Error::other("no VmRSS"))
    }

    /// Returns the memory that Envoy's allocator has given out and not got back, in bytes: Envoy's own and
    /// a dynamic module's, but not that of a Wasm VM.
    ///
    /// # Errors
    ///
    /// When Envoy does not answer.
    pub async fn allocated(&self) -> Result<u64, GatewayError> {
        let text = self.ask("memory").await?;
        let memory: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let allocated = memory["allocated"].as_str().and_then(|bytes| bytes.parse().ok());
        Ok(allocated.ok_or_else(|| io::Error::other("no memory"))?)
    }

    /// Ends Envoy in an orderly way; its logs are complete then and can still be read.
    ///
    /// # Errors
    ///
    /// When Envoy had ended before, or when it does not.
    pub async fn stop(&mut self) -> Result<ExitStatus, GatewayError> {
        let url = format!("{}/quitquitquit", self.admin_url());
        self.client.post(url).send().await?.error_for_status()?;
        let deadline = Instant::now() + STOPPED_WITHIN;
        while Instant::now() < deadline {
            if let Some(status) = self.process.exit() {
                return Ok(status);
            }
            sleep(POLL).await;
        }
        Err(GatewayError::Overdue { awaited: "its own end", log: self.end_of_log() })
    }

    /// Learns the addresses that Envoy has chosen, and waits until its workers serve.
    async fn settle(&mut self, deadline: Instant) -> Result<(), GatewayError> {
        let path = self.folder.path().join("admin.address");
        let address = async || fs::read_to_string(&path).ok()?.trim().parse().ok();
        self.admin = self.until(deadline, "the administration's address", address).await?;
        self.until(deadline, "LIVE", async || {
            let live = self.ask("ready").await.is_ok_and(|answer| answer.trim() == "LIVE");
            let stats = if live { self.stats().await.ok()? } else { return None };
            (stats.get("listener_manager.workers_started") == Some(&1)).then_some(())
        })
        .await?;
        self.listener = self
            .until(deadline, "the listener's address", async || {
                // One line per listener: `gateway::127.0.0.1:41234`, and internal ones without a port.
                let listeners = self.ask("listeners").await.ok()?;
                listeners.lines().find_map(|line| line.split_once("::")?.1.parse().ok())
            })
            .await?;
        Ok(())
    }

    /// Asks `what` until it gives a value, while Envoy runs and until the deadline.
    async fn until<T>(
        &self,
        deadline: Instant,
        awaited: &'static str,
        what: impl AsyncFn() -> Option<T>,
    ) -> Result<T, GatewayError> {
        loop {
            let exit = self.process.exit();
            if let Some(value) = what().await {
                return Ok(value);
            }
            if let Some(status) = exit {
                return Err(GatewayError::Exited { status, log: self.end_of_log() });
            }
            if Instant::now() >= deadline {
                return Err(GatewayError::Overdue { awaited, log: self.end_of_log() });
            }
            sleep(POLL).await;
        }
    }

    async fn ask(&self, path: &str) -> reqwest::Result<String> {
        let url = format!("{}/{path}", self.admin_url());
        self.client.get(url).send().await?.error_for_status()?.text().await
    }

    fn read(&self, file: &str) -> String {
        let bytes = fs::read(self.folder.path().join(file)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn end_of_log(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Gateway {
    /// Removes what a killed Envoy leaves in shared memory; see `--base-id` in Envoy's manual.
    fn drop(&mut self) {
        if let Ok(id) = self.read("base.id").trim().parse::<u64>() {
            let _ = fs::remove_file(format!("/dev/shm/envoy_shared_memory_{id}0"));
        }
    }
}

impl Default for StartOptions {
    fn default() -> Self {
        Self {
            workers: 2,
            log_level: "warning".to_owned(),
            component_log_level: "wasm:debug".to_owned(),
            environment: Vec::new(),
            overlay: None,
            is_dynamic: false,
            drain: Duration::from_mins(10),
            ready_within: Duration::from_mins(1),
        }
    }
}

/// Where the listeners are, in the gateway's own folder.
fn listeners(folder: &Path) -> PathBuf {
    folder.join("listeners/current.yaml")
}

/// Makes a client that keeps no connections: they would not outlive the runtime of the test that
/// opened them, and tests may share a gateway.
fn client() -> reqwest::Result<reqwest::Client> {
    let client = reqwest::Client::builder().no_proxy().timeout(ANSWERED_WITHIN);
    client.pool_max_idle_per_host(0).build()
}

fn command(envoy: &Path, folder: &Path, options: &StartOptions) -> io::Result<Command> {
    let mut command = Command::new(envoy);
    if let Some(folder) = dynamic_module().as_deref().and_then(Path::parent) {
        command.env("ENVOY_DYNAMIC_MODULES_SEARCH_PATH", folder);
    }
    command
        .current_dir(folder)
        .envs(options.environment.iter().map(|(name, value)| (name, value)))
        .args(["--config-path", "envoy.yaml", "--admin-address-path", "admin.address"])
        .args(["--use-dynamic-base-id", "--base-id-path", "base.id"])
        .args(["--drain-time-s", &options.drain.as_secs().to_string()])
        .args(["--concurrency", &options.workers.to_string()])
        .args(["--log-level", &options.log_level, "--component-log-level"])
        .arg(component_log_level(options))
        .args(overlay(options).iter().flat_map(|overlay| ["--config-yaml", overlay]))
        .args(["--file-flush-interval-msec", "20"])
        .stdin(std::process::Stdio::null())
        .stdout(fs::File::create(folder.join("access.log"))?)
        .stderr(fs::File::create(folder.join("envoy.log"))?);
    Ok(command)
}

/// Envoy's main thread, from which the dynamic module calls, does not reach internal listeners; a Unix
/// socket is as private.
fn overlay(options: &StartOptions) -> Option<String> {
    let overlay = options.overlay.as_ref()?;
    if dynamic_module().is_none() {
        return Some(overlay.clone());
    }
    let socket = "pipe: { path: token_file.sock, mode: 384 }";
    let overlay = overlay.replace("internal_listener: {}", &format!("address: {{ {socket} }}"));
    let internal = "envoy_internal_address: { server_listener_name: token_file }";
    Some(overlay.replace(internal, "pipe: { path: token_file.sock }"))
}

/// The dynamic module logs under another name than the Wasm filter.
fn component_log_level(options: &StartOptions) -> String {
    let level = &options.component_log_level;
    match level.split(',').find_map(|component| component.strip_prefix("wasm:")) {
        Some(own) if dynamic_module().is_some() => format!("{level},dynamic_modules:{own}"),
        Some(_) | None => level.clone(),
    }
}

/// Returns the dynamic module that is to run in the place of the Wasm module: the environment variable
/// `KEYLESS_DYNAMIC_MODULE` names it, which `make e2e HOST=dynamic` sets.
pub fn dynamic_module() -> Option<PathBuf> {
    env::var_os("KEYLESS_DYNAMIC_MODULE").filter(|path| !path.is_empty()).map(PathBuf::from)
}

impl fmt::Display for GatewayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Admin(_) => write!(f, "Envoy's administration gave no useful answer"),
            Self::Blueprint(_) => write!(f, "no local configuration follows from envoy.yaml"),
            Self::Exited { status, log } => write!(f, "Envoy ended ({status}); its log:\n{log}"),
            Self::Io(_) => write!(f, "Envoy could not be run"),
            Self::NoEnvoy => write!(f, "no Envoy is named: run through make, or set ENVOY"),
            Self::NoModule(path) => {
                write!(f, "there is no module {}: run make wasm, or make dynamic", path.display())
            }
            Self::Overdue { awaited, log } => {
                write!(f, "Envoy is late with {awaited}; its log:\n{log}")
            }
        }
    }
}

impl error::Error for GatewayError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Admin(error) => Some(error),
            Self::Blueprint(error) => Some(error),
            Self::Io(error) => Some(error),
            Self::Exited { .. } | Self::NoEnvoy | Self::NoModule(_) | Self::Overdue { .. } => None,
        }
    }
}

impl From<BlueprintError> for GatewayError {
    fn from(error: BlueprintError) -> Self {
        Self::Blueprint(error)
    }
}

impl From<io::Error> for GatewayError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<reqwest::Error> for GatewayError {
    fn from(error: reqwest::Error) -> Self {
        Self::Admin(error)
    }
}
