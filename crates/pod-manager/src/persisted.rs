//! The desired state of a session in JSON: one type for what both backends write.
//!
//! The Kubernetes backend writes it into the claim's annotation `opencode.ai/wanted`, the local backend into
//! `session.json`. The two documents differ in the names of two keys; [`local`] is the second spelling.
//!
//! Reasons and codes are written as strings. One that this version does not know was written by a newer
//! router; it reads as the nearest known one, so that an older router can still handle the session.

use serde::{Deserialize, Serialize};

use crate::model::{Failure, FailureCode, StopReason};

/// The desired state of a session, or what its last start came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub(crate) enum PersistedState {
    /// The session is to run.
    Running {
        /// The run that its Pod carries; the local backend has none.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        run: Option<String>,
    },
    /// The session is not to run.
    Stopped {
        /// Why it was stopped.
        #[serde(with = "stop_reason")]
        reason: StopReason,
    },
    /// The last start failed, and nothing starts the session by itself.
    Failed(#[serde(with = "PersistedFailure")] Failure),
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Failure", rename_all = "camelCase")]
struct PersistedFailure {
    #[serde(with = "failure_code")]
    code: FailureCode,
    message: String,
    advice: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    log_tail: Option<String>,
}

mod stop_reason {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::model::StopReason;

    pub(super) fn serialize<S: Serializer>(reason: &StopReason, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(reason.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<StopReason, D::Error> {
        let text = String::deserialize(deserializer)?;
        let known = StopReason::ALL.into_iter().find(|reason| reason.as_str() == text);
        Ok(known.unwrap_or(StopReason::Requested))
    }
}

mod failure_code {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::model::FailureCode;

    pub(super) fn serialize<S: Serializer>(code: &FailureCode, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(code.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<FailureCode, D::Error> {
        let text = String::deserialize(deserializer)?;
        let known = FailureCode::ALL.into_iter().find(|code| code.as_str() == text);
        Ok(known.unwrap_or(FailureCode::BackendError))
    }
}

/// The spelling of `session.json`, for `#[serde(with = "persisted::local")]`: `is` instead of `state`, and
/// `log_tail` instead of `logTail`.
#[cfg(all(feature = "local", unix))]
pub(crate) mod local {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
    use serde_json::{Map, Value};

    use crate::persisted::PersistedState;

    const KEYS: [(&str, &str); 2] = [("state", "is"), ("logTail", "log_tail")];

    pub(crate) fn serialize<S: Serializer>(state: &PersistedState, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serde_json::to_value(state).map_err(ser::Error::custom)?;
        for (from, to) in KEYS {
            rename(&mut object, from, to);
        }
        object.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<PersistedState, D::Error> {
        let mut object = Value::Object(Map::deserialize(deserializer)?);
        for (to, from) in KEYS {
            rename(&mut object, from, to);
        }
        serde_json::from_value(object).map_err(de::Error::custom)
    }

    fn rename(object: &mut Value, from: &str, to: &str) {
        if let Some(map) = object.as_object_mut()
            && let Some(value) = map.remove(from)
        {
            map.insert(to.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[cfg(all(feature = "local", unix))]
    #[derive(Serialize, Deserialize)]
    struct LocalFile(#[serde(with = "local")] PersistedState);

    fn failed(log_tail: Option<&str>) -> PersistedState {
        PersistedState::Failed(Failure {
            code: FailureCode::CloneFailed,
            message: "It broke.".into(),
            advice: "Fix it.".into(),
            log_tail: log_tail.map(Into::into),
        })
    }

    /// Documents that released routers wrote read as this state, and it is written in the same form.
    #[track_caller]
    fn check_claim(document: &Value, expected: &PersistedState) {
        assert_eq!(serde_json::from_value::<PersistedState>(document.clone()).unwrap(), *expected);
        assert_eq!(serde_json::to_value(expected).unwrap(), *document);
    }

    #[test]
    fn documents_of_claims_keep_their_form() {
        let running = PersistedState::Running { run: Some("00c0ffee00c0ffee".into()) };
        check_claim(&json!({ "state": "running", "run": "00c0ffee00c0ffee" }), &running);
        let stopped = PersistedState::Stopped { reason: StopReason::Idle };
        check_claim(&json!({ "state": "stopped", "reason": "idle" }), &stopped);
        let document = json!({
            "state": "failed", "code": "clone_failed", "message": "It broke.", "advice": "Fix it.", "logTail": "fatal: x",
        });
        check_claim(&document, &failed(Some("fatal: x")));
        let document = json!({
            "state": "failed", "code": "clone_failed", "message": "It broke.", "advice": "Fix it.",
        });
        check_claim(&document, &failed(None));
    }

    #[cfg(all(feature = "local", unix))]
    #[test]
    fn documents_of_session_json_keep_their_form() {
        #[track_caller]
        fn check(document: &Value, expected: &PersistedState) {
            assert_eq!(serde_json::from_value::<LocalFile>(document.clone()).unwrap().0, *expected);
            assert_eq!(serde_json::to_value(LocalFile(expected.clone())).unwrap(), *document);
        }
        check(&json!({ "is": "running" }), &PersistedState::Running { run: None });
        let stopped = PersistedState::Stopped { reason: StopReason::RouterCrashed };
        check(&json!({ "is": "stopped", "reason": "router_crashed" }), &stopped);
        let document = json!({
            "is": "failed", "code": "clone_failed", "message": "It broke.", "advice": "Fix it.", "log_tail": "fatal: x",
        });
        check(&document, &failed(Some("fatal: x")));
        // Earlier versions wrote a missing log as null.
        let document = json!({
            "is": "failed", "code": "clone_failed", "message": "It broke.", "advice": "Fix it.", "log_tail": null,
        });
        assert_eq!(serde_json::from_value::<LocalFile>(document).unwrap().0, failed(None));
    }

    #[test]
    fn an_unknown_reason_or_code_reads_as_the_nearest_known_one() {
        let stopped: PersistedState =
            serde_json::from_value(json!({ "state": "stopped", "reason": "full_moon" })).unwrap();
        assert_eq!(stopped, PersistedState::Stopped { reason: StopReason::Requested });
        let document = json!({ "state": "failed", "code": "full_moon", "message": "", "advice": "" });
        let PersistedState::Failed(failure) = serde_json::from_value(document).unwrap() else {
            panic!("not failed")
        };
        assert_eq!(failure.code, FailureCode::BackendError);
    }

    #[test]
    fn an_unknown_state_is_an_error() {
        for document in [json!({}), json!({ "state": "asleep" }), json!("running"), json!(null)] {
            assert!(serde_json::from_value::<PersistedState>(document.clone()).is_err(), "{document}");
        }
    }
}
