//! The jobs of `examples/queue`: a real broker, and the example's own programs on its own configuration.
//!
//! Needs what `make queue` installs and names in the environment besides: `QUEUE`, the folder of its Python.

mod broker;
mod door;

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use gateway::{Blueprint, Gateway, StartOptions};
use local_azure::{Fault, LocalAzure, Options};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::world::{World, eventually, shipped, values};
use tokio::process::{Child, Command};

use broker::Broker;
use door::Door;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/queue");
const WAITS: [u32; 7] = [1, 2, 5, 10, 30, 60, 300];
const CHAT: &str = "/openai/v1/chat/completions";

/// The example's programs, between a broker and the door of a gateway.
struct Queue {
    broker: Broker,
    door: Door,
    folder: TempDir,
    token_url: String,
}

/// How the jobs have ended so far, and where the others are.
struct State {
    done: BTreeSet<String>,
    dead: BTreeSet<String>,
    /// The ids in the queue of dead letters, if they were asked for.
    letters: Vec<String>,
    ready: u64,
    waiting: u64,
}

impl Queue {
    async fn start(world: &World) -> Self {
        let issuer = world.azure.issuer.address();
        let tenant = "72f988bf-86f1-41af-91ab-2d7cd011db47";
        let queue = Self {
            broker: Broker::start().await,
            door: Door::open(world.gateway.address()).await,
            folder: tempfile::tempdir().unwrap(),
            token_url: format!("http://{issuer}/{tenant}/oauth2/v2.0/token"),
        };
        // It declares the queues.
        queue.produce(&[]).await;
        queue
    }

    /// Prepares a program of the example, with nothing in its environment but what its page names.
    fn program(&self, name: &str) -> Command {
        let known = Options::default();
        let mut program = python();
        program.arg(Path::new(EXAMPLE).join(name)).env_clear().kill_on_drop(true);
        program.env("PYTHONDONTWRITEBYTECODE", "1").current_dir(self.folder.path());
        program.env("AMQP_URL", self.broker.url());
        program.env("GATEWAY", format!("http://{}/openai", self.door.address()));
        program.env("TOKEN_URL", &self.token_url);
        program.env("CLIENT_ID", known.client_id).env("CLIENT_SECRET", known.client_secret);
        program
    }

    fn worker(&self) -> Child {
        self.program("worker.py").spawn().unwrap()
    }

    /// Publishes jobs with the example's producer.
    async fn produce(&self, jobs: &[Value]) {
        let file = self.folder.path().join("jobs.jsonl");
        let lines: Vec<_> = jobs.iter().map(Value::to_string).collect();
        std::fs::write(&file, lines.join("\n")).unwrap();
        let status = self.program("producer.py").arg(file).status().await.unwrap();
        assert!(status.success(), "{status}");
    }

    async fn state(&self, with_letters: bool) -> State {
        self.try_state(with_letters).await.unwrap_or_else(|said| panic!("{said}"))
    }

    /// The same; the error is what the program says, for instance while the broker is down.
    async fn try_state(&self, with_letters: bool) -> Result<State, String> {
        let order = json!({
            "broker": self.broker.url(), "dead": with_letters, "waits": WAITS,
            "outcomes": self.folder.path().join("outcomes.db"),
        });
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/queue_state.py");
        let state = python().arg(script).arg(order.to_string()).output().await.unwrap();
        let state: Value = serde_json::from_slice(&state.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&state.stderr)));
        let outcomes = state["outcomes"].as_array().unwrap();
        let of = |outcome: &str| {
            let jobs = outcomes.iter().filter(|row| row[0] == outcome);
            jobs.map(|row| row[1].as_str().unwrap().to_owned()).collect()
        };
        let letters = state["dead"].as_array().into_iter().flatten();
        Ok(State {
            done: of("done"),
            dead: of("dead"),
            letters: letters.map(|id| id.as_str().unwrap().to_owned()).collect(),
            ready: state["ready"].as_u64().unwrap(),
            waiting: state["waiting"].as_u64().unwrap(),
        })
    }

    /// Waits until the jobs are as expected.
    async fn until(&self, what: &str, is_so: impl Fn(&State) -> bool) -> State {
        let ask = async || self.try_state(false).await.ok().filter(|state| is_so(state));
        eventually(what, ask).await
    }
}

fn python() -> Command {
    let installed = env::var_os("QUEUE").expect("QUEUE is set: run through make queue");
    Command::new(PathBuf::from(installed).join("bin/python"))
}

/// Leads the shipped Envoy to this Azure, with the example's configuration.
fn blueprint(azure: &LocalAzure) -> Blueprint {
    let file = std::fs::read_to_string(Path::new(EXAMPLE).join("keyless.json")).unwrap();
    let configuration = serde_json::from_str(&file).unwrap();
    shipped(azure).plugin(|plugin| *plugin = configuration)
}

async fn world(edit: impl FnOnce(&mut Value)) -> World {
    let azure = LocalAzure::start(Options::default()).await.unwrap();
    let blueprint = blueprint(&azure).plugin(edit);
    World::on(azure, blueprint).await
}

/// A job that the model answers.
fn job(number: usize) -> Value {
    let messages = json!([{ "role": "user", "content": format!("Summarise number {number}.") }]);
    json!({
        "custom_id": format!("job-{number}"), "method": "POST", "url": "/v1/chat/completions",
        "body": { "model": "gpt-4o-mini", "messages": messages },
    })
}

/// A job that the model refuses, or that is none at all.
fn hopeless(number: usize) -> Value {
    let mut job = job(number);
    job["custom_id"] = format!("hopeless-{number}").into();
    if number.is_multiple_of(2) {
        job["body"]["messages"] = "none".into();
    } else {
        job.as_object_mut().unwrap().remove("url").unwrap();
    }
    job
}

fn ids(jobs: &[Value]) -> BTreeSet<String> {
    jobs.iter().map(|job| job["custom_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn each_of_500_jobs_ends_once_whatever_fails_meanwhile() {
    let mut world = world(|_| ()).await;
    let queue = Queue::start(&world).await;
    let good: Vec<_> = (0..490).map(job).collect();
    let bad: Vec<_> = (0..10).map(hopeless).collect();
    let mut workers: Vec<_> = (0..3).map(|_| queue.worker()).collect();

    // The backend takes nothing: every job waits in the broker, and few of them have asked.
    let after = Duration::from_secs(5);
    world.azure.openai.fault(Fault::RetryAfter { status: 429, after });
    queue.produce(&[good.clone(), bad.clone()].concat()).await;
    let state = queue.until("jobs wait", |state| state.waiting > 400).await;
    assert!(state.done.is_empty());
    // Each worker asks once, and each time at all three endpoints.
    assert!(world.azure.openai.requests().len() < 100, "workers do not insist");

    // A worker is killed while the model thinks about its job.
    world.azure.openai.fault(Fault::Delay(Duration::from_millis(200)));
    let before = world.azure.openai.requests().len();
    eventually("the model thinks", async || {
        (world.azure.openai.requests().len() >= before + 6).then_some(())
    })
    .await;
    workers[0].kill().await.unwrap();
    workers[0] = queue.worker();
    world.azure.openai.heal();

    // The gateway ends, and another begins.
    queue.until("a tenth is done", |state| state.done.len() > 49).await;
    world.gateway.stop().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let next = Gateway::start(blueprint(&world.azure), StartOptions::default()).await;
    world.gateway = next.unwrap();
    queue.door.lead_to(world.gateway.address());
    // A producer that was not sure publishes again.
    queue.produce(&good[..100]).await;

    let is_over = |state: &State| {
        state.done.len() + state.dead.len() == 500 && state.ready + state.waiting == 0
    };
    queue.until("every job has ended", is_over).await;
    workers.clear();
    let state = queue.state(true).await;
    assert!(is_over(&state), "and none comes back");
    assert_eq!(state.done, ids(&good));
    assert_eq!(state.dead, ids(&bad));
    assert_eq!(state.letters.len(), bad.len(), "{:?}", state.letters);
    assert_eq!(state.letters.into_iter().collect::<BTreeSet<_>>(), ids(&bad));
}

#[tokio::test]
async fn a_broker_that_is_killed_forgets_no_job() {
    let world = world(|_| ()).await;
    let mut queue = Queue::start(&world).await;
    world.azure.openai.fault(Fault::Delay(Duration::from_millis(20)));
    let _workers = [queue.worker(), queue.worker()];
    let jobs: Vec<_> = (0..100).map(job).collect();
    queue.produce(&jobs).await;
    queue.until("some are done", |state| state.done.len() > 9).await;
    queue.broker.restart().await;
    let is_over = |state: &State| state.done.len() == 100 && state.ready + state.waiting == 0;
    let state = queue.until("all are done", is_over).await;
    assert_eq!((state.done, state.dead.len()), (ids(&jobs), 0));
}

#[tokio::test]
async fn a_job_that_has_ended_is_not_asked_again() {
    let world = world(|_| ()).await;
    let queue = Queue::start(&world).await;
    let _worker = queue.worker();
    queue.produce(&[job(1)]).await;
    queue.until("it is done", |state| state.done.len() == 1).await;
    let asked = world.azure.openai.requests().len();
    queue.produce(&[job(1), job(2)]).await;
    queue.until("the next is done", |state| state.done.len() == 2).await;
    assert_eq!(world.azure.openai.requests().len(), asked + 1);
}

#[tokio::test]
async fn workers_that_have_used_their_share_leave_the_rest_to_people() {
    let share = |plugin: &mut Value| {
        plugin["limits"][0]["tokens"] = 100.into();
        plugin["limits"][0]["window"] = "1d".into();
    };
    let world = world(share).await;
    let queue = Queue::start(&world).await;
    let _worker = queue.worker();
    queue.produce(&(0..20).map(job).collect::<Vec<_>>()).await;
    let state = queue.until("the others wait", |state| state.ready == 0 && state.waiting > 9).await;
    assert!(!state.done.is_empty() && state.dead.is_empty());
    let log = world.gateway.access_log();
    let refused = log.iter().filter(|entry| entry["reason"] == "tokens_exhausted").count();
    assert_eq!(refused, 1, "the worker asks once, and lets the others wait");
    let body = job(0)["body"].clone();
    let (_, seen) = world.admits(&world.token(), world.post(CHAT, &body)).await;
    assert_eq!(values(&seen, "host"), ["my-openai.openai.azure.com"]);
}

#[tokio::test]
async fn the_same_file_goes_through_the_batch_interface() {
    let world = world(|_| ()).await;
    let mut program = python();
    let known = Options::default();
    program.arg(Path::new(EXAMPLE).join("batch.py")).arg(Path::new(EXAMPLE).join("jobs.jsonl"));
    program.arg("0.1").env_clear().env("PYTHONDONTWRITEBYTECODE", "1");
    program.env("GATEWAY", format!("{}/openai", world.gateway.url()));
    let issuer = world.azure.issuer.address();
    program.env("TOKEN_URL", format!("http://{issuer}/tenant/oauth2/v2.0/token"));
    program.env("CLIENT_ID", known.client_id).env("CLIENT_SECRET", known.client_secret);
    let output = program.stdin(Stdio::null()).output().await.unwrap();
    let (said, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && errors.contains(" completed"), "{errors}");
    let answers = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let answered: BTreeSet<_> =
        answers.map(|answer| answer["custom_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(answered, BTreeSet::from(["summary-1", "summary-2"].map(str::to_owned)));
    let requests = world.azure.openai.requests();
    assert_eq!(requests.len(), 5, "a file, a batch, two looks, the answers");
    assert!(requests.iter().all(|seen| values(seen, "authorization").len() == 1));
}
