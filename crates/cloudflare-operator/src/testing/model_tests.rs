//! What the stand-in answers, where the documentation or recordings say it.

use super::*;

const ZONE: &str = "/zones/023e105f4ecef8ad9ca31a8372d0c353";
const TUNNEL: &str =
    "/accounts/699d98642c564d2e855e9661899b7252/cfd_tunnel/f70ff985-a4ef-4643-bbbc-4a0ed4fc8415";

fn model() -> Model {
    Model::new(Seed::default())
}

fn call(model: &mut Model, method: Method, path: &str, body: Value) -> (u16, Value) {
    let token = model.seed.token.clone();
    call_with(model, Some(&token), method, path, body)
}

fn call_with(
    model: &mut Model,
    token: Option<&str>,
    method: Method,
    path: &str,
    body: Value,
) -> (u16, Value) {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let names = ["page", "per_page", "name.endswith", "comment.exact", "order"];
    let query = pairs.filter_map(|(name, value)| {
        names.iter().find(|known| **known == name).map(|known| (*known, value.to_owned()))
    });
    let request = Request {
        call: call_kind(&method, path),
        method,
        path: path.to_owned(),
        query: query.collect(),
        body: (!body.is_null()).then_some(body),
    };
    model.count(Duration::ZERO, request.call);
    let response = model.answer(Duration::ZERO, token, &request);
    (response.status, serde_json::from_slice(&response.body).expect("JSON"))
}

/// Asserts the status, and the code of the first error; 0 if the call succeeds.
#[track_caller]
fn check(model: &mut Model, method: Method, path: &str, body: Value, expected: (u16, u64)) -> Value {
    let (status, answer) = call(model, method, path, body);
    let code = answer["errors"][0]["code"].as_u64().unwrap_or_default();
    assert_eq!((status, code), expected, "{answer}");
    assert_eq!(answer["success"], json!(code == 0));
    answer
}

fn cname(name: &str, content: &str) -> Value {
    json!({ "type": "CNAME", "name": name, "content": content, "proxied": true, "ttl": 1 })
}

#[test]
fn a_name_has_one_cname_or_addresses() {
    let (mut model, path) = (model(), format!("{ZONE}/dns_records"));
    let mut post = |body, expected| check(&mut model, Method::POST, &path, body, expected);
    post(cname("a.example.org", "x.example"), (200, 0));
    post(cname("A.example.org", "x.example"), (400, 81057));
    post(cname("a.example.org", "y.example"), (400, 81053));
    post(json!({ "type": "A", "name": "a.example.org", "content": "192.0.2.1" }), (400, 81054));
    post(json!({ "type": "A", "name": "b.example.org", "content": "192.0.2.1" }), (200, 0));
    post(json!({ "type": "A", "name": "b.example.org", "content": "192.0.2.2" }), (200, 0));
    post(cname("b.example.org", "x.example"), (400, 81053));
    post(json!({ "type": "TXT", "name": "b.example.org", "content": "text" }), (200, 0));
    post(json!({ "type": "TXT", "name": "c.example.org", "content": "text", "proxied": true }), (400, 9004));
    let answer = post(cname("www.example.net", "x.example"), (200, 0));
    assert_eq!(answer["result"]["name"], "www.example.net.example.org");
}

#[test]
fn a_batch_is_done_whole_or_not_at_all() {
    let mut model = model();
    let (records, batch) = (format!("{ZONE}/dns_records"), format!("{ZONE}/dns_records/batch"));
    let created = check(&mut model, Method::POST, &records, cname("a.example.org", "x.example"), (200, 0));
    let id = &created["result"]["id"];
    let replaced = json!({ "deletes": [{ "id": id }], "posts": [cname("a.example.org", "y.example")] });
    let posts =
        json!({ "posts": [cname("b.example.org", "x.example"), cname("a.example.org", "z.example")] });
    check(&mut model, Method::POST, &batch, posts, (400, 81053));
    assert_eq!(model.records().len(), 1);
    check(&mut model, Method::POST, &batch, replaced.clone(), (200, 0));
    assert_eq!(model.records()[0]["content"], "y.example");
    check(&mut model, Method::POST, &batch, replaced, (404, 81044));
    let posts: Vec<_> = (0..201).map(|n| cname(&format!("n{n}.example.org"), "x.example")).collect();
    check(&mut model, Method::POST, &batch, json!({ "posts": posts }), (400, 1004));
    check(&mut model, Method::POST, &batch, json!({ "posts": &posts[1..] }), (200, 0));
    model.seed.record_limit = Some(201);
    check(&mut model, Method::POST, &records, cname("m.example.org", "x.example"), (400, 81045));
}

#[test]
fn a_list_has_pages_and_filters() {
    let mut model = model();
    for n in 0..5 {
        let mut record = cname(&format!("n{n}.example.org"), "x.example");
        record["comment"] = json!(if n < 2 { "Ours" } else { "theirs" });
        model.add_record(&record).expect("a record");
    }
    let mut list = |query: &str| {
        let path = format!("{ZONE}/dns_records?{query}");
        let answer = check(&mut model, Method::GET, &path, Value::Null, (200, 0));
        let names = answer["result"].as_array().expect("a list").iter();
        let names: Vec<_> = names.filter_map(|record| record["name"].as_str()?.get(..2)).collect();
        (names.join(" "), answer["result_info"].clone())
    };
    let (names, info) = list("per_page=2&page=3&order=name");
    assert_eq!(names, "n4");
    assert_eq!(info, json!({ "page": 3, "per_page": 2, "count": 1, "total_count": 5, "total_pages": 3 }));
    assert_eq!(list("comment.exact=ours&order=name").0, "n0 n1");
    assert_eq!(list("name.endswith=3.example.org").0, "n3");
    assert_eq!(list("page=2").0, "");
    let path = format!("{ZONE}/dns_records?per_page=0");
    check(&mut model, Method::GET, &path, Value::Null, (400, 1004));
}

#[test]
fn the_tunnels_document_has_a_version_and_a_last_rule() {
    let (mut model, path) = (model(), format!("{TUNNEL}/configurations"));
    let answer = check(&mut model, Method::GET, &path, Value::Null, (200, 0));
    assert_eq!((&answer["result"]["version"], &answer["result"]["config"]), (&json!(0), &Value::Null));
    let mut put = |ingress, expected| {
        check(&mut model, Method::PUT, &path, json!({ "config": { "ingress": ingress } }), expected)
    };
    put(json!([]), (400, 1056));
    put(json!([{ "hostname": "a.example.org", "service": "x" }]), (400, 1056));
    put(json!([{ "path": "^/x", "service": "x" }]), (400, 1056));
    let answer = put(json!([{ "service": "http_status:404" }]), (200, 0));
    assert_eq!(answer["result"]["version"], 1);
    assert_eq!(answer["result"]["config"]["warp-routing"], json!({ "enabled": false }));
    model.seed.tunnel_deleted = true;
    check(&mut model, Method::GET, &path, Value::Null, (404, 1055));
    let answer = check(&mut model, Method::GET, TUNNEL, Value::Null, (200, 0));
    assert!(answer["result"]["deleted_at"].is_string());
}

#[test]
fn wrong_ids_and_tokens_have_their_codes() {
    let mut model = model();
    check(&mut model, Method::GET, "/zones/short", Value::Null, (404, 7003));
    check(&mut model, Method::GET, &format!("/zones/{}", "0".repeat(32)), Value::Null, (404, 1001));
    check(&mut model, Method::GET, "/unknown", Value::Null, (404, 7003));
    check(&mut model, Method::GET, "/accounts/other/cfd_tunnel/x", Value::Null, (403, 10000));
    check(&mut model, Method::DELETE, &format!("{ZONE}/dns_records/x"), Value::Null, (404, 81044));
    let (status, answer) = call_with(&mut model, Some("wrong"), Method::GET, ZONE, Value::Null);
    assert_eq!((status, &answer["errors"][0]["code"]), (403, &json!(9109)));
    let (status, answer) = call_with(&mut model, None, Method::GET, ZONE, Value::Null);
    assert_eq!((status, &answer["errors"][0]["code"]), (400, &json!(9106)));
}

#[test]
fn a_call_over_the_limit_is_refused_until_the_window_has_passed() {
    let mut model = model();
    model.seed.rate_limit = 2;
    let token = model.seed.token.clone();
    let request =
        Request { call: "read_zone", method: Method::GET, path: ZONE.to_owned(), query: vec![], body: None };
    let mut at = |seconds| {
        let now = Duration::from_secs(seconds);
        model.count(now, request.call);
        let response = model.answer(now, Some(&token), &request);
        (response.status, response.retry_after.map(|delay| delay.as_secs()))
    };
    assert_eq!(at(0), (200, None));
    assert_eq!(at(100), (200, None));
    assert_eq!(at(200), (429, Some(101)));
    assert_eq!(at(501), (200, None));
}
