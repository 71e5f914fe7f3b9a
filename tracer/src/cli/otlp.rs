//! Options of the export by OTLP.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::values;

/// Where records and metrics are sent by OTLP, and how.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "OpenTelemetry")]
pub struct OtlpOptions {
    /// Send records as logs, and metrics, to an OpenTelemetry Collector by OTLP/HTTP:
    /// http://localhost:4318
    #[arg(long, value_name = "ENDPOINT", hide = HIDDEN, value_parser = endpoint)]
    pub otlp: Option<String>,
    /// Header of every request; may be repeated. OTEL_EXPORTER_OTLP_HEADERS keeps a secret out of
    /// the list of processes
    #[arg(long = "otlp-header", value_name = "NAME=VALUE", hide = HIDDEN, requires = "otlp",
          value_parser = header)]
    pub otlp_headers: Vec<(String, String)>,
    /// Compress what is sent [default: OTEL_EXPORTER_OTLP_COMPRESSION, or none]
    #[arg(long, value_name = "HOW", hide = HIDDEN, requires = "otlp")]
    pub otlp_compression: Option<Compression>,
    /// Send the metrics every so many seconds
    #[arg(long, value_name = "SECS", hide = HIDDEN, requires = "otlp", default_value = "10",
          value_parser = values::seconds)]
    pub otlp_interval: Duration,
}

/// Where it was left out at compile time the help does not offer it; who asks for it all the same
/// is told how to get it.
const HIDDEN: bool = !cfg!(feature = "otlp");

/// `--otlp-compression`.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the words the user types")]
pub enum Compression {
    None,
    Gzip,
}

/// The base of the URLs, without a slash at its end.
#[cfg(feature = "otlp")]
fn endpoint(text: &str) -> Result<String, String> {
    use ureq::http::Uri;

    const SAY: &str = "give http://HOST:4318 or https://HOST:4318";
    let uri: Uri = text.parse().map_err(|error| format!("{SAY}; this is no URL: {error}"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(SAY.to_owned());
    }
    let authority = uri.authority().ok_or(SAY)?;
    if authority.host().is_empty() {
        return Err(SAY.to_owned());
    }
    if authority.as_str().contains('@') {
        return Err("a name and a password don't belong into the URL; give them as a header: \
                    OTEL_EXPORTER_OTLP_HEADERS or --otlp-header"
            .to_owned());
    }
    if uri.query().is_some() || text.contains('#') {
        return Err(format!("{SAY}: /v1/logs and /v1/metrics are put behind it"));
    }
    let path = uri.path().trim_end_matches('/');
    if path.ends_with("/v1/logs") || path.ends_with("/v1/metrics") {
        return Err(
            "leave out the path of the signal: /v1/logs and /v1/metrics are put behind what \
                    you give"
                .to_owned(),
        );
    }
    Ok(text.trim_end_matches('/').to_owned())
}

#[cfg(not(feature = "otlp"))]
fn endpoint(_: &str) -> Result<String, String> {
    Err("this tracer was built without it; `cargo build --release --features otlp` builds one with \
         it"
    .to_owned())
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("give NAME=VALUE")?;
    check_header(name.trim(), value.trim())
}

/// A header that a request can have, its name in lower case.
///
/// # Errors
/// What is wrong with it. Its value is not repeated: it may be a secret.
#[cfg(feature = "otlp")]
pub fn check_header(name: &str, value: &str) -> Result<(String, String), String> {
    use ureq::http::{HeaderName, HeaderValue};

    let header =
        HeaderName::try_from(name).map_err(|_| format!("`{name}` is no name of a header"))?;
    if HeaderValue::try_from(value).is_err() {
        return Err(format!("the value of `{name}` can't be sent in a header"));
    }
    Ok((header.as_str().to_owned(), value.to_owned()))
}

#[cfg(not(feature = "otlp"))]
fn check_header(name: &str, value: &str) -> Result<(String, String), String> {
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(all(test, feature = "otlp"))]
mod tests {
    use super::*;
    use crate::cli::Options;

    #[test]
    fn endpoints_are_bases_of_urls() {
        for (given, base) in [
            ("http://localhost:4318", "http://localhost:4318"),
            ("http://localhost:4318/", "http://localhost:4318"),
            ("https://otel.example/otlp/", "https://otel.example/otlp"),
            ("http://[::1]:4318", "http://[::1]:4318"),
        ] {
            assert_eq!(endpoint(given).unwrap(), base);
        }
        for bad in [
            "",
            "localhost:4318",
            "localhost",
            "grpc://localhost:4317",
            "http://",
            "http://me:secret@localhost:4318",
            "http://localhost:4318?key=1",
            "http://localhost:4318/#x",
            "http://localhost:4318/v1/logs",
            "http://localhost:4318/v1/metrics/",
            "http://local host",
        ] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn headers_have_a_name_and_a_value() {
        assert_eq!(
            header("Authorization=Basic a=b").unwrap(),
            ("authorization".to_owned(), "Basic a=b".to_owned())
        );
        for bad in ["", "x", "=x", "a b=c", "a=b\nc", "ä=b"] {
            assert!(header(bad).is_err(), "{bad}");
        }
        assert!(!header("a=secret\nly").unwrap_err().contains("secret"));
    }

    #[test]
    fn the_other_options_need_an_endpoint() {
        for alone in [
            &["--otlp-header", "a=b"][..],
            &["--otlp-compression", "gzip"],
            &["--otlp-interval", "5"],
            &["--otlp", "http://localhost:4318", "--test-alert"],
        ] {
            assert!(Options::of(alone).is_err(), "{alone:?}");
            let mut with = vec!["--otlp", "http://localhost:4318"];
            with.extend(alone.iter().filter(|word| word.contains("otlp-") || !word.contains("--")));
            if !alone.contains(&"--test-alert") {
                assert!(Options::of(&with).is_ok(), "{with:?}");
            }
        }
        assert!(Options::of(&[]).unwrap().otlp.otlp.is_none());
    }
}
