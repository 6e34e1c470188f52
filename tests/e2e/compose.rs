//! What `compose.yaml` runs, with the containers' names led to loopback.

use gateway::{Blueprint, Host};

use testkit::reply::Refusal;
use testkit::world::{World, values};

#[tokio::test]
async fn the_gateway_of_the_compose_file_does_what_the_shipped_one_does() {
    let configuration = Blueprint::shipped().for_containers(Host::Wasm);
    let bootstrap = serde_yaml_ng::from_str(&configuration).unwrap();
    let world = World::with(|shipped| shipped.edit(|file| *file = bootstrap)).await;
    // As in docs/install-docker.md: the control server mints the token.
    let url = format!("{}/issuer/token", world.azure.control_url());
    let token = reqwest::Client::new().post(url).send().await.unwrap().text().await.unwrap();
    let (_, seen) = world.admits(token.trim(), world.chat()).await;
    assert_eq!(values(&seen, "host"), ["my-openai.openai.azure.com"]);
    world.refuses(world.chat(), Refusal::token_missing()).await;
}
