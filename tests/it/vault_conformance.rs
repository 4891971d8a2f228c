//! What every vault must do, and what only a directory can get wrong.

use ledgerline::vault::directory::DirectoryVault;
use ledgerline::vault::{Keep, Put, Vault, VaultError};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

/// Of what the tests put: sealed in 2026.
pub const KEEP: Keep<'static> = Keep {
    sealed_at: 1_790_000_000_000_000,
    class: None,
    hold: false,
};

/// Holds for every vault, which MUST be empty.
pub async fn conforms(vault: &dyn Vault) {
    gives_back_what_was_put(vault).await;
    never_overwrites(vault).await;
    lists_by_prefix_in_order(vault).await;
    refuses_names_that_are_none(vault).await;
    many_puts_of_one_name_create_once(vault).await;
}

async fn gives_back_what_was_put(vault: &dyn Vault) {
    assert_eq!(vault.list("").await.unwrap(), Vec::<String>::new());
    assert_eq!(vault.get("absent/object").await.unwrap(), None);
    assert_eq!(vault.head("absent/object").await.unwrap(), None);
    for (name, bytes) in [
        ("keys/jwks-1.json", &b"{}"[..]),
        ("acme/audit/0/tile/0/x001/000", &[0xFF; 8_192]),
        ("empty", b""),
    ] {
        assert_eq!(vault.put_new(name, bytes, KEEP).await.unwrap(), Put::Created);
        assert_eq!(vault.get(name).await.unwrap().as_deref(), Some(bytes));
        assert_eq!(vault.head(name).await.unwrap(), Some(bytes.len() as u64));
    }
    // What is only on the way to an object is none.
    assert_eq!(vault.get("keys").await.unwrap(), None);
    assert_eq!(vault.head("acme/audit").await.unwrap(), None);
    assert_eq!(vault.get("keys/jwks-1.json/x").await.unwrap(), None);
}

async fn never_overwrites(vault: &dyn Vault) {
    for again in [&b"{}"[..], b"other", b""] {
        assert_eq!(
            vault.put_new("keys/jwks-1.json", again, KEEP).await.unwrap(),
            Put::Exists
        );
        assert_eq!(
            vault.get("keys/jwks-1.json").await.unwrap().as_deref(),
            Some(&b"{}"[..])
        );
    }
}

async fn lists_by_prefix_in_order(vault: &dyn Vault) {
    for name in ["a/b", "a-b/c", "a/b-c", "a/c/d"] {
        vault.put_new(name, b"x", KEEP).await.unwrap();
    }
    let all = vault.list("").await.unwrap();
    assert_eq!(
        all,
        [
            "a-b/c",
            "a/b",
            "a/b-c",
            "a/c/d",
            "acme/audit/0/tile/0/x001/000",
            "empty",
            "keys/jwks-1.json"
        ]
    );
    assert_eq!(vault.list("a/").await.unwrap(), ["a/b", "a/b-c", "a/c/d"]);
    assert_eq!(vault.list("a/b").await.unwrap(), ["a/b", "a/b-c"]);
    assert_eq!(vault.last("a/b").await.unwrap().as_deref(), Some("a/b-c"));
    assert_eq!(vault.last("a/").await.unwrap().as_deref(), Some("a/c/d"));
    assert_eq!(vault.last("nothing/here").await.unwrap(), None);
    assert_eq!(
        vault.list("a").await.unwrap(),
        ["a-b/c", "a/b", "a/b-c", "a/c/d", "acme/audit/0/tile/0/x001/000"]
    );
    assert_eq!(vault.list("nothing/here").await.unwrap(), Vec::<String>::new());
}

async fn refuses_names_that_are_none(vault: &dyn Vault) {
    let long_part = "x".repeat(256);
    for name in [
        "",
        "/",
        "/etc/passwd",
        "a//b",
        "a/",
        "/a",
        ".",
        "..",
        "../a",
        "a/../b",
        "a/./b",
        "a/..",
        ".hidden",
        "a/.hidden",
        ".incoming/x",
        "a\0b",
        "a\nb",
        "a\\b",
        &long_part,
        &"x/".repeat(600),
    ] {
        assert!(
            matches!(
                vault.put_new(name, b"x", KEEP).await,
                Err(VaultError::Fatal { .. })
            ),
            "{name:?}"
        );
        assert!(vault.get(name).await.is_err(), "{name:?}");
        assert!(vault.head(name).await.is_err(), "{name:?}");
    }
    assert_eq!(vault.list("").await.unwrap().len(), 7);
    assert_eq!(vault.list("../").await.unwrap(), Vec::<String>::new());
}

async fn many_puts_of_one_name_create_once(vault: &dyn Vault) {
    let puts = (0..16_u8).map(|n| async move {
        vault
            .put_new("race/object", &vec![n; 100_000], KEEP)
            .await
            .unwrap()
    });
    let outcomes = futures_util::future::join_all(puts).await;
    assert_eq!(outcomes.iter().filter(|put| **put == Put::Created).count(), 1);
    let stored = vault.get("race/object").await.unwrap().unwrap();
    assert!(stored.iter().all(|byte| *byte == stored[0]) && stored.len() == 100_000);
}

fn directory() -> (tempfile::TempDir, DirectoryVault) {
    let dir = tempfile::tempdir().unwrap();
    let vault = DirectoryVault::create(dir.path().join("new/archive")).unwrap();
    (dir, vault)
}

fn message(error: &VaultError) -> String {
    error.to_string()
}

#[tokio::test]
async fn a_directory_conforms() {
    let (_dir, vault) = directory();
    conforms(&vault).await;
    assert_eq!(fs::read_dir(vault.root().join(".incoming")).unwrap().count(), 0);
}

#[test]
fn threads_with_vaults_of_their_own_create_an_object_once() {
    let (_dir, vault) = directory();
    let created: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8_u8)
            .map(|n| {
                let root = vault.root();
                scope.spawn(move || {
                    let vault = DirectoryVault::open(root).unwrap();
                    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                    (0..20_usize)
                        .filter(|object| {
                            let name = format!("o/{object}");
                            loop {
                                match runtime.block_on(vault.put_new(&name, &[n; 1_000], KEEP)) {
                                    Ok(put) => break put == Put::Created,
                                    Err(VaultError::Retry { .. }) => {}
                                    Err(error) => panic!("{error}"),
                                }
                            }
                        })
                        .count()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(created, 20);
}

#[tokio::test]
async fn objects_are_read_only_files() {
    let (_dir, vault) = directory();
    vault.put_new("a/b", b"x", KEEP).await.unwrap();
    let mode = fs::metadata(vault.root().join("a/b"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o440);
}

#[tokio::test]
async fn leftovers_of_a_crash_are_removed_at_open_and_never_seen() {
    let (_dir, vault) = directory();
    vault.put_new("a/b", b"x", KEEP).await.unwrap();
    let leftover = vault.root().join(".incoming/00112233");
    fs::write(&leftover, b"half").unwrap();
    fs::write(vault.root().join(".note"), b"an operator's").unwrap();
    let being_written = vault.root().join(".incoming/44556677");
    let writer = fs::File::create(&being_written).unwrap();
    writer.lock().unwrap();
    assert_eq!(vault.list("").await.unwrap(), ["a/b"]);
    let reopened = DirectoryVault::open(vault.root()).unwrap();
    assert!(!leftover.exists() && being_written.exists());
    assert_eq!(reopened.list("").await.unwrap(), ["a/b"]);
    // Below the top a name with a dot is a stranger that a verifier must see.
    fs::write(vault.root().join("a/.b"), b"x").unwrap();
    assert_eq!(reopened.list("").await.unwrap(), ["a/.b", "a/b"]);
}

#[test]
fn processes_that_open_one_archive_at_once_do_not_stop_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("archive");
    // A directory's locks belong to the open file, not to the process: threads stand for processes here.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..200 {
                    DirectoryVault::create(&root).unwrap();
                }
            });
        }
    });
}

#[tokio::test]
async fn a_symlink_on_the_way_is_refused() {
    let (dir, vault) = directory();
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), b"x").unwrap();
    symlink(&outside, vault.root().join("link")).unwrap();
    symlink(outside.join("secret"), vault.root().join("file")).unwrap();
    for name in ["link/new", "link/secret", "file"] {
        assert!(message(&vault.put_new(name, b"y", KEEP).await.unwrap_err()).contains("symlink"));
        assert!(vault.get(name).await.is_err());
        assert!(vault.head(name).await.is_err());
    }
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    // A listing shows it, so that a verifier refuses it, and does not follow it.
    assert_eq!(vault.list("").await.unwrap(), ["file", "link"]);
}

#[test]
fn what_is_no_directory_cannot_be_opened() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    assert!(message(&DirectoryVault::open(&file).unwrap_err()).contains("not a directory"));
    assert!(message(&DirectoryVault::create(&file).unwrap_err()).contains("directory"));
    assert!(
        message(&DirectoryVault::open(dir.path().join("absent")).unwrap_err()).contains("does not exist")
    );
}

#[tokio::test]
async fn a_file_where_a_directory_is_due_is_a_clear_error() {
    let (_dir, vault) = directory();
    vault.put_new("a", b"x", KEEP).await.unwrap();
    let error = vault.put_new("a/b", b"x", KEEP).await.unwrap_err();
    assert!(matches!(error, VaultError::Fatal { .. }));
    assert!(message(&error).contains("a/b"), "{error}");
    vault.put_new("c/d", b"x", KEEP).await.unwrap();
    assert!(vault.put_new("c", b"x", KEEP).await.is_err());
    assert_eq!(vault.list("").await.unwrap(), ["a", "c/d"]);
    assert_eq!(fs::read_dir(vault.root().join(".incoming")).unwrap().count(), 0);
}
