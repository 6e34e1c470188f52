use std::time::{Duration, Instant};

use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

use super::OpenAi;
use crate::{Imds, Options};

const RESOURCE: &str = "https://cognitiveservices.azure.com";
const CHAT: &str = "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21";

#[tokio::test]
async fn a_managed_identity_gets_an_answer() {
    let azure = Azure::start().await;
    let body = json!({ "messages": [{ "role": "user", "content": "Hello" }] });
    let answer = azure.post(CHAT, body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    for name in ["apim-request-id", "x-ms-region", "x-ratelimit-remaining-requests"] {
        assert!(answer.headers().contains_key(name), "{name}");
    }
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["model"], "gpt-4o");
    assert!(answer["choices"][0]["message"]["content"].is_string());
    let usage = |name: &str| answer["usage"][name].as_u64().unwrap();
    assert_eq!(usage("total_tokens"), usage("prompt_tokens") + usage("completion_tokens"));
    assert!(usage("prompt_tokens") > 0);
}

#[tokio::test]
async fn any_other_bearer_is_refused() {
    let azure = Azure::start().await;
    let wrong_resource = azure.token("https://management.azure.com").await;
    let caller = "eyJhbGciOiJSUzI1NiJ9.e30.c2ln".to_owned();
    azure.imds.set_lifetime(Duration::ZERO);
    let expired = azure.token(RESOURCE).await;
    for token in [wrong_resource, caller, expired, String::new()] {
        let request = azure.anonymous(CHAT).bearer_auth(token);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 401);
        let message = "Access token is missing, invalid, audience is incorrect \
            (https://cognitiveservices.azure.com), or have expired.";
        let error: Value = answer.json().await.unwrap();
        assert_eq!(error, json!({ "error": { "code": "401", "message": message } }));
    }
    assert_eq!(azure.anonymous(CHAT).send().await.unwrap().status(), 401);
    assert_eq!(azure.post(CHAT, json!({})).send().await.unwrap().status(), 200);
    assert_eq!(azure.openai.refusals(), 5);
}

#[tokio::test]
async fn a_good_bearer_beside_another_credential_is_refused() {
    let azure = Azure::start().await;
    let others =
        [("api-key", "k"), ("Ocp-Apim-Subscription-Key", "k"), ("authorization", "Bearer other")];
    for (name, value) in others {
        let answer = azure.post(CHAT, json!({})).header(name, value).send().await.unwrap();
        assert_eq!(answer.status(), 401, "{name}");
    }
    let basic = azure.anonymous(CHAT).header("authorization", format!("Basic {}", azure.token));
    assert_eq!(basic.send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn the_v1_interface_reads_the_deployment_from_the_model() {
    let azure = Azure::start().await;
    let chat = azure.post("/openai/v1/chat/completions", json!({ "model": "gpt-4o-mini" }));
    let answer: Value = chat.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["model"], "gpt-4o-mini");
    let nameless = azure.post("/openai/v1/chat/completions", json!({})).send().await.unwrap();
    assert_eq!(nameless.status(), 400);
}

#[tokio::test]
async fn embeddings_have_one_vector_for_each_input() {
    let azure = Azure::start().await;
    let by_path = "/openai/deployments/ada/embeddings?api-version=2024-10-21";
    for (path, input, expected) in
        [(by_path, json!("one"), 1), ("/openai/v1/embeddings", json!(["one", "two"]), 2)]
    {
        let body = json!({ "model": "ada", "input": input });
        let answer: Value = azure.post(path, body).send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["data"].as_array().unwrap().len(), expected);
        assert!(answer["data"][0]["embedding"][0].is_number());
        assert_eq!(answer["model"], "ada");
        assert!(answer["usage"]["prompt_tokens"].as_u64().unwrap() > 0);
    }
}

#[tokio::test]
async fn a_batch_answers_each_line_of_its_file() {
    let azure = Azure::start().await;
    let line = |id: &str| json!({ "custom_id": id, "body": { "model": "m", "messages": [] } });
    let file = format!("{}\n{}\n", line("one"), line("two"));
    let part = |head: &str, body: &str| {
        format!("--b\r\ncontent-disposition: form-data; name=\"{head}\"\r\n\r\n{body}\r\n")
    };
    let form = [part("purpose", "batch"), part("file", &file), "--b--\r\n".to_owned()].concat();
    let files = "/openai/v1/files";
    let uploaded = azure.anonymous(files).bearer_auth(&azure.token).body(form);
    let uploaded = uploaded.header("content-type", "multipart/form-data; boundary=b");
    let uploaded: Value = uploaded.send().await.unwrap().json().await.unwrap();
    let order = json!({
        "input_file_id": uploaded["id"], "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    });
    let batch = azure.post("/openai/v1/batches", order).send().await.unwrap();
    let mut batch: Value = batch.json().await.unwrap();
    let look = format!("/openai/v1/batches/{}", batch["id"].as_str().unwrap());
    for status in ["validating", "in_progress", "completed", "completed"] {
        assert_eq!(batch["status"], status);
        batch = azure.get(&look).await.json().await.unwrap();
    }
    let answers = format!("{files}/{}/content", batch["output_file_id"].as_str().unwrap());
    let answers = azure.get(&answers).await.text().await.unwrap();
    let answers = answers.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let answers: Vec<_> = answers.collect();
    let ids: Vec<_> = answers.iter().map(|answer| &answer["custom_id"]).collect();
    assert_eq!(ids, ["one", "two"]);
    assert!(answers[0]["response"]["body"]["choices"][0]["message"]["content"].is_string());
    let unknown = json!({
        "input_file_id": "file-0", "endpoint": "/v1/chat/completions", "completion_window": "24h",
    });
    assert_eq!(azure.post("/openai/v1/batches", unknown).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn what_is_not_there_is_not_found_in_azures_words() {
    let azure = Azure::start().await;
    let without_version = "/openai/deployments/gpt-4o/chat/completions";
    for path in [without_version, "/openai/deployments/gpt-4o/chat?api-version=1", "/"] {
        let answer = azure.post(path, json!({})).send().await.unwrap();
        assert_eq!(answer.status(), 404, "{path}");
        let error: Value = answer.json().await.unwrap();
        assert_eq!(error["error"], json!({ "code": "404", "message": "Resource not found" }));
    }
}

#[tokio::test]
async fn a_body_that_is_no_json_is_a_bad_request() {
    let azure = Azure::start().await;
    let answer = azure.anonymous(CHAT).bearer_auth(&azure.token).body("{").send().await.unwrap();
    assert_eq!(answer.status(), 400);
    assert_eq!(answer.json::<Value>().await.unwrap()["error"]["code"], "400");
}

#[tokio::test]
async fn health_needs_no_credential() {
    let azure = Azure::start().await;
    let url = format!("http://{}/healthz", azure.openai.address());
    let answer = reqwest::get(url).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (200, "ok"));
}

#[tokio::test]
async fn a_stream_arrives_frame_by_frame() {
    let azure = Azure::start().await;
    azure.openai.set_chunk_delay(Duration::from_millis(80));
    let begun = Instant::now();
    let mut answer = azure.post(CHAT, json!({ "stream": true })).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let first = answer.chunk().await.unwrap().unwrap();
    let (first, at) = (String::from_utf8(first.to_vec()).unwrap(), begun.elapsed());
    assert_eq!(first.matches("data: ").count(), 1, "the first frame comes alone");

    let mut chunks = 1;
    while answer.chunk().await.unwrap().is_some() {
        chunks += 1;
    }
    assert!(chunks >= 8, "{chunks} chunks");
    assert!(begun.elapsed() >= at + Duration::from_millis(400));
}

#[tokio::test]
async fn a_stream_begins_with_the_filters_opinion_and_ends_with_done() {
    let azure = Azure::start().await;
    let frames = azure.frames(json!({ "stream": true })).await;
    assert_eq!(frames[0]["choices"], json!([]));
    assert!(frames[0]["prompt_filter_results"].is_array());
    assert_eq!(frames.last().unwrap()["choices"][0]["finish_reason"], "stop");
    assert!(frames.iter().all(|frame| frame.get("usage").is_none()));

    let whole: Value = azure.post(CHAT, json!({})).send().await.unwrap().json().await.unwrap();
    let words = frames.iter().filter_map(|frame| frame["choices"][0]["delta"]["content"].as_str());
    assert_eq!(words.collect::<String>(), whole["choices"][0]["message"]["content"]);
}

#[tokio::test]
async fn a_stream_tells_the_usage_only_if_asked() {
    let azure = Azure::start().await;
    let body = json!({ "stream": true, "stream_options": { "include_usage": true } });
    let mut frames = azure.frames(body).await;
    let usage = frames.pop().unwrap();
    assert_eq!(usage["choices"], json!([]));
    assert!(usage["usage"]["completion_tokens"].as_u64().unwrap() > 0);
    assert!(frames.iter().all(|frame| frame["usage"].is_null()));
}

struct Azure {
    imds: Imds,
    openai: OpenAi,
    token: String,
}

impl Azure {
    async fn start() -> Self {
        let options = Options::default();
        let imds = Imds::start(&options).await.unwrap();
        let openai = OpenAi::start(&options, imds.clone()).await.unwrap();
        openai.set_chunk_delay(Duration::ZERO);
        let mut azure = Self { imds, openai, token: String::new() };
        azure.token = azure.token(RESOURCE).await;
        azure
    }

    async fn token(&self, resource: &str) -> String {
        let query = format!("?api-version=2018-02-01&resource={resource}");
        let url = format!("http://{}/metadata/identity/oauth2/token{query}", self.imds.address());
        let request = reqwest::Client::new().get(url).header("metadata", "true");
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        answer["access_token"].as_str().unwrap().to_owned()
    }

    fn anonymous(&self, path: &str) -> RequestBuilder {
        reqwest::Client::new().post(format!("http://{}{path}", self.openai.address()))
    }

    #[expect(clippy::needless_pass_by_value, reason = "calls read better without a borrow")]
    fn post(&self, path: &str, body: Value) -> RequestBuilder {
        self.anonymous(path).bearer_auth(&self.token).json(&body)
    }

    async fn get(&self, path: &str) -> Response {
        let request = reqwest::Client::new().get(format!("http://{}{path}", self.openai.address()));
        request.bearer_auth(&self.token).send().await.unwrap()
    }

    /// Returns every frame of a streamed answer but the last, which must be `[DONE]`.
    async fn frames(&self, body: Value) -> Vec<Value> {
        let answer: Response = self.post(CHAT, body).send().await.unwrap();
        let text = answer.text().await.unwrap();
        let events = text.strip_suffix("data: [DONE]\n\n").unwrap().split_terminator("\n\n");
        let data = events.map(|event| event.strip_prefix("data: ").unwrap());
        data.map(|data| serde_json::from_str(data).unwrap()).collect()
    }
}
