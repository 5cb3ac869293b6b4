//! One pass at Cloudflare: read, compare, write, read back.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use tokio::time::Instant;

use super::{
    client::{Client, TunnelConfig},
    error::CloudflareError,
    observer::CallObserver,
    plan::{Plan, PlannedTunnel, Report},
    settings::CloudflareSettings,
    transport::{HttpTransport, Transport},
};
use crate::reconcile::{Action, Conflict, Note, Ownership, dns, tunnel};

/// How many records one transaction may change on Cloudflare's free plan.
const BATCH: usize = 200;
/// How long the tunnel's kind is believed. It changes when somebody migrates or deletes the tunnel.
const TUNNEL_TTL: Duration = Duration::from_secs(600);
/// How old a document may be that a write is based on. The shorter, the less can be overwritten.
const FRESH: Duration = Duration::from_secs(2);
/// How often a pass writes the tunnel's document at most.
const WRITES: usize = 3;
/// How long a record that Cloudflare refused is left alone. The first is for a name that was taken in the
/// meantime, which the next list shows.
const TAKEN_DELAY: Duration = Duration::from_secs(60);
const REFUSED_DELAY: Duration = Duration::from_secs(600);
/// Codes of Cloudflare for "such a record exists".
const EXISTS: [u64; 5] = [81053, 81054, 81056, 81057, 81058];
/// Codes of Cloudflare for "no such call".
const NO_ROUTE: [u64; 3] = [7000, 7001, 7003];
/// How long it is believed that there is no call for batches.
const NO_BATCH_TTL: Duration = Duration::from_secs(3600);
/// Code of Cloudflare for "no such record".
const MISSING: u64 = 81044;

/// Keeps the zone's records and the tunnel's rules as desired, one pass at a time.
///
/// A pass is [`plan`](Self::plan), then [`apply`](Self::apply). It reads everything again each time, so that
/// what others change is repaired, and so that a pass which failed half-way needs no memory of it. Only one
/// process may run passes on a tunnel at a time: the leader. `&mut self` keeps its passes apart.
///
/// Calls: a pass that finds nothing to do makes two (the records, the tunnel's document). One that adds or
/// removes up to 200 hosts makes three more (the document's write and its read-back, the batch of records).
/// The first pass makes another two.
pub struct CloudflareSync {
    client: Client,
    ownership: Ownership,
    zone: Option<KnownZone>,
    tunnel: Option<KnownTunnel>,
    /// Records that Cloudflare refused, and until when they are left alone.
    refused: BTreeMap<String, (Instant, Conflict)>,
    /// Until when records are changed one by one, because there is no call for batches.
    no_batch_until: Option<Instant>,
}

struct KnownZone {
    account: String,
}

struct KnownTunnel {
    is_local: bool,
    read_at: Instant,
}

impl CloudflareSync {
    /// Creates a pass over HTTP. It makes no call.
    ///
    /// # Errors
    /// [`CloudflareError::Client`] if the HTTP client can't be built.
    pub fn new(
        settings: CloudflareSettings,
        observer: Arc<dyn CallObserver>,
    ) -> Result<Self, CloudflareError> {
        let transport = Box::new(HttpTransport::new(&settings)?);
        Ok(Self::with_transport(settings, transport, observer))
    }

    /// Creates a pass over another transport.
    #[must_use]
    pub fn with_transport(
        settings: CloudflareSettings,
        transport: Box<dyn Transport>,
        observer: Arc<dyn CallObserver>,
    ) -> Self {
        let ownership = settings.ownership();
        Self {
            client: Client::new(settings, ownership.target(), transport, observer),
            ownership,
            zone: None,
            tunnel: None,
            refused: BTreeMap::new(),
            no_batch_until: None,
        }
    }

    /// Compares the records and the tunnel's rules with the desired hosts. Writes nothing.
    ///
    /// `hosts` are all session and attach hosts, or the one [wildcard](CloudflareSettings::wildcard). What is
    /// ours and not among them is removed, so a list that is not complete must never be passed.
    ///
    /// # Errors
    /// [`CloudflareError`]: something could not be read.
    pub async fn plan(&mut self, hosts: &BTreeSet<String>) -> Result<Plan, CloudflareError> {
        let mut plan = Plan::default();
        for host in hosts {
            let name = host.to_ascii_lowercase();
            if self.ownership.may_own(&name) {
                plan.hosts.insert(name);
            } else {
                plan.conflicts.push(Conflict::ForeignHost { name });
            }
        }
        let account = self.account().await?;
        let is_local = self.is_local(&account).await?;
        let records = self.client.records(&self.ownership.domain()).await?;
        let dns = dns::plan(&plan.hosts, &records, &self.ownership);
        self.plan_records(&mut plan, dns);
        if is_local {
            plan.notes.push(Note::LocalTunnel);
            return Ok(plan);
        }
        let current = self.read_config(&account).await?;
        let tunnel = self.plan_tunnel(&plan.hosts, &current)?;
        // As they will be done: a rule exists before its name resolves.
        plan.actions.splice(0..0, tunnel.actions);
        plan.conflicts.extend(tunnel.conflicts);
        plan.notes.extend(tunnel.notes);
        plan.tunnel = Some(PlannedTunnel {
            version: current.version,
            config: current.config,
            read_at: Instant::now(),
            rules: tunnel.ours,
        });
        Ok(plan)
    }

    /// Does what the plan says: first the tunnel's rules, all of them in one write, then the records. A plan
    /// that is not applied at once reads the tunnel's document again.
    ///
    /// A record that Cloudflare refuses is left out and reported; the others are not held up by it.
    ///
    /// # Errors
    /// [`CloudflareError`]: something could not be done. What could be done was done, and the next plan has
    /// the rest.
    pub async fn apply(&mut self, plan: Plan) -> Result<Report, CloudflareError> {
        let (conflicts, notes) = (plan.conflicts.clone(), plan.notes.clone());
        let mut report = Report { conflicts, notes, ..Report::default() };
        let rules = match plan.tunnel {
            Some(planned) => self.apply_tunnel(&plan.hosts, planned, &mut report).await,
            None => Ok(()),
        };
        report.records = plan.records_before;
        let records = self.apply_records(plan.records, &mut report).await;
        report.conflicts.sort();
        report.conflicts.dedup();
        rules.and(records).map(|()| report)
    }

    async fn account(&mut self) -> Result<String, CloudflareError> {
        if let Some(zone) = &self.zone {
            return Ok(zone.account.clone());
        }
        let zone = self.client.zone().await?;
        let (domain, name) = (self.ownership.domain(), zone.name.to_ascii_lowercase());
        if domain != name && !domain.ends_with(&format!(".{name}")) {
            return Err(CloudflareError::WrongZone { domain, zone: name });
        }
        let account = zone.account.id;
        self.zone = Some(KnownZone { account: account.clone() });
        Ok(account)
    }

    async fn is_local(&mut self, account: &str) -> Result<bool, CloudflareError> {
        if let Some(tunnel) = &self.tunnel
            && tunnel.read_at.elapsed() < TUNNEL_TTL
        {
            return Ok(tunnel.is_local);
        }
        let tunnel = self.client.tunnel(account).await?;
        if tunnel.deleted_at.is_some() {
            return Err(self.tunnel_not_found());
        }
        let is_local = tunnel.is_local();
        self.tunnel = Some(KnownTunnel { is_local, read_at: Instant::now() });
        Ok(is_local)
    }

    async fn read_config(&mut self, account: &str) -> Result<TunnelConfig, CloudflareError> {
        let result = self.client.tunnel_config(account).await;
        if result.is_err() {
            // The tunnel may have been deleted or migrated.
            self.tunnel = None;
        }
        result
    }

    fn plan_tunnel(
        &self,
        hosts: &BTreeSet<String>,
        current: &TunnelConfig,
    ) -> Result<tunnel::TunnelPlan, CloudflareError> {
        tunnel::plan(hosts, &current.config, &self.ownership).map_err(CloudflareError::UnknownDocument)
    }

    /// Takes the records' part into the plan, without those that were refused lately.
    fn plan_records(&mut self, plan: &mut Plan, dns: dns::DnsPlan) {
        let now = Instant::now();
        self.refused.retain(|_, (until, _)| *until > now);
        plan.records_before = dns.ours;
        plan.conflicts.extend(dns.conflicts);
        plan.notes.extend(dns.notes);
        for action in dns.actions {
            match record_name(&action).and_then(|name| self.refused.get(name)) {
                Some((_, conflict)) => plan.conflicts.push(conflict.clone()),
                None => plan.records.push(action),
            }
        }
        plan.actions.extend(plan.records.iter().cloned());
    }

    /// Writes the tunnel's document until it is as desired, and nobody else changed it in between.
    async fn apply_tunnel(
        &mut self,
        hosts: &BTreeSet<String>,
        planned: PlannedTunnel,
        report: &mut Report,
    ) -> Result<(), CloudflareError> {
        report.rules = planned.rules;
        let account = self.account().await?;
        let mut current = TunnelConfig { version: planned.version, config: planned.config };
        if planned.read_at.elapsed() > FRESH && self.plan_tunnel(hosts, &current)?.document.is_some() {
            current = self.read_config(&account).await?;
        }
        for _ in 0..WRITES {
            let next = self.plan_tunnel(hosts, &current)?;
            report.rules = next.ours;
            let Some(document) = next.document else { return Ok(()) };
            let written = self.client.put_tunnel_config(&account, &document).await?;
            report.changes += next.actions.len();
            let overwritten = written.version.saturating_sub(current.version + 1);
            if overwritten > 0 {
                report.overwritten += overwritten;
                tracing::warn!(
                    read = current.version,
                    written = written.version,
                    "somebody changed the tunnel's configuration at the same moment; their change may be lost"
                );
            }
            let written_version = written.version;
            current = self.read_config(&account).await?;
            if current.version == written_version {
                return self.check_written(hosts, &document, &current);
            }
        }
        // Others may have changed parts that make no difference here.
        let is_done = self.plan_tunnel(hosts, &current)?.document.is_none();
        if is_done { Ok(()) } else { Err(CloudflareError::Contended) }
    }

    /// Compares what was read back with what was written.
    fn check_written(
        &self,
        hosts: &BTreeSet<String>,
        written: &Value,
        read: &TunnelConfig,
    ) -> Result<(), CloudflareError> {
        if !includes(&read.config, written) {
            tracing::warn!("Cloudflare stored the tunnel's configuration in another form than it was sent");
        }
        if self.plan_tunnel(hosts, read)?.document.is_some() {
            return Err(CloudflareError::InvalidAnswer {
                call: "write_tunnel_config",
                reason: "the rules that were written are not there".to_owned(),
            });
        }
        Ok(())
    }

    /// Changes records in batches. A batch that is refused is halved, down to the record that is the reason.
    async fn apply_records(
        &mut self,
        actions: Vec<Action>,
        report: &mut Report,
    ) -> Result<(), CloudflareError> {
        let mut pending: Vec<Vec<Action>> = actions.chunks(BATCH).map(<[Action]>::to_vec).collect();
        pending.reverse();
        let mut quota = Ok(());
        while let Some(mut batch) = pending.pop() {
            if quota.is_err() {
                // The zone is full. Removing records still works, and makes room.
                batch.retain(|action| !matches!(action, Action::CreateRecord { .. }));
            }
            let outcome = match &batch[..] {
                [] => continue,
                [action] => self.client.single(action).await,
                _ if self.no_batch_until.is_some_and(|until| Instant::now() < until) => {
                    pending.extend(batch.into_iter().rev().map(|action| vec![action]));
                    continue;
                }
                _ => self.client.batch(&batch).await,
            };
            match outcome {
                Ok(()) => batch.iter().for_each(|action| count(action, report)),
                Err(error @ CloudflareError::RecordQuota(_)) => {
                    let rest =
                        batch.into_iter().filter(|action| !matches!(action, Action::CreateRecord { .. }));
                    pending.push(rest.collect());
                    quota = Err(error);
                }
                Err(CloudflareError::Refused { status, code, message, .. }) => {
                    if batch.len() == 1 {
                        self.refuse(&batch[0], status, code, message, report);
                    } else if status == 405 || NO_ROUTE.contains(&code) {
                        self.no_batch_until = Some(Instant::now() + NO_BATCH_TTL);
                        pending.push(batch);
                    } else {
                        let second = batch.split_off(batch.len() / 2);
                        pending.push(second);
                        pending.push(batch);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        quota
    }

    /// Notes why Cloudflare refused one record.
    fn refuse(&mut self, action: &Action, status: u16, code: u64, message: String, report: &mut Report) {
        let Some(name) = record_name(action).map(str::to_owned) else { return };
        if code == MISSING || status == 404 {
            // Somebody deleted it already. If it is desired, the next pass creates it.
            if matches!(action, Action::DeleteRecord { .. }) {
                report.records = report.records.saturating_sub(1);
            }
            return;
        }
        let delay = if EXISTS.contains(&code) { TAKEN_DELAY } else { REFUSED_DELAY };
        let conflict = Conflict::Refused { name: name.clone(), code, message };
        report.conflicts.push(conflict.clone());
        self.refused.insert(name, (Instant::now() + delay, conflict));
    }

    fn tunnel_not_found(&self) -> CloudflareError {
        CloudflareError::TunnelNotFound(self.client.tunnel_id().to_owned())
    }
}

fn record_name(action: &Action) -> Option<&str> {
    match action {
        Action::CreateRecord { name }
        | Action::RepairRecord { name, .. }
        | Action::DeleteRecord { name, .. } => Some(name),
        Action::AddRule { .. }
        | Action::MoveRule { .. }
        | Action::RemoveRule { .. }
        | Action::AddCatchAll => None,
    }
}

fn count(action: &Action, report: &mut Report) {
    report.changes += 1;
    match action {
        Action::CreateRecord { .. } => report.records += 1,
        Action::DeleteRecord { .. } => report.records = report.records.saturating_sub(1),
        _ => {}
    }
}

/// Whether `value` has all that `part` has; Cloudflare adds defaults to a document.
fn includes(value: &Value, part: &Value) -> bool {
    match (value, part) {
        (Value::Object(value), Value::Object(part)) => part
            .iter()
            .all(|(name, part)| part.is_null() || value.get(name).is_some_and(|value| includes(value, part))),
        (Value::Array(value), Value::Array(part)) => {
            value.len() == part.len() && value.iter().zip(part).all(|(value, part)| includes(value, part))
        }
        _ => value == part,
    }
}
