//! What is in `deploy/` fits together and fits tracer: names, flags, capabilities. Promtool says
//! whether the rules do what they should.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what went wrong by panicking, in its helpers too"
)]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tracer::cli::Options;
use tracer::metrics::catalogue;
use tracer::system::privileges::NEEDS;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The documents of a YAML file.
fn yaml(path: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

const RULES: &str = "deploy/prometheus/rules/tracer.rules.yml";
const ALERTS: &str = "deploy/prometheus/rules/tracer.alerts.yml";
const TESTS: &str = "deploy/prometheus/tests/tracer.test.yml";
const DASHBOARD: &str = "deploy/grafana/tracer.json";
const DAEMON_SET: &str = "deploy/kubernetes/daemonset.yml";

fn rules(path: &str) -> Vec<Value> {
    let [file] = yaml(path).try_into().expect("one document");
    let groups = file["groups"].as_array().expect("groups").clone();
    groups.iter().flat_map(|group| group["rules"].as_array().expect("rules").clone()).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// Every value of a key, however deep.
fn all<'a>(value: &'a Value, key: &str, out: &mut Vec<&'a Value>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                if name == key {
                    out.push(value);
                }
                all(value, key, out);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| all(value, key, out)),
        _ => {}
    }
}

/// The names of series in a query: words of tracer's, and those of every process.
fn names(query: &str) -> Vec<&str> {
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':');
    let words = query.split(word);
    words
        .filter(|word| {
            word.starts_with("tracer_") || word.starts_with("process_") || word.contains(":tracer_")
        })
        .collect()
}

/// Every query of the dashboard, Grafana's variables filled in.
fn dashboard_queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).expect("JSON");
    let mut queries = Vec::new();
    all(&dashboard, "expr", &mut queries);
    let filled = |query: &Value| {
        text(query)
            .replace("$__rate_interval", "5m")
            .replace("$job", ".*")
            .replace("$instance", ".*")
    };
    queries.into_iter().map(filled).collect()
}

#[test]
fn whatever_is_asked_for_exists() {
    let mut known: BTreeSet<String> =
        catalogue::ALL.iter().flat_map(|descriptor| descriptor.stored_names()).collect();
    let recorded = rules(RULES);
    known.extend(recorded.iter().map(|rule| text(&rule["record"]).to_owned()));
    let mut queries = dashboard_queries();
    for rule in recorded.iter().chain(&rules(ALERTS)) {
        queries.push(text(&rule["expr"]).to_owned());
    }
    let mut asked = BTreeSet::new();
    for query in &queries {
        for name in names(query) {
            assert!(known.contains(name), "{name}, asked for by {query}, does not exist");
            asked.insert(name);
        }
    }
    assert!(asked.len() > 25, "{asked:?}");
    // And what is recorded is asked for.
    for rule in &recorded {
        assert!(asked.contains(text(&rule["record"])), "nobody asks for {rule}");
    }
}

fn promtool(args: &[&str]) -> String {
    let out = Command::new("promtool")
        .args(args)
        .current_dir(root().join("deploy/prometheus"))
        .output()
        .expect("promtool (package prometheus)");
    let said =
        String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "promtool {args:?}: {said}");
    said
}

#[test]
fn promtool_accepts_the_configuration_and_the_rules_do_what_they_should() {
    promtool(&["check", "config", "prometheus.yml"]);
    promtool(&[
        "check",
        "rules",
        "--lint-fatal",
        "rules/tracer.rules.yml",
        "rules/tracer.alerts.yml",
    ]);
    let said = promtool(&["test", "rules", "tests/tracer.test.yml"]);
    assert!(said.contains("SUCCESS"), "{said}");
}

#[test]
fn every_alert_has_a_test_in_which_it_fires_and_words_for_people() {
    let [tests] = yaml(TESTS).try_into().expect("one document");
    let mut cases = Vec::new();
    all(&tests, "alert_rule_test", &mut cases);
    let fires: BTreeSet<_> = cases
        .iter()
        .flat_map(|case| case.as_array().expect("a list"))
        .filter(|case| case["exp_alerts"].as_array().is_some_and(|alerts| !alerts.is_empty()))
        .map(|case| text(&case["alertname"]))
        .collect();
    let alerts = rules(ALERTS);
    assert!(alerts.len() >= 8);
    for alert in &alerts {
        let name = text(&alert["alert"]);
        assert!(fires.contains(name), "{name} fires in no test");
        assert!(["page", "ticket"].contains(&text(&alert["labels"]["severity"])), "{name}");
        for annotation in ["summary", "description"] {
            assert!(text(&alert["annotations"][annotation]).len() > 10, "{name}");
        }
    }
}

#[test]
fn the_dashboard_is_whole() {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).expect("JSON");
    assert!(dashboard["schemaVersion"].as_u64().is_some_and(|version| version >= 36));
    assert!(!text(&dashboard["uid"]).is_empty() && dashboard.get("id").is_none());
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let variables: Vec<_> = variables.iter().map(|variable| text(&variable["name"])).collect();
    assert_eq!(variables, ["datasource", "job", "instance"]);
    let mut ids = BTreeSet::new();
    let mut taken: BTreeSet<(u64, u64)> = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = text(&panel["title"]);
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is there twice");
        let grid = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(grid("x") + grid("w") <= 24, "{title} is beyond the edge");
        for x in grid("x")..grid("x") + grid("w") {
            for y in grid("y")..grid("y") + grid("h") {
                assert!(taken.insert((x, y)), "{title} lies on another panel");
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        let kinds = ["stat", "timeseries", "heatmap", "table"];
        assert!(kinds.contains(&text(&panel["type"])), "{title}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{title}");
        for target in targets {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            let query = text(&target["expr"]);
            assert!(query.contains("job=~\"$job\",instance=~\"$instance\""), "{title}: {query}");
        }
    }
    assert!(ids.len() > 20);
}

/// Prometheus itself is asked whether they are queries: as rules, which it can check.
#[test]
fn the_dashboards_queries_are_queries() {
    let rules: Vec<_> = dashboard_queries()
        .into_iter()
        .enumerate()
        .map(|(n, expr)| serde_json::json!({"record": format!("panel:{n}"), "expr": expr}))
        .collect();
    assert!(rules.len() > 25);
    let file = serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]});
    let path = std::env::temp_dir().join(format!("tracer-dashboard-{}.yml", std::process::id()));
    // JSON is YAML.
    std::fs::write(&path, file.to_string()).unwrap();
    let said = Command::new("promtool").args(["check", "rules"]).arg(&path).output();
    let said = said.expect("promtool (package prometheus)");
    std::fs::remove_file(&path).unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}

#[test]
fn the_daemon_set_gives_what_tracer_needs_and_no_more() {
    let documents = yaml(DAEMON_SET);
    let kinds: Vec<_> = documents.iter().map(|document| text(&document["kind"])).collect();
    assert_eq!(kinds, ["Namespace", "ServiceAccount", "DaemonSet"]);
    let set = &documents[2];
    let namespace = &documents[0]["metadata"]["name"];
    assert!(documents[1..].iter().all(|document| document["metadata"]["namespace"] == *namespace));
    let template = &set["spec"]["template"];
    assert_eq!(set["spec"]["selector"]["matchLabels"], template["metadata"]["labels"]);
    let pod = &template["spec"];
    assert_eq!(pod["serviceAccountName"], documents[1]["metadata"]["name"]);
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!((&pod["hostNetwork"], &pod["hostPID"]), (&true.into(), &true.into()));
    let [container] = pod["containers"].as_array().unwrap().as_slice() else { panic!("{pod}") };
    let context = &container["securityContext"];
    assert_eq!(context["privileged"], false);
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["readOnlyRootFilesystem"], true);
    assert_eq!(context["capabilities"]["drop"], serde_json::json!(["ALL"]));
    let given: BTreeSet<_> = context["capabilities"]["add"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| format!("CAP_{}", text(name)))
        .collect();
    let needed: BTreeSet<_> = NEEDS.iter().map(|need| need.capability.to_string()).collect();
    assert_eq!(given, needed);
    let mounted: BTreeSet<_> = container["volumeMounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mount| text(&mount["name"]))
        .collect();
    let volumes: BTreeSet<_> =
        pod["volumes"].as_array().unwrap().iter().map(|volume| text(&volume["name"])).collect();
    assert_eq!(mounted, volumes);
    for mount in container["volumeMounts"].as_array().unwrap() {
        assert_eq!(mount["readOnly"], true, "{mount}");
    }
    // tracer takes the arguments, and serves where the probe and Prometheus ask.
    let listens = |node: &str| {
        let args = container["args"].as_array().unwrap().iter().map(text);
        let args = args.map(|arg| arg.replace("$(NODE_ADDRESS)", node));
        let options = Options::from_args(["tracer".to_owned()].into_iter().chain(args)).unwrap();
        options.metrics.listen.expect("--metrics")
    };
    let port = listens("192.0.2.7").port();
    assert_eq!(listens("2001:db8::7"), SocketAddr::new("2001:db8::7".parse().unwrap(), port));
    let ports = container["ports"].as_array().unwrap();
    assert_eq!(ports[0]["containerPort"], port);
    assert_eq!(ports[0]["hostPort"], port);
    assert_eq!(container["livenessProbe"]["httpGet"]["port"], ports[0]["name"]);
    let image = text(&container["image"]);
    assert!(image.ends_with(concat!(":", env!("CARGO_PKG_VERSION"))), "{image}");
    let [config] = yaml("deploy/prometheus/prometheus.yml").try_into().expect("one document");
    let target = &config["scrape_configs"][0]["static_configs"][0]["targets"][0];
    assert_eq!(*target, format!("localhost:{port}"));
}

#[test]
fn every_metric_is_described_with_its_labels() {
    let docs = read("docs/metrics.md");
    for descriptor in catalogue::ALL {
        let stored = descriptor.stored_names();
        let name = match stored.as_slice() {
            [only] => only.as_str(),
            _ => descriptor.name,
        };
        let start = format!("| `{name}` |");
        let line = docs.lines().find(|line| line.starts_with(&start));
        let line = line.unwrap_or_else(|| panic!("docs/metrics.md has no line for {name}"));
        for label in descriptor.labels {
            assert!(line.contains(&format!("`{label}`")), "{label} is not in: {line}");
        }
    }
    // And nothing that there is not.
    let known: BTreeSet<_> = catalogue::ALL
        .iter()
        .flat_map(|descriptor| {
            descriptor.stored_names().into_iter().chain([descriptor.name.to_owned()])
        })
        .collect();
    for name in names(&docs).into_iter().filter(|name| !name.contains(':')) {
        assert!(known.contains(name), "docs/metrics.md tells of {name}, which does not exist");
    }
}
