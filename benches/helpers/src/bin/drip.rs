//! A backend that streams: `drip PORT`. Its answer to anything begins at once and has ten
//! server-sent events, 20 ms apart, like that of a model that thinks between its words.

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

const PAUSE: Duration = Duration::from_millis(20);
const EVENTS: usize = 10;
const EVENT: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"word \"}}]}\n\n";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let port: u16 = std::env::args().nth(1).ok_or("want a port")?.parse()?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    Ok(axum::serve(listener, Router::new().fallback(stream)).await?)
}

async fn stream() -> impl IntoResponse {
    let events = tokio_stream::iter(0..EVENTS).then(|number| async move {
        if number > 0 {
            sleep(PAUSE).await;
        }
        Ok::<_, Infallible>(EVENT)
    });
    ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(events))
}
