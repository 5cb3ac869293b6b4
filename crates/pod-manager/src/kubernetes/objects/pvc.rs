//! The PersistentVolumeClaim of a session: its storage and, in its annotations, its only record.

use std::{collections::BTreeMap, time::SystemTime};

use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements},
    apimachinery::pkg::api::resource::Quantity,
};

use super::{
    super::settings::KubernetesSettings,
    names::{annotation, metadata, pvc_name},
};
use crate::model::Session;

/// Makes the claim of a session.
#[must_use]
pub fn make_pvc(
    session: &Session,
    settings: &KubernetesSettings,
    last_activity: SystemTime,
) -> PersistentVolumeClaim {
    let storage = BTreeMap::from([("storage".to_owned(), Quantity(settings.storage_size.clone()))]);
    let mut metadata = metadata(pvc_name(session.hash), session, settings, last_activity);
    let annotations = metadata.annotations.get_or_insert_default();
    // Stored once: a Pod would carry it again, for everybody who may read Pods.
    annotations.extend(session.initial_message.clone().map(|text| (annotation("initial-message"), text)));
    PersistentVolumeClaim {
        metadata,
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".into()]),
            storage_class_name: settings.storage_class.clone(),
            resources: Some(VolumeResourceRequirements { requests: Some(storage), limits: None }),
            ..Default::default()
        }),
        status: None,
    }
}
