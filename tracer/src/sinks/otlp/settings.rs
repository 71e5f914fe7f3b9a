//! What the user wants, from the command line and OpenTelemetry's environment variables.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use percent_encoding::percent_decode_str;
use ureq::tls::{Certificate, PemItem, parse_pem};

use crate::cli::otlp::{Compression, OtlpOptions, check_header};

/// How long a request may take where `OTEL_EXPORTER_OTLP_TIMEOUT` does not say
/// (OpenTelemetry's default).
const TIMEOUT: Duration = Duration::from_secs(10);

/// Everything that is known before the start.
pub(super) struct Settings {
    /// Base of the URLs, without a slash at its end.
    pub(super) endpoint: String,
    /// Names in lower case.
    pub(super) headers: Vec<(String, String)>,
    pub(super) gzip: bool,
    /// Of one request.
    pub(super) timeout: Duration,
    /// Who may vouch for the receiver; `None`: whom the system trusts.
    pub(super) roots: Option<Vec<Certificate<'static>>>,
    /// Of the resource, from the environment.
    pub(super) resource: Vec<(String, String)>,
    /// Between two sets of metrics.
    pub(super) interval: Duration,
}

impl Settings {
    /// `var` gives an environment variable. What is given by option goes before the environment.
    ///
    /// # Errors
    /// The file of certificates can't be used. Other variables that make no sense are warned of and
    /// left out, as OpenTelemetry asks for.
    pub(super) fn new(
        endpoint: &str,
        options: &OtlpOptions,
        var: impl Fn(&str) -> Option<String>,
    ) -> Result<Self> {
        let var = |name: &str| var(name).filter(|value| !value.trim().is_empty());
        let mut headers: Vec<(String, String)> = Vec::new();
        for (name, value) in pairs("OTEL_EXPORTER_OTLP_HEADERS", var("OTEL_EXPORTER_OTLP_HEADERS"))
        {
            match check_header(&name, &value) {
                Ok(header) => headers.push(header),
                Err(error) => log::warn!("OTEL_EXPORTER_OTLP_HEADERS: {error}; it is left out"),
            }
        }
        for (name, value) in &options.otlp_headers {
            headers.retain(|(other, _)| other != name);
            headers.push((name.clone(), value.clone()));
        }
        let gzip = match (options.otlp_compression, var("OTEL_EXPORTER_OTLP_COMPRESSION")) {
            (Some(compression), _) => compression == Compression::Gzip,
            (None, Some(name)) if name.trim() == "gzip" => true,
            (None, Some(name)) => {
                if name.trim() != "none" {
                    log::warn!("OTEL_EXPORTER_OTLP_COMPRESSION: gzip or none, not {name:?}");
                }
                false
            }
            (None, None) => false,
        };
        let timeout = var("OTEL_EXPORTER_OTLP_TIMEOUT").map(|text| match text.trim().parse() {
            Ok(ms @ 1..=3_600_000) => Duration::from_millis(ms),
            _ => {
                log::warn!("OTEL_EXPORTER_OTLP_TIMEOUT: milliseconds, not {text:?}");
                TIMEOUT
            }
        });
        let roots = match var("OTEL_EXPORTER_OTLP_CERTIFICATE") {
            Some(path) => Some(certificates(Path::new(&path)).with_context(|| {
                format!("OTEL_EXPORTER_OTLP_CERTIFICATE: {path} can't be used")
            })?),
            None => None,
        };
        let mut resource = pairs("OTEL_RESOURCE_ATTRIBUTES", var("OTEL_RESOURCE_ATTRIBUTES"));
        if let Some(name) = var("OTEL_SERVICE_NAME") {
            resource.retain(|(key, _)| key != "service.name");
            resource.push(("service.name".to_owned(), name));
        }
        Ok(Self {
            endpoint: endpoint.to_owned(),
            headers,
            gzip,
            timeout: timeout.unwrap_or(TIMEOUT),
            roots,
            resource,
            interval: options.otlp_interval,
        })
    }
}

/// `name=value,name=value`, both percent-encoded (W3C Baggage without its properties).
fn pairs(variable: &str, text: Option<String>) -> Vec<(String, String)> {
    let text = text.unwrap_or_default();
    let decode = |text: &str| {
        percent_decode_str(text.trim()).decode_utf8().ok().map(std::borrow::Cow::into_owned)
    };
    let mut pairs = Vec::new();
    for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
        let decoded = pair.split_once('=').and_then(|(k, v)| Some((decode(k)?, decode(v)?)));
        match decoded {
            Some((key, value)) if !key.is_empty() => pairs.push((key, value)),
            // Not the pair itself: it may be a secret.
            _ => log::warn!("{variable}: one of its parts is no NAME=VALUE; it is left out"),
        }
    }
    pairs
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>> {
    let text = std::fs::read(path)?;
    let mut all = Vec::new();
    for item in parse_pem(&text) {
        if let PemItem::Certificate(certificate) = item.context("it is no PEM")? {
            all.push(certificate);
        }
    }
    if all.is_empty() {
        bail!("there is no certificate in PEM in it");
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Options;

    const ENDPOINT: &str = "http://localhost:4318";

    fn settings(args: &[&str], vars: &[(&str, &str)]) -> Result<Settings> {
        let all = [&["--otlp", ENDPOINT], args].concat();
        let options = Options::of(&all).unwrap();
        let var = |name: &str| {
            vars.iter().find(|(of, _)| *of == name).map(|(_, value)| (*value).to_owned())
        };
        Settings::new(ENDPOINT, &options.otlp, var)
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn without_anything_the_defaults() {
        let settings = settings(&[], &[("OTEL_EXPORTER_OTLP_HEADERS", " ")]).unwrap();
        assert!(settings.headers.is_empty() && settings.resource.is_empty());
        assert!(!settings.gzip && settings.roots.is_none());
        assert_eq!(settings.timeout, Duration::from_secs(10));
        assert_eq!(settings.interval, Duration::from_secs(10));
    }

    #[test]
    fn the_environment_is_read_and_options_go_first() {
        let vars = [
            ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Basic%20eA%3D%3D, tenant = one ,x"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
            ("OTEL_RESOURCE_ATTRIBUTES", "k8s.node.name=n%201,service.name=other"),
            ("OTEL_SERVICE_NAME", "edge tracer"),
        ];
        let of_environment = settings(&[], &vars).unwrap();
        assert_eq!(
            of_environment.headers,
            [pair("authorization", "Basic eA=="), pair("tenant", "one")]
        );
        assert!(of_environment.gzip);
        assert_eq!(of_environment.timeout, Duration::from_millis(2500));
        assert_eq!(
            of_environment.resource,
            [pair("k8s.node.name", "n 1"), pair("service.name", "edge tracer")]
        );
        let args =
            ["--otlp-header", "Tenant=two", "--otlp-compression", "none", "--otlp-interval", "2.5"];
        let both = settings(&args, &vars).unwrap();
        assert_eq!(both.headers, [pair("authorization", "Basic eA=="), pair("tenant", "two")]);
        assert!(!both.gzip);
        assert_eq!(both.interval, Duration::from_millis(2500));
    }

    #[test]
    fn nonsense_is_left_out() {
        let vars = [
            ("OTEL_EXPORTER_OTLP_HEADERS", "=,a b=c,ok=%ff,fine=1"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ];
        let settings = settings(&[], &vars).unwrap();
        assert_eq!(settings.headers, [pair("fine", "1")]);
        assert!(!settings.gzip);
        assert_eq!(settings.timeout, TIMEOUT);
    }

    #[test]
    fn a_file_of_certificates_must_have_one() {
        for path in ["/nonexistent/ca.pem", "/dev/null", "/proc/self/exe"] {
            let error = settings(&[], &[("OTEL_EXPORTER_OTLP_CERTIFICATE", path)]);
            let text = format!("{:#}", error.err().unwrap());
            assert!(text.starts_with("OTEL_EXPORTER_OTLP_CERTIFICATE: "), "{text}");
        }
    }
}
