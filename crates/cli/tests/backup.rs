//! `windlass backup` of a plane at work, and `windlass restore` somewhere else.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use common::{Home, client, within};
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, ObjectMeta, PostParams, WatchEvent, WatchParams};
use kube::{Api, ResourceExt};

fn config_map(name: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        ..ConfigMap::default()
    }
}

async fn api(home: &Home) -> Api<ConfigMap> {
    Api::namespaced(client(&home.data().management_kubeconfig()).await, "default")
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A plane that writes all the while is backed up; the copy has all that was acknowledged before the backup began,
/// is trusted by clients of the first, and none of them takes its changes for ones that they have seen.
#[tokio::test(flavor = "multi_thread")]
async fn a_plane_at_work_comes_back_elsewhere() {
    let (first, second) = (Home::new(), Home::new());
    first.run(&["quickstart", "--detach"]).done();
    let maps = api(&first).await;
    for i in 0..50 {
        maps.create(&PostParams::default(), &config_map(&format!("before-{i}"))).await.unwrap();
    }
    #[expect(clippy::disallowed_methods, reason = "a test that writes all the while")]
    let writing = tokio::spawn({
        let maps = maps.clone();
        async move {
            let mut last = String::new();
            for i in 0.. {
                match maps.create(&PostParams::default(), &config_map(&format!("later-{i}"))).await {
                    Ok(created) => last = created.resource_version().unwrap(),
                    Err(_stopped) => break,
                }
            }
            last
        }
    });
    let file = first.path().join("plane.backup");
    let said = first.run(&["backup", text(&file)]).done();
    assert_eq!(said.out, "");
    assert!(said.err.contains("plane.backup holds ") && said.err.contains(" objects of "), "{}", said.err);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    tokio::time::sleep(Duration::from_millis(100)).await;
    first.kill_plane();
    let last: u64 = writing.await.unwrap().parse().unwrap();

    second.run(&["restore", text(&file)]).done();
    second.run(&["up", "--detach"]).done();
    let copy = api(&second).await;
    let names: Vec<String> =
        copy.list(&ListParams::default()).await.unwrap().items.iter().map(ResourceExt::name_any).collect();
    assert_eq!(names.iter().filter(|name| name.starts_with("before-")).count(), 50);
    let later = names.iter().filter(|name| name.starts_with("later-")).count();
    assert!(
        (0..later).all(|i| names.contains(&format!("later-{i}"))),
        "a prefix of what was written later: {names:?}"
    );
    assert!(later > 0 || last == 0, "the backup was taken while nothing was written");

    // Whoever holds the first plane's kubeconfig trusts the copy, and the other way round.
    let authority = |home: &Home| fs::read(home.data().pki("ca.crt")).unwrap();
    assert_eq!(authority(&first), authority(&second));

    // An informer that saw more than the backup has must list again.
    let created = copy.create(&PostParams::default(), &config_map("new")).await.unwrap();
    assert!(created.resource_version().unwrap().parse::<u64>().unwrap() > last + 100_000);
    let events = copy.watch(&WatchParams::default(), &last.to_string()).await.unwrap();
    match events.try_collect::<Vec<_>>().await.unwrap().as_slice() {
        [WatchEvent::Error(status)] => assert_eq!((status.code, status.reason.as_str()), (410, "Expired")),
        other => panic!("{other:?}"),
    }
    // The cluster of the first is the cluster of the copy.
    assert!(within(Duration::from_secs(30), || {
        let said = second.run(&["describe", "cluster", "quickstart"]);
        said.code == Some(0) && said.out.contains("Available")
    }));
}

#[test]
fn a_stopped_plane_is_backed_up_from_its_folder() {
    let (first, second) = (Home::new(), Home::new());
    first.run(&["up", "--detach"]).done();
    first.run(&["down"]).done();
    let before = first.files();
    let file = first.path().join("plane.backup");
    first.run(&["backup", text(&file)]).done();
    assert_eq!(first.files().keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    second.run(&["restore", text(&file)]).done();
    second.run(&["up", "--detach"]).done();
}

#[test]
fn encrypted_backups_need_their_key() {
    let home = Home::new();
    home.run(&["up", "--detach"]).done();
    let at = |name: &str| home.path().join(name);
    let key = age::x25519::Identity::generate();
    let secret = age::secrecy::ExposeSecret::expose_secret(&key.to_string()).to_owned();
    fs::write(at("key"), format!("# mine\n{secret}\n")).unwrap();
    let other = age::x25519::Identity::generate().to_string();
    fs::write(at("other-key"), age::secrecy::ExposeSecret::expose_secret(&other)).unwrap();
    fs::write(at("words"), "correct horse battery staple\n").unwrap();
    fs::write(at("other-words"), "wrong\n").unwrap();
    fs::write(at("empty"), "").unwrap();

    let backup = |file: &str, more: &[&str]| home.run(&[&["backup", text(&at(file))], more].concat());
    backup("for-key", &["--recipient", &key.to_public().to_string()]).done();
    backup("for-words", &["--passphrase-file", text(&at("words"))]).done();
    for file in ["for-key", "for-words"] {
        let bytes = fs::read(at(file)).unwrap();
        assert!(bytes.starts_with(b"age-encryption.org/v1"), "{file}");
        assert!(!bytes.windows(9).any(|window| window == b"ConfigMap"), "{file} can be read");
    }
    let restore = |file: &str, more: &[&str]| {
        let elsewhere = Home::new();
        let said = elsewhere.run(&[&["restore", text(&at(file))], more].concat());
        (said.code, said.err, elsewhere.data().database().exists())
    };
    for (file, more, error) in [
        ("for-key", vec![], "cannot decrypt the backup"),
        ("for-key", vec!["--identity", "other-key"], "cannot decrypt the backup"),
        ("for-key", vec!["--identity", "missing"], "cannot use the private key"),
        ("for-words", vec!["--passphrase-file", "other-words"], "cannot decrypt the backup"),
        ("for-words", vec!["--passphrase-file", "empty"], "there is no passphrase in"),
        ("for-key", vec!["--identity", "key"], ""),
        ("for-words", vec!["--passphrase-file", "words"], ""),
    ] {
        let files: Vec<String> = more
            .iter()
            .map(|&word| if word.starts_with("--") { word.to_owned() } else { text(&at(word)).to_owned() })
            .collect();
        let (code, said, made) = restore(file, &files.iter().map(String::as_str).collect::<Vec<_>>());
        if error.is_empty() {
            assert_eq!((code, made), (Some(0), true), "{file} {more:?}: {said}");
        } else {
            assert!(
                code == Some(1) && said.contains(error) && said.contains("hint: ")
                    || error.contains("private"),
                "{file} {more:?}: {said}"
            );
            assert!(!made, "{file} {more:?} left a database");
            assert!(!said.contains(&secret) && !said.contains("horse"), "{said}");
        }
    }
    let said = backup("never", &["--recipient", "age1nobody"]);
    assert!(said.code == Some(1) && said.err.contains("cannot encrypt for \"age1nobody\""), "{}", said.err);
    assert!(!at("never").exists());
}

#[test]
fn what_is_no_backup_changes_nothing() {
    let home = Home::new();
    home.run(&["up", "--detach"]).done();
    let file = home.path().join("plane.backup");
    home.run(&["backup", text(&file)]).done();
    // Over a plane that runs, and over one that does not.
    let said = home.run(&["restore", text(&file)]);
    assert!(said.code == Some(1) && said.err.contains("in use by process"), "{}", said.err);
    home.run(&["down"]).done();
    let said = home.run(&["restore", text(&file)]);
    assert!(
        said.code == Some(1) && said.err.contains("there is a file already") && said.err.contains("hint: "),
        "{}",
        said.err
    );

    let whole = fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    let mut newer = whole.clone();
    newer[15] = 9;
    for (name, bytes, error) in [
        ("cut", &whole[..whole.len() - 7], "it ends too soon"),
        ("flipped", &flipped, "is damaged"),
        ("newer", &newer, "has format 9 and this version reads up to 1"),
        ("text", b"apiVersion: v1\n".as_slice(), "this is no backup"),
    ] {
        let elsewhere = Home::new();
        fs::write(&file, bytes).unwrap();
        let said = elsewhere.run(&["restore", text(&file)]);
        assert!(said.code == Some(1) && said.err.contains(error), "{name}: {}", said.err);
        assert!(!elsewhere.data().database().exists(), "{name}");
    }
}
