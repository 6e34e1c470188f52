use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::post;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Fault, REMEMBERED, Recorded, Service};

#[tokio::test]
async fn a_request_is_recorded_as_it_arrived() {
    let service = echo().await;
    let request = b"POST /a%2Fb?x=1&x=2 HTTP/1.1\r\nHost: h\r\nX-Two: 1\r\nx-two: \xff\r\n\
        Connection: close\r\nContent-Length: 4\r\n\r\nbody";
    let answer = raw(service.address(), request).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 404"));

    let [recorded] = service.requests().try_into().unwrap();
    let Recorded { method, target, body, .. } = &recorded;
    assert_eq!((method.as_str(), target.as_str()), ("POST", "/a%2Fb?x=1&x=2"));
    assert_eq!(body, b"body");
    assert_eq!(recorded.header("X-TWO"), Some(b"1".as_slice()));
    assert_eq!(recorded.header_values("x-two"), [b"1".as_slice(), b"\xff"]);
    assert_eq!(recorded.header("absent"), None);
}

#[tokio::test]
async fn trailers_are_recorded() {
    let service = echo().await;
    let request = b"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTrailer: X-Sum\r\n\
        Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 1\r\n\r\n";
    assert!(raw(service.address(), request).await.unwrap().starts_with(b"HTTP/1.1 200"));
    let [recorded] = service.requests().try_into().unwrap();
    assert_eq!(recorded.trailers, [("x-sum".to_owned(), b"1".to_vec())]);
}

#[tokio::test]
async fn a_faulty_service_records_all_the_same_until_it_heals() {
    let service = echo().await;
    service.fault(Fault::Status(503));
    assert_eq!(send(&service).await.unwrap().status(), 503);
    service.heal();
    assert_eq!(send(&service).await.unwrap().text().await.unwrap(), "hello");
    assert_eq!(service.requests().len(), 2);
}

#[tokio::test]
async fn a_status_that_is_no_final_answer_becomes_500() {
    let service = echo().await;
    for status in [0, 99, 100, 101, 1000] {
        service.fault(Fault::Status(status));
        assert_eq!(send(&service).await.unwrap().status(), 500, "{status}");
    }
}

#[tokio::test]
async fn retry_after_is_given_in_seconds_and_milliseconds() {
    let service = echo().await;
    service.fault(Fault::RetryAfter { status: 429, after: Duration::from_millis(1500) });
    let answer = send(&service).await.unwrap();
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.headers()["retry-after"], "2");
    assert_eq!(answer.headers()["retry-after-ms"], "1500");
}

#[tokio::test]
async fn a_given_body_is_answered_exactly() {
    let service = echo().await;
    let body = b"<html>\xff".to_vec();
    service.fault(Fault::Body { status: 418, content_type: "text/html".into(), body });
    let answer = send(&service).await.unwrap();
    assert_eq!(answer.status(), 418);
    assert_eq!(answer.headers()["content-type"], "text/html");
    assert_eq!(answer.bytes().await.unwrap(), b"<html>\xff".as_slice());
}

#[tokio::test]
async fn an_answer_in_pieces_does_not_say_its_length() {
    let service = echo().await;
    let headers = vec![("x-two".into(), "1".into()), ("x-two".into(), "2".into())];
    let pieces = vec![b"one ".to_vec(), b"two".to_vec()];
    service.fault(Fault::Pieces { status: 401, headers, pieces });
    let request = b"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let answer = String::from_utf8(raw(service.address(), request).await.unwrap()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("x-two: 1\r\nx-two: 2\r\n"));
    assert!(answer.contains("transfer-encoding: chunked\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn the_requests_that_are_in_progress_are_counted_until_they_end() {
    let service = echo().await;
    for _ in 0..3 {
        send(&service).await.unwrap();
    }
    assert_eq!(service.most_at_once(), 1);
    service.fault(Fault::Delay(Duration::from_millis(300)));
    let (one, other) = tokio::join!(send(&service), send(&service));
    assert_eq!(
        (one.unwrap().status(), other.unwrap().status()),
        (200.try_into().unwrap(), 200.try_into().unwrap())
    );
    assert_eq!(service.most_at_once(), 2);
    service.heal();
    send(&service).await.unwrap();
    assert_eq!(service.0.in_progress.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[tokio::test]
async fn garbage_comes_with_200_and_is_no_json() {
    let service = echo().await;
    service.fault(Fault::Garbage);
    let answer = send(&service).await.unwrap();
    assert_eq!(answer.status(), 200);
    let body = answer.bytes().await.unwrap();
    assert!(serde_json::from_slice::<serde_json::Value>(&body).is_err());
}

#[tokio::test]
async fn a_truncated_answer_is_the_first_half_and_a_whole_message() {
    let service = echo().await;
    service.fault(Fault::Truncated);
    let request =
        b"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello";
    let answer = String::from_utf8(raw(service.address(), request).await.unwrap()).unwrap();
    assert!(answer.contains("content-length: 2\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nhe"), "{answer}");
}

#[tokio::test]
async fn a_giant_answer_is_json_of_that_size() {
    let service = echo().await;
    service.fault(Fault::Giant(2_000_000));
    let body = send(&service).await.unwrap().bytes().await.unwrap();
    assert_eq!(body.len(), 2_000_000);
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&body).unwrap(), serde_json::json!({}));
}

#[tokio::test]
async fn an_answer_is_changed_in_some_members_if_it_is_an_object() {
    let object = async || axum::Json(serde_json::json!({"a": 1, "b": 2, "c": 3}));
    let router = Router::new().route("/", post(object));
    let service = Service::start(router, ([127, 0, 0, 1], 0).into()).await.unwrap();
    let members = serde_json::json!({"b": "two", "c": null, "d": [4]});
    service.fault(Fault::Changed(members.as_object().unwrap().clone()));
    let answer: serde_json::Value = send(&service).await.unwrap().json().await.unwrap();
    assert_eq!(answer, serde_json::json!({"a": 1, "b": "two", "d": [4]}));

    let service = echo().await;
    service.fault(Fault::Changed(serde_json::Map::new()));
    assert_eq!(send(&service).await.unwrap().text().await.unwrap(), "hello");
}

#[tokio::test]
async fn a_delayed_answer_is_the_honest_one() {
    let service = echo().await;
    service.fault(Fault::Delay(Duration::from_millis(80)));
    let begun = Instant::now();
    assert_eq!(send(&service).await.unwrap().text().await.unwrap(), "hello");
    assert!(begun.elapsed() >= Duration::from_millis(80));
}

#[tokio::test]
async fn close_drops_the_connection_without_a_byte() {
    let service = echo().await;
    service.fault(Fault::Close);
    let answer = raw(service.address(), GREETING).await.unwrap();
    assert_eq!(answer, b"", "an orderly end, and nothing before it");
    assert_eq!(service.requests().len(), 1, "the request was taken first");
}

#[tokio::test]
async fn a_hanging_service_takes_the_request_and_never_answers() {
    let service = echo().await;
    service.fault(Fault::Hang);
    let answer = raw(service.address(), GREETING);
    assert!(timeout(Duration::from_millis(200), answer).await.is_err());
    assert_eq!(service.requests().len(), 1);
}

#[tokio::test]
async fn a_stopped_service_refuses_connections_until_it_resumes_on_its_port() {
    let service = echo().await;
    let address = service.address();
    service.stop().await;
    service.stop().await;
    let refused = TcpStream::connect(address).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);

    service.resume().await.unwrap();
    service.resume().await.unwrap();
    assert_eq!(service.address(), address);
    assert_eq!(send(&service).await.unwrap().status(), 200);
}

#[tokio::test]
async fn stopping_ends_the_connections_that_were_kept_alive_or_hang() {
    let service = echo().await;
    let mut idle = TcpStream::connect(service.address()).await.unwrap();
    idle.write_all(GREETING).await.unwrap();
    let mut answer = [0; 1024];
    assert!(idle.read(&mut answer).await.unwrap() > 0);

    service.fault(Fault::Hang);
    let hanging = tokio::spawn(raw(service.address(), GREETING));
    while service.requests().len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    service.stop().await;
    assert_eq!(idle.read(&mut answer).await.unwrap(), 0);
    assert_eq!(hanging.await.unwrap().unwrap(), b"");
}

#[tokio::test]
async fn only_the_latest_requests_are_remembered() {
    let service = echo().await;
    let request = |target: String| Recorded {
        method: "GET".into(),
        target,
        headers: Vec::new(),
        body: Vec::new(),
        trailers: Vec::new(),
    };
    (0..=REMEMBERED).for_each(|n| service.record(request(n.to_string())));
    let requests = service.requests();
    assert_eq!(requests.len(), REMEMBERED);
    assert_eq!(requests[0].target, "1");
}

const GREETING: &[u8] = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello";

async fn echo() -> Service {
    let router = Router::new().route("/", post(async |body: String| body));
    Service::start(router, ([127, 0, 0, 1], 0).into()).await.unwrap()
}

async fn send(service: &Service) -> reqwest::Result<reqwest::Response> {
    let url = format!("http://{}/", service.address());
    reqwest::Client::new().post(url).body("hello").send().await
}

/// Sends bytes and reads until the other side closes.
async fn raw(address: SocketAddr, request: &'static [u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer)
}
