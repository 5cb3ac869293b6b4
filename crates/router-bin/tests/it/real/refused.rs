//! What stops a start: a sentence that says what is wrong and what to do, and an exit code other than 0.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _};

use super::House;

#[tokio::test]
async fn an_occupied_port_is_named_with_the_variable_that_moves_it() {
    let house = House::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    for variable in ["PORT", "HEALTH_PORT"] {
        let (code, said) = house.run(&[], &[(variable, &port)]).await;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(&format!("Port {port} on 127.0.0.1 is taken")), "{said}");
        assert!(said.contains(&format!("{variable}=")), "{said}");
    }
}

#[tokio::test]
async fn a_program_on_the_other_loopback_address_is_not_taken_for_the_router() {
    let house = House::new();
    let Ok(taken) = TcpListener::bind("[::1]:0") else {
        return eprintln!("this machine has no IPv6");
    };
    let port = taken.local_addr().expect("an address").port().to_string();
    let (code, said) = house.run(&[], &[("PORT", &port)]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("Port {port} on ::1 is taken")), "{said}");
}

#[tokio::test]
async fn a_state_folder_that_cannot_be_written_is_named() {
    let house = House::new();
    let file = house.path().join("file");
    fs::write(&file, "").expect("written");
    let folder = file.join("state");
    let (code, said) = house.run(&[], &[("STATE_DIR", folder.to_str().expect("text"))]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(folder.to_str().expect("text")) && said.contains("STATE_DIR="), "{said}");
}

#[tokio::test]
async fn an_opencode_that_is_missing_or_does_not_start_is_named() {
    let house = House::new();
    let (code, said) = house.run(&[], &[("OPENCODE_BIN", "/nowhere/opencode")]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("opencode was not found (/nowhere/opencode)") && said.contains("OPENCODE_BIN"),
        "{said}"
    );

    let broken = house.path().join("broken");
    fs::write(&broken, "#!/bin/sh\necho 'no such libc' >&2\nexit 3\n").expect("written");
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o755)).expect("executable");
    let (code, said) = house.run(&[], &[("OPENCODE_BIN", broken.to_str().expect("text"))]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("does not start on this machine") && said.contains("no such libc"), "{said}");
}

#[tokio::test]
async fn a_wrong_configuration_ends_with_2_and_nothing_is_run() {
    let house = House::new();
    let (code, said) = house.run(&[], &[("PORT", "many"), ("LOG_FORMAT", "xml")]).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("PORT must be a port") && said.contains("LOG_FORMAT"), "{said}");
    assert!(!house.state_dir().exists());
    let (code, said) = house.run(&["--check-config"], &[("BACKEND", "kubernetes")]).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("OPENCODE_IMAGE is not set") && said.contains("ROUTER_DOMAIN is not set"),
        "{said}"
    );
}

#[tokio::test]
async fn a_cluster_that_can_not_be_had_is_named() {
    let house = House::new();
    let least = [
        ("BACKEND", "kubernetes"),
        ("OPENCODE_IMAGE", "registry.example/session:1"),
        ("ROUTER_DOMAIN", "oc.example.org"),
        ("TRUSTED_PROXIES", "10.0.0.0/8"),
        ("LISTEN_ADDRESS", "127.0.0.1"),
        ("KUBECONFIG", "/nowhere/kubeconfig"),
    ];
    let (code, said) = house.run(&[], &least).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("no cluster can be had") && said.contains("/nowhere/kubeconfig"), "{said}");
    assert!(!house.state_dir().exists(), "it is the local backend's");
    let (code, said) = house.run(&["--check-config"], &least).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.lines().any(|line| line.starts_with("STORAGE_SIZE=10Gi ")), "{said}");
}

#[tokio::test]
async fn the_configuration_can_be_looked_at_without_running_anything() {
    let house = House::new();
    let (code, said) = house.run(&["--check-config"], &[("IDLE_TIMEOUT_MINUTES", "7")]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.lines().any(|line| line.starts_with("IDLE_TIMEOUT_MINUTES=7 ")), "{said}");
    assert!(!house.state_dir().exists());
    let (code, said) = house.run(&["--version"], &[]).await;
    assert_eq!((code, said.trim()), (Some(0), concat!("opencode-router ", env!("CARGO_PKG_VERSION"))));
    let (code, said) = house.run(&["--help"], &[]).await;
    assert_eq!(code, Some(0));
    assert!(said.contains("IDLE_TIMEOUT_MINUTES"), "{said}");
}

#[tokio::test]
async fn two_routers_do_not_share_a_state_folder() {
    let house = House::new();
    let router = house.start(&[]).await;
    let (code, said) = house.run(&[], &[]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("in use by another router") && said.contains(&router.pid().to_string()), "{said}");
}
