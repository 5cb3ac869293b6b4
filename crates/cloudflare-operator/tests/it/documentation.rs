//! docs/operations.md agrees with the operator's metrics.

use std::collections::{BTreeMap, BTreeSet};

use cloudflare_operator::{
    cloudflare::CallObserver as _,
    metrics::{Counted, Metrics},
    status::{Half, HalfStatus},
};

#[test]
fn the_operations_page_has_exactly_the_metrics_that_the_operator_shows() {
    let metrics = Metrics::default();
    metrics.record("read_zone", "200");
    metrics.record_kubernetes_call("apply", "200");
    metrics.record_pass(Half::Cloudflare, "ok");
    metrics.set_count(Counted::Sessions, 1);
    let halves = Half::ALL.map(|half| (half, HalfStatus::default()));
    let text = metrics.render(&halves, 0, true).expect("text");
    let shown = metrics_in(&text);
    assert!(shown.len() > 8, "{shown:?}");
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operations.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `opencode_cloudflare_operator_"));
    let documented: BTreeMap<_, _> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let labels = cells[2].split(", ").map(|label| label.trim_matches('`').to_owned());
            let labels = labels.filter(|label| !label.is_empty()).collect::<BTreeSet<_>>();
            let name = format!("opencode_cloudflare_operator_{}", cells[0].trim_matches('`'));
            (name, (cells[1].to_owned(), labels))
        })
        .collect();
    assert_eq!(documented, shown, "docs/operations.md, against what /metrics shows");
}

/// Returns type and labels of each metric in an OpenMetrics text, under the name that Prometheus gives it.
fn metrics_in(text: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut all = BTreeMap::new();
    for (name, kind) in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')) {
        let name = match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        };
        let samples = text.lines().filter(|line| line.starts_with(&name));
        let labels = samples
            .filter_map(|sample| sample.split_once('{')?.1.split_once('}'))
            .flat_map(|(labels, _)| labels.split(',').filter_map(|label| label.split_once('=')))
            .map(|(label, _)| label.to_owned())
            .collect();
        all.insert(name, (kind.to_owned(), labels));
    }
    all
}
