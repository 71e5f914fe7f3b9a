use std::io::Read as _;
use std::thread::JoinHandle;
use std::time::Instant;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsPartialSuccess;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsPartialSuccess;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use ureq::http::HeaderValue;
use ureq::tls::Certificate;

use super::*;
use crate::sinks::otlp::receiver::{Receiver, Request, answer};

fn settings(endpoint: String) -> Settings {
    Settings {
        endpoint,
        headers: vec![("authorization".to_owned(), "Basic eA==".to_owned())],
        gzip: false,
        timeout: Duration::from_secs(5),
        roots: None,
        resource: Vec::new(),
        interval: Duration::from_secs(1),
    }
}

/// What the client makes of an answer, and what it had sent.
fn ask(
    signal: Signal,
    status: &'static str,
    headers: &'static [&str],
    body: &[u8],
) -> (Answer, Request) {
    let body = body.to_vec();
    let receiver = Receiver::start(move |_, _| answer(status, headers, &body));
    let client = Client::new(settings(receiver.endpoint()));
    let answer = client.send(signal, b"\x0a\x00", None);
    let [request] = &receiver.seen()[..] else { panic!("{:?}", receiver.seen()) };
    (answer, request.clone())
}

#[test]
fn a_request_is_as_the_protocol_wants_it() {
    let (said, request) = ask(Signal::Logs, "200 OK", &[], b"");
    assert_eq!(said, Answer::Taken { rejected: 0, why: String::new() });
    assert_eq!(request.path, "/v1/logs");
    assert_eq!(request.body, b"\x0a\x00");
    assert_eq!(request.header("content-type"), Some("application/x-protobuf"));
    assert_eq!(request.header("authorization"), Some("Basic eA=="));
    assert_eq!(request.header("content-encoding"), None);
    let agent = format!("tracer/{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(request.header("user-agent"), Some(&*agent));
    assert_eq!(ask(Signal::Metrics, "200 OK", &[], b"").1.path, "/v1/metrics");
}

#[test]
fn a_path_stays_before_the_signal() {
    let client = Client::new(settings("https://otel.example/otlp".to_owned()));
    assert_eq!(client.url(Signal::Metrics), "https://otel.example/otlp/v1/metrics");
}

#[test]
fn what_is_compressed_says_so() {
    let receiver = Receiver::start(|_, _| answer("200 OK", &[], b""));
    let client = Client::new(Settings { gzip: true, ..settings(receiver.endpoint()) });
    let body = b"the same again and again, ".repeat(1000);
    let packed = client.pack(body.clone());
    assert!(packed.len() < body.len() / 10);
    client.send(Signal::Logs, &packed, None);
    let request = receiver.seen().remove(0);
    assert_eq!(request.header("content-encoding"), Some("gzip"));
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&*request.body).read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked, body);
}

#[test]
fn partial_success_is_read() {
    let response = ExportLogsServiceResponse {
        partial_success: Some(ExportLogsPartialSuccess {
            rejected_log_records: 3,
            error_message: "too \x1b[31mold".to_owned(),
        }),
    };
    let (said, _) = ask(Signal::Logs, "200 OK", &[], &response.encode_to_vec());
    assert_eq!(said, Answer::Taken { rejected: 3, why: "too \\x1b[31mold".to_owned() });
    let response = ExportMetricsServiceResponse {
        partial_success: Some(ExportMetricsPartialSuccess {
            rejected_data_points: -1,
            error_message: String::new(),
        }),
    };
    let (said, _) = ask(Signal::Metrics, "200 OK", &[], &response.encode_to_vec());
    assert_eq!(said, Answer::Taken { rejected: 0, why: String::new() });
    // A body that is none of the protocol's takes nothing back.
    let (said, _) = ask(Signal::Logs, "200 OK", &[], b"{}\xff");
    assert_eq!(said, Answer::Taken { rejected: 0, why: String::new() });
    let (said, _) = ask(Signal::Logs, "204 No Content", &[], b"");
    assert_eq!(said, Answer::Taken { rejected: 0, why: String::new() });
}

#[test]
fn some_failures_pass_and_some_do_not() {
    for status in ["429 Too Many Requests", "502 Bad Gateway", "503 Busy", "504 Gateway Timeout"] {
        let (said, _) = ask(Signal::Logs, status, &[], b"");
        assert!(matches!(said, Answer::Later { after: None, .. }), "{status}: {said:?}");
        let (said, _) = ask(Signal::Logs, status, &["Retry-After: 17"], b"");
        let after = Some(Duration::from_secs(17));
        assert!(matches!(&said, Answer::Later { after: of, .. } if *of == after), "{said:?}");
    }
    for (status, number) in [
        ("301 Moved Permanently", 301),
        ("400 Bad Request", 400),
        ("401 Unauthorized", 401),
        ("404 Not Found", 404),
        ("413 Content Too Large", 413),
        ("500 Internal Server Error", 500),
        ("501 Not Implemented", 501),
    ] {
        let (said, _) = ask(Signal::Logs, status, &["Location: http://127.0.0.1:1/"], b"");
        assert!(matches!(said, Answer::Refused { status, .. } if status == number), "{said:?}");
    }
}

#[test]
fn a_failure_says_why_in_harmless_words() {
    let status = Status { message: "no \x07such tenant".to_owned() };
    let kind = &["content-type: application/x-protobuf"];
    let (said, _) = ask(Signal::Logs, "400 Bad Request", kind, &status.encode_to_vec());
    let why = "400 Bad Request: no \\x07such tenant".to_owned();
    assert_eq!(said, Answer::Refused { status: 400, why });
    let text = [b"no\n\xff", "x".repeat(5000).as_bytes()].concat();
    let (said, _) = ask(Signal::Logs, "401 Unauthorized", &["content-type: text/plain"], &text);
    let Answer::Refused { why, .. } = said else { panic!("{said:?}") };
    assert!(why.starts_with("401 Unauthorized: no\\n") && why.len() < 300, "{why}");
    let (said, _) = ask(Signal::Logs, "404 Not Found", &["content-type: text/html"], b"<html>");
    assert_eq!(said, Answer::Refused { status: 404, why: "404 Not Found".to_owned() });
}

#[test]
fn who_can_not_be_reached_may_be_later() {
    // Nobody listens on a port that was just given back.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = Client::new(settings(format!("http://{free}")));
    let said = client.send(Signal::Logs, b"", None);
    assert!(matches!(&said, Answer::Later { after: None, why } if !why.is_empty()), "{said:?}");
    // Who answers something else than HTTP.
    let receiver = Receiver::start(|_, _| b"\0\0\x12\x04\0\0\0\0\0".to_vec());
    let client = Client::new(settings(receiver.endpoint()));
    assert!(matches!(
        client.send(Signal::Logs, b"", Some(Duration::from_secs(1))),
        Answer::Later { .. }
    ));
    // Who says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Client::new(settings(format!("http://{}", silent.local_addr().unwrap())));
    let begin = Instant::now();
    let said = client.send(Signal::Logs, b"", Some(Duration::from_millis(200)));
    assert!(matches!(said, Answer::Later { after: None, .. }), "{said:?}");
    assert!(begin.elapsed() < Duration::from_secs(4));
}

/// A receiver of one request behind TLS, its certificate, and what came in the clear.
fn tls_receiver(name: &str) -> (String, Certificate<'static>, JoinHandle<Vec<u8>>) {
    let certified = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let certificate = certified.cert.der().clone();
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("https://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let thread = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let connection = ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = StreamOwned::new(connection, stream);
        let mut clear = Vec::new();
        let mut part = [0; 4096];
        while !clear.ends_with(b"the body") {
            match stream.read(&mut part) {
                Ok(n @ 1..) => clear.extend_from_slice(&part[..n]),
                _ => return clear,
            }
        }
        stream.write_all(&answer("200 OK", &[], b"")).unwrap();
        stream.flush().unwrap();
        clear
    });
    (endpoint, Certificate::from_der(&certificate).to_owned(), thread)
}

#[test]
fn a_receiver_is_trusted_whose_certificate_is() {
    let (endpoint, certificate, thread) = tls_receiver("127.0.0.1");
    let client = Client::new(Settings { roots: Some(vec![certificate]), ..settings(endpoint) });
    let said = client.send(Signal::Logs, b"the body", None);
    assert_eq!(said, Answer::Taken { rejected: 0, why: String::new() });
    assert!(thread.join().unwrap().starts_with(b"POST /v1/logs"));
}

#[test]
fn an_untrusted_receiver_is_told_nothing() {
    let (_, other, _) = tls_receiver("127.0.0.1");
    for (name, roots) in [
        // Whom the system does not know, whom somebody else vouches for, who is somebody else.
        ("127.0.0.1", None),
        ("127.0.0.1", Some(vec![other])),
        ("elsewhere.example", None),
    ] {
        let (endpoint, own, thread) = tls_receiver(name);
        let roots = if name == "127.0.0.1" { roots } else { Some(vec![own]) };
        let client = Client::new(Settings { roots, ..settings(endpoint) });
        let said = client.send(Signal::Logs, b"the body", None);
        let Answer::Later { after: None, why } = said else { panic!("{name}: {said:?}") };
        assert!(why.contains("certificate"), "{why}");
        assert!(thread.join().unwrap().is_empty());
    }
}

#[test]
fn nothing_is_sent_to_who_does_not_speak_tls() {
    let receiver = Receiver::start(|_, _| answer("200 OK", &[], b""));
    let client = Client::new(settings(receiver.endpoint().replace("http:", "https:")));
    let said = client.send(Signal::Logs, b"", Some(Duration::from_secs(1)));
    assert!(matches!(said, Answer::Later { .. }), "{said:?}");
    assert!(receiver.seen().is_empty());
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let now: Timestamp = "1994-11-06T08:49:00Z".parse().unwrap();
    for (text, seconds) in [
        ("0", Some(0)),
        ("120", Some(120)),
        ("999999", Some(3600)),
        ("Sun, 06 Nov 1994 08:49:37 GMT", Some(37)),
        ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
        ("soon", None),
        ("-1", None),
        ("", None),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static(text));
        assert_eq!(retry_after(&headers, now), seconds.map(Duration::from_secs), "{text}");
    }
    assert_eq!(retry_after(&HeaderMap::new(), now), None);
}
