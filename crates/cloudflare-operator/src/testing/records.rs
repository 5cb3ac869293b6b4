//! The records of the stand-in's zone.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::{Map, Value, json};

use super::refusal::Refusal;

/// The records, by id.
#[derive(Debug, Clone, Default)]
pub(super) struct Records {
    pub(super) by_id: BTreeMap<String, Value>,
    made: u64,
}

impl Records {
    /// Creates a record as `POST /zones/{zone}/dns_records` does.
    pub(super) fn create(
        &mut self,
        zone: &str,
        limit: Option<usize>,
        fields: &Value,
    ) -> Result<Value, Refusal> {
        let record = checked(zone, fields)?;
        if limit.is_some_and(|limit| self.by_id.len() >= limit) {
            return Err(Refusal::new(400, 81045, "The record quota has been exceeded."));
        }
        self.check_unique(&record, None)?;
        self.made += 1;
        let id =
            format!("{:032x}", u128::from(self.made).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
        let record = with_id(record, &id);
        self.by_id.insert(id, record.clone());
        Ok(record)
    }

    /// Changes a record as `PATCH` does, or replaces it as `PUT` does.
    pub(super) fn update(
        &mut self,
        zone: &str,
        id: &str,
        fields: &Value,
        replace: bool,
    ) -> Result<Value, Refusal> {
        let old = self.by_id.get(id).ok_or_else(missing)?;
        let mut merged = if replace { Map::new() } else { old.as_object().cloned().unwrap_or_default() };
        merged.extend(fields.as_object().cloned().unwrap_or_default());
        let record = with_id(checked(zone, &Value::Object(merged))?, id);
        self.check_unique(&record, Some(id))?;
        self.by_id.insert(id.to_owned(), record.clone());
        Ok(record)
    }

    /// Deletes a record.
    pub(super) fn delete(&mut self, id: &str) -> Result<Value, Refusal> {
        self.by_id.remove(id).map(|_| json!({ "id": id })).ok_or_else(missing)
    }

    /// Returns the records that a list's query selects, in its order.
    pub(super) fn select(&self, query: &BTreeMap<String, String>) -> Result<Vec<&Value>, Refusal> {
        let mut selected: Vec<_> = self.by_id.values().collect();
        for (parameter, wanted) in query {
            let (field, relation) = parameter.split_once('.').unwrap_or((parameter, "exact"));
            match field {
                "page" | "per_page" | "order" | "direction" | "match" => continue,
                "name" | "content" | "comment" | "type" => {}
                _ => return Err(Refusal::new(400, 1004, "DNS Validation Error")),
            }
            let wanted = wanted.to_ascii_lowercase();
            selected.retain(|record| {
                let value = text(record, field).to_ascii_lowercase();
                match relation {
                    "exact" => value == wanted,
                    "contains" => value.contains(&wanted),
                    "startswith" => value.starts_with(&wanted),
                    "endswith" => value.ends_with(&wanted),
                    "present" => !value.is_empty(),
                    "absent" => value.is_empty(),
                    _ => false,
                }
            });
        }
        if let Some(order) = query.get("order") {
            selected.sort_by_key(|record| text(record, order).to_owned());
        }
        if query.get("direction").is_some_and(|direction| direction == "desc") {
            selected.reverse();
        }
        Ok(selected)
    }

    /// Refuses what DNS does not allow: two equal records, and an address beside a CNAME.
    fn check_unique(&self, record: &Value, except: Option<&str>) -> Result<(), Refusal> {
        let at_name = self
            .by_id
            .values()
            .filter(|other| text(other, "name") == text(record, "name") && except != Some(text(other, "id")));
        let is_cname = |record: &Value| text(record, "type") == "CNAME";
        let is_address = |record: &Value| matches!(text(record, "type"), "A" | "AAAA");
        for other in at_name {
            if text(other, "type") == text(record, "type")
                && text(other, "content") == text(record, "content")
            {
                return Err(Refusal::new(400, 81057, "The record already exists."));
            }
            if is_cname(record) && (is_cname(other) || is_address(other)) {
                let message = "An A, AAAA, or CNAME record with that host already exists.";
                return Err(Refusal::new(400, 81053, message));
            }
            if is_address(record) && is_cname(other) {
                return Err(Refusal::new(400, 81054, "A CNAME record with that host already exists."));
            }
        }
        Ok(())
    }
}

/// Returns the record that these fields make.
fn checked(zone: &str, fields: &Value) -> Result<Value, Refusal> {
    let invalid = |message: &str| Refusal::new(400, 1004, &format!("DNS Validation Error: {message}"));
    let (kind, name, content) = (text(fields, "type"), text(fields, "name"), text(fields, "content"));
    if !matches!(kind, "A" | "AAAA" | "CNAME" | "TXT" | "MX" | "NS" | "CAA" | "SRV") {
        return Err(invalid("the type is not known"));
    }
    if name.is_empty() || content.is_empty() {
        return Err(invalid("name and content are required"));
    }
    let mut name = name.trim_end_matches('.').to_ascii_lowercase();
    if name == "@" {
        name = zone.to_owned();
    } else if name != zone && !name.ends_with(&format!(".{zone}")) {
        // As the real API does: a name outside of the zone is taken for a name in it.
        let _ = write!(name, ".{zone}");
    }
    if name.len() > 253 || name.split('.').any(|label| label.is_empty() || label.len() > 63) {
        return Err(invalid("the name is not a DNS name"));
    }
    let proxiable = matches!(kind, "A" | "AAAA" | "CNAME");
    let proxied = fields.get("proxied").and_then(Value::as_bool).unwrap_or_default();
    if proxied && !proxiable {
        return Err(Refusal::new(400, 9004, "This record type cannot be proxied."));
    }
    let ttl = if proxied { 1 } else { fields.get("ttl").and_then(Value::as_u64).unwrap_or(1) };
    if ttl != 1 && !(60..=86400).contains(&ttl) {
        return Err(Refusal::new(400, 9021, "Invalid TTL. Must be between 60 and 86400 seconds, or 1."));
    }
    Ok(json!({
        "type": kind,
        "name": name,
        "content": content,
        "proxiable": proxiable,
        "proxied": proxied,
        "ttl": ttl,
        "settings": {},
        "meta": {},
        "comment": fields.get("comment").cloned().unwrap_or_default(),
        "tags": fields.get("tags").cloned().unwrap_or_else(|| json!([])),
        "created_on": "2026-01-01T00:00:00Z",
        "modified_on": "2026-01-01T00:00:00Z",
    }))
}

fn with_id(mut record: Value, id: &str) -> Value {
    record["id"] = Value::from(id);
    record
}

fn missing() -> Refusal {
    Refusal::new(404, 81044, "Record does not exist.")
}

fn text<'a>(record: &'a Value, field: &str) -> &'a str {
    record.get(field).and_then(Value::as_str).unwrap_or_default()
}
