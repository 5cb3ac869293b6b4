//! `--once` and `--dry-run`: one pass, then exit.

use std::{fmt::Write as _, time::Duration};

use anyhow::{Context as _, bail};
use tokio::time::timeout;

use crate::{
    config::Config,
    controller::drive::Reconcile as _,
    run::{Parts, watch},
    status::Half,
};

/// How long the API server may take to list claims and IngressRoutes.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long to wait for the Lease: longer than it takes to expire.
const LEASE_TIMEOUT: Duration = Duration::from_secs(25);

/// Returns what would be changed. Writes nothing.
///
/// # Errors
/// The cluster or Cloudflare can't be read.
pub async fn dry_run(config: Config) -> anyhow::Result<String> {
    with_lists(config, async |mut parts, _| report(&mut parts).await.map(|report| report.text)).await
}

/// Reconciles once. Returns what was changed and, if anything is left, fails.
///
/// # Errors
/// A half failed, something is left, or another operator leads.
pub async fn once(config: Config) -> anyhow::Result<String> {
    with_lists(config, async |mut parts, config| {
        let leader = parts.elect(config);
        let waited = timeout(LEASE_TIMEOUT, leader.wait_leader()).await;
        waited.context("Another operator leads and writes. Stop it first, or use --dry-run")?;
        let outcome = tokio::select! {
            outcome = reconcile(&mut parts) => outcome,
            () = leader.wait_lost() => Err(anyhow::anyhow!("The Lease could not be renewed. Try again")),
        };
        leader.release().await;
        outcome
    })
    .await
}

async fn reconcile(parts: &mut Parts) -> anyhow::Result<String> {
    let done = report(parts).await;
    // Both halves are tried, and both failures are reported.
    let halves = [parts.routes.reconcile().await, parts.cloudflare.reconcile().await];
    let failures: Vec<String> =
        halves.into_iter().filter_map(Result::err).map(|failure| failure.message).collect();
    if !failures.is_empty() {
        bail!("Not everything could be done.\n{}", failures.join("\n"));
    }
    let left = report(parts).await?;
    let conflicts = Half::ALL.iter().flat_map(|half| parts.context.status.of(*half).conflicts);
    let conflicts: Vec<String> = conflicts.collect();
    if left.changes > 0 || !conflicts.is_empty() {
        bail!("Something is left.\n{}", left.text);
    }
    done.map(|report| report.text)
}

struct Report {
    text: String,
    changes: usize,
}

/// Compares both halves and says what differs.
async fn report(parts: &mut Parts) -> anyhow::Result<Report> {
    let routes = parts.routes.plan().context("The IngressRoutes are not listed")?;
    let hosts = parts.cloudflare.hosts().context("The claims are not listed")?;
    let cloudflare = parts.cloudflare.plan(&hosts).await?;
    let mut text = routes.to_string();
    if routes.is_empty() {
        text.push_str("nothing to change in the cluster\n");
    }
    write!(text, "{cloudflare}")?;
    for (claim, reason) in parts.context.status.skipped() {
        writeln!(text, "skipped: claim {claim}: {reason}")?;
    }
    Ok(Report { text, changes: routes.apply.len() + routes.delete.len() + cloudflare.actions.len() })
}

/// Does something once claims and IngressRoutes are listed.
async fn with_lists<T>(
    config: Config,
    then: impl AsyncFnOnce(Parts, &Config) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let parts = Parts::build(&config).await?;
    let (context, client) = (parts.context.clone(), parts.client.clone());
    let work = async {
        if timeout(LIST_TIMEOUT, context.wait_synced()).await.is_err() {
            let errors = [("claims", context.claims.error()), ("IngressRoutes", context.routes.error())];
            let errors = errors.map(|(kind, error)| error.map(|error| format!("\n{kind}: {error}")));
            bail!(
                "The cluster did not list claims and IngressRoutes within {} s.{}",
                LIST_TIMEOUT.as_secs(),
                errors.into_iter().flatten().collect::<String>()
            );
        }
        then(parts, &config).await
    };
    tokio::select! {
        outcome = work => outcome,
        () = watch(&context, &client, &config) => bail!("The watches ended"),
    }
}
