//! Four backends behind the shipped clusters: provisioned capacity, two pay-as-you-go regions, and a
//! model server on premises. What is claimed is counted at the backends.

mod ejection;
mod names;
mod on_prem;
mod retries;

use std::net::SocketAddr;
use std::time::Duration;

use gateway::Blueprint;
use local_azure::{Fault, LocalAzure, OpenAi, Options};

use testkit::reply::Reply;
use testkit::world::World;

const PROVISIONED: &str = "openai_provisioned";
const PAY_AS_YOU_GO: &str = "openai_pay_as_you_go";

/// The host names of the provisioned endpoint and the two regions, in the file's order.
const NAMES: [&str; 3] = [
    "my-openai.openai.azure.com",
    "my-openai-sweden.openai.azure.com",
    "my-openai-france.openai.azure.com",
];

/// Holds an Azure with one backend for each endpoint of the file.
struct Backends {
    world: LocalAzure,
    azure: [OpenAi; 3],
    on_prem: OpenAi,
}

/// Holds a world with these backends.
struct Tiers {
    world: World,
    /// The provisioned deployment, Sweden with two thirds of the rest, France with one.
    azure: [OpenAi; 3],
    on_prem: OpenAi,
}

impl Backends {
    async fn start() -> Self {
        let world = LocalAzure::start(Options::default()).await.unwrap();
        let options = Options::default();
        let more = async || OpenAi::start(&options, world.imds.clone()).await.unwrap();
        let azure = [world.openai.clone(), more().await, more().await];
        let on_prem = more().await;
        Self { world, azure, on_prem }
    }
}

impl Tiers {
    async fn start() -> Self {
        Self::with(|shipped| shipped).await
    }

    async fn with(change: impl FnOnce(Blueprint) -> Blueprint) -> Self {
        let backends = Backends::start().await;
        let addresses = backends.azure.each_ref().map(OpenAi::address);
        Self::on(backends, addresses, change).await
    }

    /// Starts a gateway that finds the three at these addresses.
    async fn on(
        backends: Backends,
        addresses: [SocketAddr; 3],
        change: impl FnOnce(Blueprint) -> Blueprint,
    ) -> Self {
        let Backends { world, azure, on_prem } = backends;
        let shipped = Blueprint::shipped()
            .endpoint("entra", world.issuer.address())
            .endpoint("imds", world.imds.address())
            .endpoint("openai_single", azure[0].address())
            .endpoint("on_prem", on_prem.address());
        let clusters = [PROVISIONED, PAY_AS_YOU_GO, PAY_AS_YOU_GO];
        let blueprint = clusters.into_iter().zip(addresses).fold(shipped, |shipped, at| {
            let (cluster, address) = at;
            shipped.endpoint(cluster, address)
        });
        Self { world: World::on(world, change(blueprint)).await, azure, on_prem }
    }

    /// Counts the requests that each of the three has seen.
    fn counts(&self) -> [usize; 3] {
        self.azure.each_ref().map(|backend| backend.requests().len())
    }

    /// Asks as often as this, one after the other, and counts where the requests arrived.
    async fn spread(&self, requests: usize) -> [usize; 3] {
        let before = self.counts();
        for _ in 0..requests {
            assert_eq!(self.chat().await.status, 200);
        }
        let after = self.counts();
        std::array::from_fn(|index| after[index] - before[index])
    }

    async fn chat(&self) -> Reply {
        Reply::to(self.world.chat_as(&self.world.token())).await.unwrap()
    }
}

/// The answer of a deployment that has no capacity left.
fn full(seconds: u64) -> Fault {
    Fault::RetryAfter { status: 429, after: Duration::from_secs(seconds) }
}
