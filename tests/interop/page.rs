//! The page for those who call from Python: its blocks are run as they stand.

use serde_json::json;
use testkit::world::World;

use crate::openai_sdk::{TEXT, with_one_model};
use crate::program::Program;
use crate::usage::claude_world;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guides/call-from-python.md");

/// Runs the page's blocks but those that have this text, and returns what each printed.
async fn run(world: &World, without: &str) -> Vec<String> {
    let order = json!({
        "page": PAGE, "endpoint": world.gateway.url(), "token": world.token(), "without": without,
    });
    serde_json::from_value(Program::Python("page.py").run(&[], &order).await).unwrap()
}

#[tokio::test]
async fn what_the_page_says_of_openais_sdk_and_langchain_works_and_its_error_has_a_code() {
    let world = World::with(with_one_model).await;
    let printed = run(&world, "anthropic import").await;
    let answer = format!("{TEXT}\n");
    let [signed_in, openai, azure, langchain, refused] = &printed[..] else {
        panic!("{printed:?}")
    };
    assert_eq!(signed_in, "");
    assert_eq!([openai, azure, langchain], [&answer; 3]);
    assert!(refused.starts_with("403 deployment_forbidden Error code: 403"), "{refused}");
    assert!(
        refused.contains("The caller is not allowed to use the deployment 'gpt-4o'."),
        "{refused}"
    );
    world.assert_unharmed().await;
}

#[tokio::test]
async fn what_the_page_says_of_anthropics_sdk_works() {
    let (world, _backend) = claude_world().await;
    let printed = run(&world, "openai import").await;
    assert_eq!(printed, [String::new(), format!("{TEXT}\n")]);
    world.assert_unharmed().await;
}
