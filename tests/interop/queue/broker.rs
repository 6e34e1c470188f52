//! A broker of the test's own, on ports and in a folder of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use testkit::world::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

/// Holds a running broker, which ends when this is dropped.
pub(super) struct Broker {
    folder: TempDir,
    _names: Child,
    /// The ports of the broker, of its distribution, and of epmd.
    ports: [u16; 3],
    server: Child,
}

impl Broker {
    pub(super) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports = [free().await, free().await, free().await];
        let settings =
            format!("listeners.tcp.1 = 127.0.0.1:{}\nlog.console.level = warning\n", ports[0]);
        std::fs::write(folder.path().join("rabbitmq.conf"), settings).unwrap();
        std::fs::write(folder.path().join("plugins"), "[].").unwrap();
        let names = dying(Path::new("epmd")).envs(alone(ports[2])).spawn();
        let names = names.expect("epmd: run make queue");
        let server = server(folder.path(), ports);
        let broker = Self { folder, _names: names, ports, server };
        eventually("the broker answers", async || broker.answers().await).await;
        broker
    }

    /// Kills it, and starts it again with what it has stored.
    pub(super) async fn restart(&mut self) {
        self.server.kill().await.unwrap();
        self.server = server(self.folder.path(), self.ports);
        eventually("the broker answers again", async || self.answers().await).await;
    }

    pub(super) fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2F", self.ports[0])
    }

    /// Greets it (AMQP 0-9-1 §4.2.2), and waits for the beginning of an answer.
    async fn answers(&self) -> Option<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.ports[0])).await.ok()?;
        stream.write_all(b"AMQP\x00\x00\x09\x01").await.ok()?;
        stream.read_u8().await.ok().map(drop)
    }
}

fn server(folder: &Path, [port, distribution, names]: [u16; 3]) -> Child {
    let mut server = dying(&program());
    server.envs(alone(names)).env("HOME", folder);
    server.env("RABBITMQ_NODENAME", format!("n{port}@localhost"));
    server.env("RABBITMQ_DIST_PORT", distribution.to_string());
    server.env("RABBITMQ_MNESIA_BASE", folder.join("data"));
    server.env("RABBITMQ_CONFIG_FILE", folder.join("rabbitmq"));
    server.env("RABBITMQ_CONF_ENV_FILE", folder.join("none"));
    server.env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.join("plugins"));
    server.env("RABBITMQ_LOGS", "-").env("RABBITMQ_LOG_BASE", folder);
    // Without it the script would stay, with the broker as its child.
    server.env("RABBITMQ_ALLOW_INPUT", "1").env("RABBITMQ_SERVER_START_ARGS", "-noinput");
    server.stdout(Stdio::null()).spawn().expect("rabbitmq-server: run make queue")
}

/// The nodes of a machine find each other by epmd's port: this one is alone.
fn alone(names: u16) -> [(&'static str, String); 2] {
    [("ERL_EPMD_PORT", names.to_string()), ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned())]
}

/// Prepares a program that ends with this thread, in whatever way that ends.
fn dying(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command.kill_on_drop(true).stdin(Stdio::null());
    command
}

/// Finds the server itself: Debian's own script on the path wants to be root.
fn program() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/rabbitmq/lib").expect("RabbitMQ: run make queue");
    let mut servers = versions.map(|entry| entry.unwrap().path().join("sbin/rabbitmq-server"));
    servers.find(|server| server.is_file()).expect("RabbitMQ: run make queue")
}

async fn free() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}
