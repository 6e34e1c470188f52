//! One row: a world, a fault, callers, and what is counted.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use gateway::{Blueprint, StartOptions};
use local_azure::{Imds, LocalAzure, Options};
use tokio::sync::Semaphore;
use tokio::task::JoinError;

use super::load::{Load, Sample};
use super::pace::Pace;
use testkit::world::{World, shipped};

/// Says what is broken, and how it is played.
#[derive(Clone, Copy)]
pub(super) struct Row {
    /// What is broken, in the page's words.
    pub(super) fault: &'static str,
    /// True if a VM is to trap.
    pub(super) traps: bool,
    /// Plays it; a function without state, so that rows can run side by side.
    pub(super) play: fn(Pace) -> Pin<Box<dyn Future<Output = Outcome>>>,
}

/// Tells what came of it.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// How long callers came.
    pub(super) lasted: Duration,
    /// The number of answers by status; zero stands for none.
    pub(super) answers: BTreeMap<u16, usize>,
    pub(super) longest: Duration,
    /// How often the identity token was asked for, whether IMDS could hear it or not.
    pub(super) tries: u64,
    /// How often that may be.
    pub(super) bound: u64,
    /// How many VMs were restarted after a trap.
    pub(super) reloads: u64,
    /// How many answers are Envoy's own, because a VM has trapped.
    pub(super) by_envoy: usize,
    /// What must not be.
    pub(super) complaints: Vec<String>,
    /// What else is worth a word in the table.
    pub(super) note: Option<String>,
}

/// Holds the world of a row while it is played.
pub(super) struct Stage {
    pub(super) world: World,
    pub(super) load: Load,
}

/// How long a request may wait in keyless, and what the rest of the way takes on a busy machine.
const MAX_WAIT: Duration = Duration::from_secs(10);
const MARGIN: Duration = Duration::from_secs(3);

/// Makes an IMDS that is as it should be.
pub(super) async fn azure() -> LocalAzure {
    LocalAzure::start(Options::default()).await.unwrap()
}

/// Starts a world when few others do: to compile the module takes all of a small machine.
pub(super) async fn world(azure: LocalAzure, blueprint: Blueprint, options: StartOptions) -> World {
    static STARTS: Semaphore = Semaphore::const_new(2);
    let _turn = STARTS.acquire().await;
    let ready_within = Duration::from_mins(3);
    World::run(azure, blueprint, StartOptions { ready_within, ..options }).await
}

impl Stage {
    /// Raises the curtain: with the shipped configuration, and IMDS prepared like this.
    pub(super) async fn of(pace: Pace, prepare: impl AsyncFnOnce(&Imds)) -> Self {
        let azure = azure().await;
        prepare(&azure.imds).await;
        let blueprint = shipped(&azure);
        Self::on(pace, azure, blueprint, StartOptions::default()).await
    }

    pub(super) async fn on(
        pace: Pace,
        azure: LocalAzure,
        blueprint: Blueprint,
        options: StartOptions,
    ) -> Self {
        Self::begin(pace, world(azure, blueprint, options).await)
    }

    /// Lets the callers come.
    pub(super) fn begin(pace: Pace, world: World) -> Self {
        let load = Load::begin(&world, pace.rate());
        Self { world, load }
    }

    pub(super) fn imds(&self) -> &Imds {
        &self.world.azure.imds
    }

    /// Lets the callers finish, and judges what is the same in every row. The bound is on the number
    /// of tries.
    pub(super) async fn end(self, bound: u64) -> (Outcome, Vec<Sample>, World) {
        let Self { world, load } = self;
        let lasted = load.elapsed();
        let samples = load.end().await;
        // One may be under way, and IMDS hears nothing of those that found it down.
        let tries = tries(&world).await.max(world.identity_fetches() as u64);
        let mut outcome = Outcome { lasted, tries, bound, ..Outcome::default() };
        for sample in &samples {
            *outcome.answers.entry(sample.status).or_default() += 1;
            outcome.longest = outcome.longest.max(sample.wait);
        }
        outcome.judge(&samples, &world);
        outcome.reloads = reloads(&world).await;
        (outcome, samples, world)
    }
}

impl Outcome {
    /// Notes a complaint unless this is so.
    pub(super) fn expect(&mut self, is_so: bool, otherwise: impl FnOnce() -> String) {
        if !is_so {
            self.complaints.push(otherwise());
        }
    }

    /// Tells of a row that could not be played to its end.
    pub(super) fn of_panic(error: &JoinError) -> Self {
        Self { complaints: vec![error.to_string()], ..Self::default() }
    }

    fn judge(&mut self, samples: &[Sample], world: &World) {
        let Self { longest, tries, bound, .. } = *self;
        let blamed = samples.iter().find(|sample| !matches!(sample.status, 200 | 503));
        let problem = blamed.and_then(|sample| sample.problem.as_deref()).unwrap_or("an answer");
        self.expect(blamed.is_none(), || format!("not ours to give: {problem}: {blamed:?}"));
        let is_by_envoy = |sample: &&Sample| sample.status == 503 && !sample.is_our_503;
        self.by_envoy = samples.iter().filter(is_by_envoy).count();
        self.expect(longest <= MAX_WAIT + MARGIN, || format!("somebody waited {longest:?}"));
        let refused = world.azure.openai.refusals();
        self.expect(refused == 0, || format!("{refused} tokens that the backend refused"));
        self.expect(tries <= bound, || format!("{tries} tries instead of {bound}"));
    }

    /// Complains if a VM has trapped.
    pub(super) fn unharmed(&mut self) {
        let Self { reloads, by_envoy, .. } = *self;
        let is_unharmed = reloads == 0 && by_envoy == 0;
        self.expect(is_unharmed, || format!("{reloads} VMs trapped, {by_envoy} answers by Envoy"));
    }

    /// Complains if somebody was not served who came in that time.
    pub(super) fn all_served(&mut self, samples: &[Sample], from: Duration, to: Duration) {
        let came = || samples.iter().filter(|sample| (from..to).contains(&sample.at));
        let unserved = came().find(|sample| sample.status != 200);
        self.expect(came().count() > 0, || format!("nobody came from {from:?} to {to:?}"));
        self.expect(unserved.is_none(), || format!("from {from:?} to {to:?}: {unserved:?}"));
    }
}

/// Counts how often keyless has asked for the identity token, with whatever result.
pub(super) async fn tries(world: &World) -> u64 {
    let stats = world.gateway.stats().await.unwrap();
    // The dynamic module's labels are joined by dots.
    let names = ["keyless_fetches.kind=.=identity;", "keyless_fetches.kind.identity."];
    let own = stats.iter().filter(|(name, _)| names.iter().any(|own| name.contains(own)));
    own.map(|(_, count)| count).sum()
}

/// Counts the VMs that were restarted.
async fn reloads(world: &World) -> u64 {
    let stats = world.gateway.stats().await.unwrap();
    let own = stats.iter().filter(|(name, _)| name.ends_with("vm_reload_success"));
    own.map(|(_, count)| count).sum()
}

/// The most tries that may begin in that time if all of them fail, the first at its beginning: the
/// pauses are 2, 6, 14, 30 and 60 s and no longer than `longest`, each shortened by up to a tenth.
pub(super) fn most_tries(time: Duration, longest: u64) -> u64 {
    let pauses = [2, 6, 14, 30, 60].into_iter().chain(std::iter::repeat(longest));
    let begun = pauses.scan(Duration::ZERO, |begun, pause| {
        *begun += Duration::from_secs(pause.min(longest)).mul_f64(0.9);
        Some(*begun)
    });
    1 + begun.take_while(|begun| *begun <= time).count() as u64
}
