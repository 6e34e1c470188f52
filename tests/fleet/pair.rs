//! The service that counts for a fleet, envoyproxy/ratelimit, and the Redis that it counts in.

use std::env;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;

use tempfile::TempDir;
use testkit::world::eventually;
use tokio::process::{Child, Command};

/// Holds both programs, which end when this is dropped. Each keeps its port when it is started again.
#[derive(Debug)]
pub(crate) struct Pair {
    redis: Option<Child>,
    service: Option<Child>,
    folder: TempDir,
    ports: Ports,
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    redis: u16,
    grpc: u16,
    http: u16,
    debug: u16,
}

/// Sums up what is counted under all keys that match a pattern.
const SUM: &str = "local sum = 0 \
    for _, key in ipairs(redis.call('KEYS', ARGV[1])) do sum = sum + redis.call('GET', key) end \
    return sum";

impl Pair {
    /// Starts both, with a file of the service's.
    pub(crate) async fn start(file: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("fleet-").tempdir().unwrap();
        let config = folder.path().join("ratelimit/config");
        fs::create_dir_all(&config).unwrap();
        fs::write(config.join("keyless.yaml"), file).unwrap();
        // Both are free until they are taken: none of the programs says which port it took for 0.
        let listeners = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [redis, grpc, http, debug] = listeners.map(|free| free.local_addr().unwrap().port());
        let ports = Ports { redis, grpc, http, debug };
        let mut pair = Self { redis: None, service: None, folder, ports };
        pair.start_redis().await;
        pair.start_service().await;
        pair
    }

    /// Returns where the service takes calls.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports.grpc))
    }

    /// Starts Redis, with whatever it had written to its disk before.
    pub(crate) async fn start_redis(&mut self) {
        let mut command = self.command("redis-server".into(), "redis.log");
        command.args(["--port", &self.ports.redis.to_string(), "--bind", "127.0.0.1"]);
        command.args(["--save", "", "--appendonly", "yes", "--appendfsync", "always", "--dir"]);
        self.redis = Some(command.arg(self.folder.path()).spawn().unwrap());
        eventually("Redis is ready", async || {
            (self.redis_cli(&["PING"]).await? == "PONG").then_some(())
        })
        .await;
    }

    /// Starts the service.
    pub(crate) async fn start_service(&mut self) {
        let installed = env::var_os("FLEET").expect("run through make fleet");
        let program = PathBuf::from(installed).join("bin/service_cmd");
        let Ports { redis, grpc, http, debug } = self.ports;
        let mut command = self.command(program, "service.log");
        command.env("REDIS_SOCKET_TYPE", "tcp").env("REDIS_URL", format!("127.0.0.1:{redis}"));
        command.env("RUNTIME_ROOT", self.folder.path()).env("RUNTIME_SUBDIRECTORY", "ratelimit");
        command.env("RUNTIME_WATCH_ROOT", "false").env("USE_STATSD", "false");
        for (name, port) in [("", http), ("GRPC_", grpc), ("DEBUG_", debug)] {
            command.env(format!("{name}HOST"), "127.0.0.1");
            command.env(format!("{name}PORT"), port.to_string());
        }
        self.service = Some(command.env("LOG_LEVEL", "warn").spawn().unwrap());
        let health = format!("http://127.0.0.1:{http}/healthcheck");
        eventually("the service is ready", async || {
            reqwest::get(&health).await.ok()?.status().is_success().then_some(())
        })
        .await;
    }

    /// Kills Redis, as a crash does.
    pub(crate) async fn kill_redis(&mut self) {
        self.redis.take().unwrap().kill().await.unwrap();
    }

    /// Kills the service, as a crash does.
    pub(crate) async fn kill_service(&mut self) {
        self.service.take().unwrap().kill().await.unwrap();
    }

    /// Has Redis forget everything.
    pub(crate) async fn forget(&self) {
        assert_eq!(self.redis_cli(&["FLUSHALL"]).await.as_deref(), Some("OK"));
    }

    /// Returns what all counters of a limit have counted.
    pub(crate) async fn sum(&self, limit: &str) -> u64 {
        let sum = self.redis_cli(&["EVAL", SUM, "0", &format!("*limit_{limit}_*")]).await;
        sum.unwrap().parse().unwrap()
    }

    /// Asks Redis; none if it does not answer.
    async fn redis_cli(&self, words: &[&str]) -> Option<String> {
        let mut command = Command::new("redis-cli");
        command.args(["-h", "127.0.0.1", "-p", &self.ports.redis.to_string()]).args(words);
        let output = command.output().await.expect("redis-cli is there");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn command(&self, program: PathBuf, log: &str) -> Command {
        let log = fs::File::options().create(true).append(true).open(self.folder.path().join(log));
        let log = log.unwrap();
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        command.kill_on_drop(true);
        command
    }
}
