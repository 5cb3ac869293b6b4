//! From desired and present IngressRoutes to changes.

use std::{collections::BTreeMap, fmt, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DynamicObject;
use pod_manager::kubernetes::objects::names::pvc_name;
use serde_json::Value;
use session_key::SessionHash;

use super::{
    manifest::FIELD_MANAGER,
    names::{HostNames, Part, wildcard_name},
};

/// What has to change in the cluster. `Display` prints one line for each change and conflict.
#[derive(Debug, Default)]
pub struct RoutePlan {
    /// What is applied.
    pub apply: Vec<Apply>,
    /// What is deleted.
    pub delete: Vec<Deletion>,
    /// IngressRoutes of somebody else that have a name of ours: sentences.
    pub conflicts: Vec<String>,
}

/// An IngressRoute to apply.
#[derive(Debug)]
pub struct Apply {
    /// The object.
    pub object: DynamicObject,
    /// Whether it exists and differs; else it is missing.
    pub exists: bool,
}

/// An IngressRoute to delete: this object in this version, and no later one of its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: Option<String>,
    /// Its resource version.
    pub resource_version: Option<String>,
}

impl RoutePlan {
    /// Returns whether nothing has to change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.apply.is_empty() && self.delete.is_empty()
    }
}

impl fmt::Display for RoutePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for apply in &self.apply {
            let name = apply.object.metadata.name.as_deref().unwrap_or_default();
            let change = if apply.exists { "update" } else { "create" };
            writeln!(f, "{change} IngressRoute {name}")?;
        }
        for deletion in &self.delete {
            writeln!(f, "delete IngressRoute {}", deletion.name)?;
        }
        self.conflicts.iter().try_for_each(|conflict| writeln!(f, "conflict: {conflict}"))
    }
}

/// Compares desired and present IngressRoutes, both by name. What is not ours is never changed.
#[must_use]
pub fn plan(
    names: &HostNames,
    desired: &BTreeMap<String, DynamicObject>,
    present: &BTreeMap<String, Arc<DynamicObject>>,
) -> RoutePlan {
    let mut plan = RoutePlan::default();
    for (name, object) in desired {
        match present.get(name) {
            None => plan.apply.push(Apply { object: object.clone(), exists: false }),
            Some(present) if !is_adoptable(&object.metadata, &present.metadata) => {
                plan.conflicts.push(format!(
                    "IngressRoute {name} belongs to somebody else and is left as it is. Rename or delete it."
                ));
            }
            Some(present) if differs(object, present) => {
                plan.apply.push(Apply { object: object.clone(), exists: true });
            }
            Some(_) => {}
        }
    }
    let leftovers = present.iter().filter(|(name, object)| {
        !desired.contains_key(*name)
            && object.metadata.deletion_timestamp.is_none()
            && is_leftover(names, name, &object.metadata)
    });
    plan.delete.extend(leftovers.map(|(name, object)| Deletion {
        name: name.clone(),
        uid: object.metadata.uid.clone(),
        resource_version: object.metadata.resource_version.clone(),
    }));
    plan
}

/// Returns whether an object may be made into the desired one: it has our label (the TypeScript operator's
/// objects have it, too), or this claim owns it, or the operator has written it.
fn is_adoptable(desired: &ObjectMeta, present: &ObjectMeta) -> bool {
    let owners = |meta: &ObjectMeta| meta.owner_references.clone().unwrap_or_default();
    let wrote = |manager: &Option<String>| manager.as_deref() == Some(FIELD_MANAGER);
    has_our_label(present)
        || owners(desired).iter().any(|owner| owners(present).iter().any(|other| other.uid == owner.uid))
        || present.managed_fields.iter().flatten().any(|entry| wrote(&entry.manager))
}

/// Returns whether nobody else has an interest in an object: label, name and owner are ours.
fn is_leftover(names: &HostNames, name: &str, meta: &ObjectMeta) -> bool {
    let of_all = Part::ALL.into_iter().any(|part| name == wildcard_name(part));
    let session = names.session_of(name);
    has_our_label(meta) && (of_all || session.is_some()) && is_owned_by_claim_or_nobody(meta, session)
}

fn is_owned_by_claim_or_nobody(meta: &ObjectMeta, session: Option<SessionHash>) -> bool {
    let claim = session.map(pvc_name);
    meta.owner_references
        .iter()
        .flatten()
        .all(|owner| owner.kind == "PersistentVolumeClaim" && Some(&owner.name) == claim.as_ref())
}

fn has_our_label(meta: &ObjectMeta) -> bool {
    let label = meta.labels.as_ref().and_then(|labels| labels.get("app.kubernetes.io/managed-by"));
    label.is_some_and(|label| label == FIELD_MANAGER)
}

/// Returns whether a field that the operator sets has another value. Fields that others add stay.
fn differs(desired: &DynamicObject, present: &DynamicObject) -> bool {
    let has_owner = |uid: &str| {
        let mut owners = present.metadata.owner_references.iter().flatten();
        owners.any(|owner| owner.uid == uid)
    };
    let mut desired_owners = desired.metadata.owner_references.iter().flatten();
    let spec = |object: &DynamicObject| object.data.get("spec").cloned().unwrap_or(Value::Null);
    let (desired_spec, present_spec) = (spec(desired), spec(present));
    let mut fields = desired_spec.as_object().into_iter().flatten();
    !has_our_label(&present.metadata)
        || desired_owners.any(|owner| !has_owner(&owner.uid))
        || fields.any(|(key, value)| present_spec.get(key) != Some(value))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
