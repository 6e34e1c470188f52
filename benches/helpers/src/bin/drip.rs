//! A backend that streams: `drip PORT EVENTS PAUSE`. Its answer to anything begins at once and has so
//! many server-sent events, so many milliseconds apart, like that of a model that thinks between its
//! words. It ends with what was used.

use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use tokio::net::TcpListener;
use tokio::time::sleep;
use tokio_stream::StreamExt;

/// As long as a model's.
const EVENT: &str = concat!(
    "data: {\"choices\":[{\"content_filter_results\":{},\"delta\":{\"content\":\" word\"},",
    "\"finish_reason\":null,\"index\":0,\"logprobs\":null}],\"created\":1764000000,",
    "\"id\":\"chatcmpl-0\",\"model\":\"gpt-4o\",\"object\":\"chat.completion.chunk\"}\n\n",
);

/// What a stream ends with.
const END: &str = concat!(
    "data: {\"choices\":[],\"created\":1764000000,\"id\":\"chatcmpl-0\",\"model\":\"gpt-4o\",",
    "\"object\":\"chat.completion.chunk\",\"usage\":{\"completion_tokens\":300,\"prompt_tokens\":400,",
    "\"total_tokens\":700}}\n\ndata: [DONE]\n\n",
);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<u64> =
        std::env::args().skip(1).map(|word| word.parse()).collect::<Result<_, _>>()?;
    let [port, events, pause] = arguments[..] else { return Err("want PORT EVENTS PAUSE".into()) };
    let listener = TcpListener::bind(("127.0.0.1", u16::try_from(port)?)).await?;
    let pause = Duration::from_millis(pause);
    let answer = move || async move { stream(events, pause) };
    Ok(axum::serve(listener, Router::new().fallback(answer)).await?)
}

fn stream(events: u64, pause: Duration) -> impl IntoResponse {
    let events = tokio_stream::iter(0..events).then(move |number| async move {
        if number > 0 {
            sleep(pause).await;
        }
        Ok::<_, Infallible>(EVENT)
    });
    let events = events.chain(tokio_stream::iter([Ok(END)]));
    ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(events))
}
