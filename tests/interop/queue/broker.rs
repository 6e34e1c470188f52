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
    _names: Child,
    _server: Child,
    _folder: TempDir,
    port: u16,
}

impl Broker {
    pub(super) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [port, distribution, names] = [free().await, free().await, free().await];
        let settings = format!("listeners.tcp.1 = 127.0.0.1:{port}\nlog.console.level = warning\n");
        std::fs::write(folder.path().join("rabbitmq.conf"), settings).unwrap();
        std::fs::write(folder.path().join("plugins"), "[].").unwrap();
        let names = names.to_string();
        // The nodes of this machine find each other by epmd's port: this one is alone.
        let alone = [("ERL_EPMD_PORT", names.as_str()), ("ERL_EPMD_ADDRESS", "127.0.0.1")];
        let epmd = dying(Path::new("epmd")).envs(alone).spawn().expect("epmd: run make queue");
        let mut server = dying(&program());
        server.envs(alone).env("HOME", folder.path());
        server.env("RABBITMQ_NODENAME", format!("n{port}@localhost"));
        server.env("RABBITMQ_DIST_PORT", distribution.to_string());
        server.env("RABBITMQ_MNESIA_BASE", folder.path().join("data"));
        server.env("RABBITMQ_CONFIG_FILE", folder.path().join("rabbitmq"));
        server.env("RABBITMQ_CONF_ENV_FILE", folder.path().join("none"));
        server.env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.path().join("plugins"));
        server.env("RABBITMQ_LOGS", "-").env("RABBITMQ_LOG_BASE", folder.path());
        // Without it the script would stay, with the broker as its child.
        server.env("RABBITMQ_ALLOW_INPUT", "1").env("RABBITMQ_SERVER_START_ARGS", "-noinput");
        server.stdout(Stdio::null());
        let server = server.spawn().expect("rabbitmq-server: run make queue");
        let broker = Self { _names: epmd, _server: server, _folder: folder, port };
        eventually("the broker answers", async || broker.answers().await).await;
        broker
    }

    pub(super) fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2F", self.port)
    }

    /// Greets it (AMQP 0-9-1 §4.2.2), and waits for the beginning of an answer.
    async fn answers(&self) -> Option<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        stream.write_all(b"AMQP\x00\x00\x09\x01").await.ok()?;
        stream.read_u8().await.ok().map(drop)
    }
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
