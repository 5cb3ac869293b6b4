//! Errors that prevent a start: each is a sentence that says what is wrong and what to do.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _};

use super::TestHome;

#[tokio::test]
async fn an_occupied_port_is_reported_with_the_variable_that_sets_it() {
    let home = TestHome::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    for variable in ["PORT", "HEALTH_PORT"] {
        let (code, output) = home.run(&[], &[(variable, &port)]).await;
        assert_eq!(code, Some(1), "{output}");
        assert!(output.contains(&format!("Port {port} on 127.0.0.1 is in use")), "{output}");
        assert!(output.contains(&format!("{variable}=")), "{output}");
    }
}

#[tokio::test]
async fn a_program_on_the_other_loopback_address_is_reported() {
    let home = TestHome::new();
    let Ok(taken) = TcpListener::bind("[::1]:0") else {
        return eprintln!("this machine has no IPv6");
    };
    let port = taken.local_addr().expect("an address").port().to_string();
    let (code, output) = home.run(&[], &[("PORT", &port)]).await;
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains(&format!("Port {port} on ::1 is in use")), "{output}");
}

#[tokio::test]
async fn an_unwritable_state_folder_is_reported() {
    let home = TestHome::new();
    let file = home.path().join("file");
    fs::write(&file, "").expect("a written file");
    let folder = file.join("state");
    let (code, output) = home.run(&[], &[("STATE_DIR", folder.to_str().expect("text"))]).await;
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains(folder.to_str().expect("text")) && output.contains("STATE_DIR="), "{output}");
}

#[tokio::test]
async fn a_missing_or_broken_opencode_is_reported() {
    let home = TestHome::new();
    let (code, output) = home.run(&[], &[("OPENCODE_BIN", "/nowhere/opencode")]).await;
    assert_eq!(code, Some(1), "{output}");
    assert!(
        output.contains("opencode was not found (/nowhere/opencode)") && output.contains("OPENCODE_BIN"),
        "{output}"
    );

    let broken = home.path().join("broken");
    fs::write(&broken, "#!/bin/sh\necho 'no such libc' >&2\nexit 3\n").expect("a written file");
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o755)).expect("executable");
    let (code, output) = home.run(&[], &[("OPENCODE_BIN", broken.to_str().expect("text"))]).await;
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("does not start on this machine") && output.contains("no such libc"), "{output}");
}

#[tokio::test]
async fn a_wrong_configuration_ends_with_exit_code_2_before_anything_runs() {
    let home = TestHome::new();
    let (code, output) = home.run(&[], &[("PORT", "many"), ("LOG_FORMAT", "xml")]).await;
    assert_eq!(code, Some(2), "{output}");
    assert!(output.contains("PORT must be a port") && output.contains("LOG_FORMAT"), "{output}");
    assert!(!home.state_dir().exists());
    let (code, output) = home.run(&["--check-config"], &[("BACKEND", "kubernetes")]).await;
    assert_eq!(code, Some(2), "{output}");
    assert!(
        output.contains("OPENCODE_IMAGE is not set") && output.contains("ROUTER_DOMAIN is not set"),
        "{output}"
    );
}

#[tokio::test]
async fn an_unreachable_cluster_is_reported() {
    let home = TestHome::new();
    let required = [
        ("BACKEND", "kubernetes"),
        ("OPENCODE_IMAGE", "registry.example/session:1"),
        ("ROUTER_DOMAIN", "oc.example.org"),
        ("TRUSTED_PROXIES", "10.0.0.0/8"),
        ("LISTEN_ADDRESS", "127.0.0.1"),
        ("KUBECONFIG", "/nowhere/kubeconfig"),
    ];
    let (code, output) = home.run(&[], &required).await;
    assert_eq!(code, Some(1), "{output}");
    assert!(
        output.contains("no cluster can be reached") && output.contains("/nowhere/kubeconfig"),
        "{output}"
    );
    assert!(!home.state_dir().exists(), "only the local backend has a state folder");
    let (code, output) = home.run(&["--check-config"], &required).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.lines().any(|line| line.starts_with("STORAGE_SIZE=10Gi ")), "{output}");
}

#[tokio::test]
async fn check_config_prints_the_configuration_without_running_anything() {
    let home = TestHome::new();
    let (code, output) = home.run(&["--check-config"], &[("IDLE_TIMEOUT_MINUTES", "7")]).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.lines().any(|line| line.starts_with("IDLE_TIMEOUT_MINUTES=7 ")), "{output}");
    assert!(!home.state_dir().exists());
    let (code, output) = home.run(&["--version"], &[]).await;
    assert_eq!((code, output.trim()), (Some(0), concat!("opencode-router ", env!("CARGO_PKG_VERSION"))));
    let (code, output) = home.run(&["--help"], &[]).await;
    assert_eq!(code, Some(0));
    assert!(output.contains("IDLE_TIMEOUT_MINUTES"), "{output}");
}

#[tokio::test]
async fn a_second_router_in_the_same_state_folder_is_refused() {
    let home = TestHome::new();
    let router = home.start(&[]).await;
    let (code, output) = home.run(&[], &[]).await;
    assert_eq!(code, Some(1), "{output}");
    assert!(
        output.contains("in use by another router") && output.contains(&router.pid().to_string()),
        "{output}"
    );
}
