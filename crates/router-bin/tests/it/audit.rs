//! The keyed digests of users in audit lines.

use std::os::unix::fs::PermissionsExt as _;

use router_bin::audit::Audit;
use session_key::Identity;
use tempfile::{TempDir, tempdir};

#[test]
fn a_users_digest_is_stable_in_one_folder_and_differs_between_folders() {
    let (folder, other_folder) = (tempdir().expect("a folder"), tempdir().expect("a folder"));
    let digest = |folder: &TempDir, email: &str| {
        let user = Identity::parse(email).expect("an address");
        Audit::open(folder.path()).expect("a key").digest(&user)
    };
    let alice = digest(&folder, "alice@example.org");
    assert_eq!(alice, digest(&folder, "Alice@Example.org"));
    assert_ne!(alice, digest(&folder, "bob@example.org"));
    assert_ne!(alice, digest(&other_folder, "alice@example.org"));
    // The digest can't be computed from the address alone.
    assert_ne!(alice, Identity::parse("alice@example.org").expect("an address").digest());
    let key = folder.path().join("audit-key").metadata().expect("a key");
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
    assert!(!format!("{:?}", Audit::open(folder.path())).contains('['), "Debug hides the key");
}
