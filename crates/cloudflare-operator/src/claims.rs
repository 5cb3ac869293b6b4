//! The sessions that exist, from their volume claims.
//!
//! A claim is there from a session's creation to its deletion, also while the session is stopped. Its label
//! says which session it holds; its name must agree, so that a foreign claim publishes nothing.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use pod_manager::kubernetes::objects::names::{HASH_LABEL, MANAGED_BY, pvc_name};
use session_key::SessionHash;

/// Selects the claims of sessions.
#[must_use]
pub fn selector() -> String {
    format!("app.kubernetes.io/managed-by={MANAGED_BY}")
}

/// A session's claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The session.
    pub hash: SessionHash,
    /// The claim's UID: a claim that is deleted and created again is another owner.
    pub uid: String,
}

impl Claim {
    /// Returns the reference that makes an object belong to this claim. It does not block the claim's
    /// deletion, which would need rights on its finalizers.
    #[must_use]
    pub fn owner_reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: "v1".into(),
            kind: "PersistentVolumeClaim".into(),
            name: pvc_name(self.hash),
            uid: self.uid.clone(),
            ..OwnerReference::default()
        }
    }
}

/// All sessions, and the claims that are skipped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// The claims of sessions that are not being deleted.
    pub sessions: BTreeMap<SessionHash, Claim>,
    /// Why a claim with the sessions' label publishes nothing, by its name.
    pub skipped: BTreeMap<String, String>,
}

impl Claims {
    /// Reads claims.
    pub fn read<'a>(metas: impl IntoIterator<Item = &'a ObjectMeta>) -> Self {
        let mut claims = Self::default();
        for meta in metas.into_iter().filter(|meta| meta.deletion_timestamp.is_none()) {
            match read(meta) {
                Ok(claim) => drop(claims.sessions.insert(claim.hash, claim)),
                Err(reason) => {
                    drop(claims.skipped.insert(meta.name.clone().unwrap_or_default(), reason.to_owned()));
                }
            }
        }
        claims
    }
}

fn read(meta: &ObjectMeta) -> Result<Claim, &'static str> {
    let label = meta.labels.as_ref().and_then(|labels| labels.get(HASH_LABEL));
    let label = label.ok_or("it has no label opencode.ai/session-hash")?;
    let hash = SessionHash::parse(label).map_err(|_| "its label opencode.ai/session-hash is no hash")?;
    if *label != hash.to_string() {
        return Err("its label opencode.ai/session-hash is not in lower case");
    }
    if meta.name.as_deref() != Some(&pvc_name(hash)) {
        return Err("its name is not that of its session's claim");
    }
    let uid = meta.uid.clone().filter(|uid| !uid.is_empty()).ok_or("it has no UID")?;
    Ok(Claim { hash, uid })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

    use super::*;

    fn meta(name: &str, label: Option<&str>) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.into()),
            uid: Some("u1".into()),
            labels: label.map(|label| [(HASH_LABEL.to_owned(), label.to_owned())].into()),
            ..ObjectMeta::default()
        }
    }

    #[track_caller]
    fn check(meta: &ObjectMeta, expected: Result<&str, &str>) {
        let claims = Claims::read([meta]);
        let sessions: Vec<String> = claims.sessions.keys().map(SessionHash::to_string).collect();
        match expected {
            Ok(hash) => assert_eq!((sessions, claims.skipped.len()), (vec![hash.to_owned()], 0)),
            Err(reason) => {
                assert_eq!(sessions, Vec::<String>::new());
                let skipped = claims.skipped.into_values().next().expect("a skipped claim");
                assert!(skipped.contains(reason), "{skipped}");
            }
        }
    }

    #[test]
    fn a_claim_is_a_session_if_its_label_and_its_name_agree() {
        let hash = "a48da0606867";
        check(&meta("opencode-pvc-a48da0606867", Some(hash)), Ok(hash));
        check(&meta("opencode-pvc-a48da0606867", None), Err("no label"));
        check(&meta("opencode-pvc-a48da0606867", Some("a48da060686")), Err("no hash"));
        check(&meta("opencode-pvc-a48da0606867", Some("*.evil.example")), Err("no hash"));
        check(&meta("opencode-pvc-a48da0606867", Some("A48DA0606867")), Err("lower case"));
        check(&meta("opencode-pvc-a48da0606868", Some(hash)), Err("its name"));
        check(&meta("somebodys-claim", Some(hash)), Err("its name"));
        check(&ObjectMeta { uid: None, ..meta("opencode-pvc-a48da0606867", Some(hash)) }, Err("UID"));
    }

    #[test]
    fn a_claim_that_is_being_deleted_is_gone() {
        let deleted = ObjectMeta {
            deletion_timestamp: Some(Time(Timestamp::UNIX_EPOCH)),
            ..meta("opencode-pvc-a48da0606867", Some("a48da0606867"))
        };
        assert_eq!(Claims::read([&deleted]), Claims::default());
    }
}
