//! Routing by model, as docs/guides/routing-by-model.md has it: its own snippets in the shipped Envoy,
//! with a second resource that has the other model.

use local_azure::{LocalAzure, OpenAi, Options};
use serde_json::{Value, json};
use serde_yaml_ng::Value as Yaml;
use testkit::reply::{Refusal, Reply};
use testkit::world::{World, chat_body, shipped, values};

const GUIDE: &str = include_str!("../../docs/guides/routing-by-model.md");

/// Where a request names its model.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    Body,
    Path,
}

/// Returns the text of the guide's first snippet after this heading in this language.
fn snippet(heading: &str, language: &str) -> &'static str {
    let (_, rest) = GUIDE.split_once(heading).expect("a heading");
    let (_, rest) = rest.split_once(&format!("```{language}\n")).expect("a snippet");
    rest.split_once("```").expect("its end").0
}

/// A world in which `o3` is another resource's.
async fn world(form: Form) -> (World, OpenAi) {
    let azure = LocalAzure::start(Options::default()).await.unwrap();
    let options = Options::default();
    let other = OpenAi::start(&options, azure.imds.clone()).await.unwrap();
    let heading = if form == Form::Path { "## In the path" } else { "## In the body" };
    let route: Value = serde_json::from_str(snippet(heading, "json")).unwrap();
    let envoy: Yaml = serde_yaml_ng::from_str(snippet("## Envoy", "yaml")).unwrap();
    let blueprint = shipped(&azure)
        .plugin(|plugin| {
            let routes = plugin["routes"].as_array_mut().unwrap();
            routes.insert(0, route["routes"][0].clone());
        })
        .plugin_config(|config| config["allow_on_headers_stop_iteration"] = true.into())
        .connection_manager(|manager| {
            let routes = &mut manager["route_config"]["virtual_hosts"][0]["routes"];
            let routes = routes.as_sequence_mut().unwrap();
            routes.splice(0..0, envoy.as_sequence().unwrap().iter().cloned());
        })
        .cluster("openai_reasoning", other.address());
    (World::on(azure, blueprint).await, other)
}

async fn ask(world: &World, form: Form, model: &str) -> Reply {
    let mut body = chat_body(false);
    let target = match form {
        Form::Path => format!("/openai/deployments/{model}/chat/completions?api-version=1"),
        Form::Body => {
            body["model"] = json!(model);
            "/openai/v1/chat/completions".to_owned()
        }
    };
    let request = world.post(&target, &body).bearer_auth(world.token());
    Reply::to(request.header("x-deployment", "gpt-4o")).await.unwrap()
}

#[tokio::test]
async fn each_model_is_asked_of_the_resource_that_has_it() {
    for form in [Form::Path, Form::Body] {
        let (world, other) = world(form).await;
        for (model, expected) in [("gpt-4o", [1, 0]), ("o3", [1, 1]), ("gpt-4o", [2, 1])] {
            let reply = ask(&world, form, model).await;
            assert_eq!(reply.status, 200, "{form:?} {model}: {reply:?}");
            assert_eq!(reply.json()["model"], model);
            let counts = [world.azure.openai.requests().len(), other.requests().len()];
            assert_eq!(counts, expected, "{form:?} {model}");
        }
        let seen = other.requests().pop().unwrap();
        assert_eq!(values(&seen, "x-deployment"), ["o3"], "what the caller says is removed");
        world.assert_unharmed().await;
    }
}

#[tokio::test]
async fn a_model_that_no_resource_has_is_not_found_in_openais_words() {
    for form in [Form::Path, Form::Body] {
        let (world, other) = world(form).await;
        let reply = ask(&world, form, "gpt-9").await;
        Refusal::model_not_found().is(&reply);
        let error = &reply.json()["error"];
        let message = "The model 'gpt-9' does not exist or you do not have access to it.";
        assert_eq!(
            (&error["message"], &error["type"]),
            (&json!(message), &json!("invalid_request_error"))
        );
        assert_eq!(world.azure.openai.requests().len() + other.requests().len(), 0);
    }
}
