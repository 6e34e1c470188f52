//! A gateway on what istiod made of the files in `istio/`, in front of three backends.

use gateway::Blueprint;
use local_azure::{LocalAzure, OpenAi, Options};
use serde_json::Value;

use crate::recorded::Recording;
use crate::world::World;

/// Holds the backends that `outside.yaml` has besides the world's own.
#[derive(Debug)]
pub struct Standard(pub [OpenAi; 2]);

impl Standard {
    /// Counts what both backends of that tier have received.
    pub fn requests(&self) -> usize {
        self.0.iter().map(|backend| backend.requests().len()).sum()
    }
}

/// Starts a gateway on the files, with an edited configuration of keyless's and an edited bootstrap.
pub async fn world_of(
    kind: &str,
    edit: impl FnOnce(&mut Value),
    change: impl FnOnce(Blueprint) -> Blueprint,
) -> (World, Standard) {
    let azure = LocalAzure::start(Options::default()).await.unwrap();
    let options = Options::default();
    let more = async || OpenAi::start(&options, azure.imds.clone()).await.unwrap();
    let standard = Standard([more().await, more().await]);
    let blueprint = Recording::of(kind)
        .blueprint()
        .plugin(edit)
        .endpoint("outbound|443||login.microsoftonline.com", azure.issuer.address())
        .endpoint("outbound|80||imds.internal", azure.imds.address())
        .endpoint("outbound|443||openai.internal", azure.openai.address())
        .endpoint("outbound|443||openai.internal", standard.0[0].address())
        .endpoint("outbound|443||openai.internal", standard.0[1].address())
        .endpoint("outbound|443||my-openai.openai.azure.com", azure.openai.address())
        .endpoint("outbound|443||models.example.com", standard.0[1].address());
    (World::on(azure, change(blueprint)).await, standard)
}

/// Starts a gateway on the files as they are; the kind is that of the resource that loads keyless.
pub async fn world(kind: &str) -> (World, Standard) {
    world_of(kind, |_| (), |blueprint| blueprint).await
}
