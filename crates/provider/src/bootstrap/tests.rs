//! Bootstrap data as its writers write it, read into a line per step.

use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// As Cluster API's bootstrap provider writes it, modules in an order of its own.
const CLOUD_CONFIG: &str = r#"## template: jinja
#cloud-config

write_files:
-   path: /etc/kubernetes/pki/ca.crt
    owner: root:root
    permissions: '0640'
    content: |
      -----BEGIN CERTIFICATE-----
-   path: /run/kubeadm/kubeadm.yaml
    owner: root:root
    permissions: '0640'
    content: |
      ---
      # of the cluster
      apiVersion: kubeadm.k8s.io/v1beta4
      kind: ClusterConfiguration
      kubernetesVersion: v1.35.4

      ---
      apiVersion: kubeadm.k8s.io/v1beta4
      kind: InitConfiguration
      nodeRegistration:
        name: '{{ ds.meta_data.local_hostname }}'
        criSocket: unix:///elsewhere.sock
        ignorePreflightErrors: [NumCPU]
        kubeletExtraArgs:
        - name: provider-id
          value: mine
-   path: /root/late
    permissions: 0o600
    defer: true
    owner: ann
    encoding: gzip+base64
    content: H4sIAAAAAAAAA8tIzcnJBwCGphA2BQAAAA==
-   path: /etc/motd
    append: true
    content: more
runcmd:
  - 'echo before'
  - [ "sleep", 5 ]
  -
  - |
    kubeadm init --config /run/kubeadm/kubeadm.yaml  && echo success > /run/cluster-api/bootstrap-success.complete
    echo and more
bootcmd:
  - echo boot
ntp:
  enabled: true
  servers: [one, two]
users:
  - default
  - name: ann
    groups: sudo, docker
    sudo: 'ALL=(ALL) NOPASSWD:ALL'
    passwd: hunter2
    ssh_authorized_keys:
      - ssh-ed25519 AAAA
mounts:
  - [sdc, /data]
"#;

/// As Cluster API's bootstrap provider writes it: a Container Linux Config, transpiled.
fn ignition() -> Value {
    json!({
        "ignition": {"version": "2.3.0", "config": {}, "security": {"tls": {}}, "timeouts": {}},
        "networkd": {},
        "passwd": {"users": [{"name": "core", "passwordHash": "hunter2", "sshAuthorizedKeys": ["ssh-ed25519 AAAA"], "groups": ["sudo"]}]},
        "storage": {
            "disks": [{"device": "/dev/sdb"}],
            "files": [
                {"filesystem": "root", "path": "/etc/sudoers.d/core", "contents": {"source": "data:,core%20ALL%3D(ALL)%0A", "verification": {}}, "mode": 384},
                {"filesystem": "root", "path": "/etc/kubeadm.sh", "user": {"id": 0}, "group": {"id": 0}, "contents": {"source": "data:,%23!%2Fbin%2Fbash%0Aset%20-e%0Akubeadm%20join%20--config%20%2Fetc%2Fkubeadm.yml%20%20%0A"}, "mode": 448},
                {"filesystem": "root", "path": "/etc/kubeadm.yml", "contents": {"source": "data:;base64,YXBpVmVyc2lvbjoga3ViZWFkbS5rOHMuaW8vdjFiZXRhMwpraW5kOiBKb2luQ29uZmlndXJhdGlvbgo="}, "mode": 384},
            ],
        },
        "systemd": {"units": [
            {"name": "kubeadm.service", "enabled": true, "contents": "[Service]\nExecStart=/etc/kubeadm.sh\n", "dropins": [{"name": "10-flatcar.conf", "contents": "[Unit]\n"}]},
            {"name": "ntpd.service", "enabled": true},
            {"name": "var-lib-x.mount", "enabled": true, "contents": "[Mount]\n"},
            {"name": "locksmithd.service", "mask": true},
        ]},
    })
}

fn metadata() -> Metadata {
    Metadata { hostname: "m-1".to_owned(), instance_id: "i-1".to_owned(), ..Metadata::default() }
}

fn read(data: &str) -> Result<Boot> {
    parse("", data.as_bytes(), &metadata())
}

/// One line per step: files as `path owner mode: content`, commands as they are displayed.
fn notation(boot: &Boot) -> String {
    let mut text = String::new();
    for step in &boot.steps {
        if let Step::Write(file) = step {
            let mode = file.mode.map_or_else(|| "-".to_owned(), |mode| format!("{mode:04o}"));
            let content = String::from_utf8_lossy(&file.content).escape_debug().to_string();
            let content: String = content.chars().take(40).collect();
            let (owner, to) = (file.owner.as_deref().unwrap_or("-"), if file.append { ">>" } else { ">" });
            writeln!(text, "{to} {} {owner} {mode}: {content}", file.path).unwrap();
        } else {
            writeln!(text, "{}", step.display()).unwrap();
        }
    }
    writeln!(text, "ignored: {}", boot.ignored.join(", ")).unwrap();
    text
}

#[test]
fn cloud_config_is_done_in_the_order_of_cloud_inits_modules() {
    let boot = read(CLOUD_CONFIG).unwrap();
    assert_eq!(
        notation(&boot),
        "echo boot\n\
         > /etc/kubernetes/pki/ca.crt root:root 0640: -----BEGIN CERTIFICATE-----\\n\n\
         > /run/kubeadm/kubeadm.yaml root:root 0640: ---\\n# of the cluster\\napiVersion: kubea\n\
         >> /etc/motd - -: more\n\
         create the user ann\n\
         > /root/late ann 0600: hello\n\
         echo before\n\
         sleep 5\n\
         kubeadm init --config /run/kubeadm/kubeadm.yaml  && echo success > /run/cluster-api/bootstrap-success.complete …\n\
         ignored: ntp, mounts\n"
    );
    let Some(Step::User(ann)) = boot.steps.iter().find(|step| matches!(step, Step::User(_))) else {
        panic!("no user")
    };
    assert_eq!((&ann.groups[..], ann.lock_password), (&["sudo".to_owned(), "docker".to_owned()][..], true));
    assert!(boot.file("/run/kubeadm/kubeadm.yaml").unwrap().windows(11).any(|part| part == b"name: 'm-1'"));
    assert!(!format!("{boot:?}").contains("hunter2") && !format!("{boot:?}").contains("BEGIN"));
}

#[test]
fn ignition_is_done_in_its_own_order_and_kubeadm_last() {
    let boot = read(&ignition().to_string()).unwrap();
    assert_eq!(
        notation(&boot),
        "create the user core\n\
         > /etc/sudoers.d/core - 0600: core ALL=(ALL)\\n\n\
         > /etc/kubeadm.sh 0:0 0700: #!/bin/bash\\nset -e\\nkubeadm join --conf\n\
         > /etc/kubeadm.yml - 0600: apiVersion: kubeadm.k8s.io/v1beta3\\nkind\n\
         > /etc/systemd/system/kubeadm.service - 0644: [Service]\\nExecStart=/etc/kubeadm.sh\\n\n\
         > /etc/systemd/system/kubeadm.service.d/10-flatcar.conf - 0644: [Unit]\\n\n\
         systemctl daemon-reload\n\
         systemctl mask locksmithd.service\n\
         systemctl enable --now --no-block ntpd.service || true\n\
         systemctl start kubeadm.service …\n\
         ignored: storage.disks, networkd, systemd unit var-lib-x.mount\n"
    );
    let call = boot.kubeadm().unwrap();
    assert_eq!((call.verb, call.config.as_deref()), (KubeadmVerb::Join, Some("/etc/kubeadm.yml")));
    assert!(!format!("{boot:?}").contains("hunter2"));
}

#[test]
fn ignition_3_has_directories_links_and_parts() {
    let data = json!({
        "ignition": {"version": "3.4.0", "config": {"merge": [{"source": "https://host/more.ign"}]}},
        "passwd": {"groups": [{"name": "g", "gid": 7}], "users": [{"name": "gone", "shouldExist": false}]},
        "storage": {
            "directories": [{"path": "/d", "mode": 448, "user": {"name": "u"}, "group": {"name": "g"}}],
            "links": [{"path": "/l", "target": "/d"}, {"path": "/h", "target": "/f", "hard": true}],
            "files": [{"path": "/f", "contents": {"source": "data:,a"}, "append": [{"source": "data:,b"}]}, {"path": "/g", "group": {"id": 7}}],
        },
    });
    let boot = read(&data.to_string()).unwrap();
    assert_eq!(
        notation(&boot),
        "groupadd --force --gid=7 g\n\
         install -d --mode=0700 --owner=u --group=g -- /d\n\
         > /f - -: a\n\
         >> /f - -: b\n\
         >> /g root:7 -: \n\
         ln -sfT -- /d /l\n\
         ln -fT -- /f /h\n\
         ignored: ignition.config.merge\n"
    );
    assert_eq!(boot.file("/f").unwrap(), b"ab");
}

#[test]
fn what_is_wrong_is_named_and_never_shown() {
    let file = |entry: &str| format!("#cloud-config\nwrite_files:\n- {{content: hunter2, {entry}}}\n");
    for (data, says) in [
        ("", "its first line is not `#cloud-config` but empty"),
        ("## template: jinja\nhunter2", "its first line after that of the template is not"),
        ("#!/bin/sh\nhunter2", "starts a script"),
        ("#include\nhttp://hunter2", "includes from elsewhere"),
        ("Content-Type: multipart/mixed; boundary=hunter2", "starts a MIME message"),
        ("#cloud-config\nwrite_files: [hunter2", "line "),
        ("#cloud-config\nruncmd: hunter2", "line 2 is not cloud-config"),
        ("#cloud-config\nruncmd: [{hunter2: 1}]", "line 2 is not cloud-config"),
        ("#cloud-config\nwrite_files: [{content: hunter2}]", "line 2 is not cloud-config"),
        ("#cloud-config\nusers: [{name: -x, passwd: hunter2}]", "`-x` cannot be the name of a user"),
        (&file("path: /a, encoding: rot13"), "the file /a has the unknown encoding `rot13`"),
        (&file("path: /a, encoding: b64"), "the file /a is not base64"),
        (&file("path: /a, encoding: gzip"), "the file /a is not gzip"),
        (&file("path: /a, permissions: '0999'"), "the permissions `0999`, which are not octal"),
        (&file("path: /a, permissions: '17777'"), "permissions that are none"),
        (&file("path: a"), "the file a must have an absolute path"),
        (&file("path: /"), "the file / is named as a directory"),
        (&file("path: \"/a\\nb\""), "the file /a\\nb has control characters"),
        ("{\"hunter2\": 1", "line 1 is not Ignition"),
        ("{\"ignition\": {\"version\": \"1.0\"}}", "Ignition 1.0 is not known"),
        (
            "{\"ignition\": {\"version\": \"3.0.0\"}, \"systemd\": {\"units\": [{\"name\": \"../x\"}]}}",
            "`../x` cannot",
        ),
    ] {
        let error = read(data).unwrap_err().to_string();
        assert!(error.contains(says) && !error.contains("hunter2"), "{data}: {error}");
    }
    let error = parse("cloudbase", b"", &metadata()).unwrap_err().to_string();
    assert_eq!(error, "its format `cloudbase` is not known; known are cloud-config and ignition");
    assert_eq!(parse("", b"\xff", &metadata()).unwrap_err(), BootstrapDataError::NotText);
    let large = vec![b' '; LARGEST_DATA + 1];
    assert!(matches!(parse("", &large, &metadata()), Err(BootstrapDataError::TooLarge { .. })));
}

#[test]
fn nesting_and_aliases_are_bounded() {
    let deep = "[".repeat(200_000);
    let mut bomb = String::from("#cloud-config\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..20 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(bomb, "a{level}: &a{level} [{aliases}]").unwrap();
    }
    for data in [
        format!("#cloud-config\nruncmd: {deep}"),
        format!("#cloud-config\nother: {deep}"),
        format!(
            "#cloud-config\n{}",
            (0..3000).map(|depth| " ".repeat(depth) + "a:\n").collect::<Vec<_>>().concat()
        ),
        format!("{{\"ignition\": {deep}"),
        format!("{{\"a\": {deep}"),
        format!("{bomb}runcmd: [*a19]\n"),
        format!("## template: jinja\n#cloud-config\n{}", "{%".repeat(1 << 20)),
        format!("## template: jinja\n#cloud-config\n{}", "{% raw %}{%".repeat(1 << 18)),
    ] {
        assert!(read(&data).is_err(), "{}", &data[..60]);
    }
}

/// The configurations of a boot after tweaks.
fn tweaked(config: &str, command: &str, tweaks: &KubeadmTweaks) -> (Vec<Value>, String) {
    let file =
        File { path: "/run/kubeadm/kubeadm.yaml".to_owned(), content: config.into(), ..File::default() };
    let mut boot = Boot {
        steps: vec![Step::Write(file), Step::Run(Command::Shell(command.to_owned()))],
        ignored: Vec::new(),
    };
    edit_kubeadm(&mut boot, tweaks).unwrap();
    let text = String::from_utf8(boot.file("/run/kubeadm/kubeadm.yaml").unwrap()).unwrap();
    (serde_saphyr::from_multiple(&text).unwrap(), boot.steps[1].display())
}

fn tweaks() -> KubeadmTweaks {
    KubeadmTweaks {
        ignore_preflight_errors: vec!["Swap".to_owned(), "NumCPU".to_owned()],
        cri_socket: Some("unix:///c.sock".to_owned()),
        kubelet_args: [("fail-swap-on", "false"), ("provider-id", "docker:////m-1")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        components: vec![
            json!({"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "conntrack": {"maxPerCore": 0}}),
        ],
    }
}

const INIT: &str = "kubeadm init --config /run/kubeadm/kubeadm.yaml";

#[test]
fn kubeadm_is_tweaked_in_both_shapes_of_its_configuration() {
    let proxy = &tweaks().components[0];
    let node = |shape: &Value| json!({"criSocket": "unix:///c.sock", "ignorePreflightErrors": ["Swap", "NumCPU"], "kubeletExtraArgs": shape});
    for (version, shape) in [
        ("kubeadm.k8s.io/v1beta3", json!({"fail-swap-on": "false", "provider-id": "docker:////m-1"})),
        (
            "kubeadm.k8s.io/v1beta4",
            json!([{"name": "fail-swap-on", "value": "false"}, {"name": "provider-id", "value": "docker:////m-1"}]),
        ),
    ] {
        let document = |kind: &str| json!({"apiVersion": version, "kind": kind});
        let registered =
            |kind: &str| json!({"apiVersion": version, "kind": kind, "nodeRegistration": node(&shape)});
        let (documents, _) = tweaked(&document("ClusterConfiguration").to_string(), INIT, &tweaks());
        assert_eq!(
            documents,
            [document("ClusterConfiguration"), registered("InitConfiguration"), proxy.clone()]
        );
        let join = document("JoinConfiguration").to_string();
        let (documents, command) =
            tweaked(&join, "kubeadm join --config=/run/kubeadm/kubeadm.yaml", &tweaks());
        assert_eq!(documents, [registered("JoinConfiguration")]);
        assert_eq!(command, "kubeadm join --config=/run/kubeadm/kubeadm.yaml");
    }
}

#[test]
fn what_the_user_says_stays_but_for_the_socket() {
    let mut boot = read(CLOUD_CONFIG).unwrap();
    let mut tweaks = tweaks();
    edit_kubeadm(&mut boot, &tweaks).unwrap();
    let once = boot.clone();
    edit_kubeadm(&mut boot, &tweaks).unwrap();
    assert_eq!(boot, once, "a second edit changes nothing");
    let text = String::from_utf8(boot.file("/run/kubeadm/kubeadm.yaml").unwrap()).unwrap();
    assert!(
        text.starts_with("# of the cluster\napiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConf"),
        "{text}"
    );
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let node = &documents[1]["nodeRegistration"];
    assert_eq!(node["name"], "m-1");
    assert_eq!(node["criSocket"], "unix:///c.sock");
    assert_eq!(node["ignorePreflightErrors"], json!(["NumCPU", "Swap"]));
    assert_eq!(
        node["kubeletExtraArgs"],
        json!([{"name": "provider-id", "value": "mine"}, {"name": "fail-swap-on", "value": "false"}])
    );
    // A component that the user configured is completed.
    let user = "kind: ClusterConfiguration\n---\nkind: KubeProxyConfiguration\nmode: nftables\nconntrack: {min: 1}\n";
    let (documents, _) = tweaked(user, INIT, &tweaks);
    assert_eq!(documents[1]["conntrack"], json!({"min": 1, "maxPerCore": 0}));
    assert_eq!(documents[1]["mode"], "nftables");
    // kubeadm refuses other checks beside `all`.
    let all = "kind: InitConfiguration\nnodeRegistration: {ignorePreflightErrors: [all]}\n";
    assert_eq!(tweaked(all, INIT, &tweaks).0[0]["nodeRegistration"]["ignorePreflightErrors"], json!(["all"]));
    let flag = format!("{INIT} --ignore-preflight-errors=all");
    let (documents, _) = tweaked("kind: InitConfiguration\n", &flag, &tweaks);
    assert_eq!(documents[0]["nodeRegistration"]["ignorePreflightErrors"], Value::Null);
    // Nothing asked for, nothing changed.
    tweaks = KubeadmTweaks::default();
    let mut boot = read(CLOUD_CONFIG).unwrap();
    let before = boot.file("/etc/kubernetes/pki/ca.crt");
    edit_kubeadm(&mut boot, &tweaks).unwrap();
    assert_eq!(boot.file("/etc/kubernetes/pki/ca.crt"), before);
}

#[test]
fn kubeadm_without_a_configuration_is_told_on_its_command_line() {
    let flag = "--ignore-preflight-errors=Swap,NumCPU";
    for (command, edited) in [
        (
            "echo; kubeadm join 10.0.0.1:6443 --token x",
            format!("echo; kubeadm join {flag} 10.0.0.1:6443 --token x"),
        ),
        ("# kubeadm join", "# kubeadm join".to_owned()),
        ("kubeadm init phase certs all", "kubeadm init phase certs all".to_owned()),
        (
            "kubeadm join --ignore-preflight-errors=all x",
            "kubeadm join --ignore-preflight-errors=all x".to_owned(),
        ),
        ("kubeadm join --config /other", format!("kubeadm join {flag} --config /other")),
    ] {
        let mut boot = Boot { steps: vec![Step::Run(Command::Shell(command.to_owned()))], ..Boot::default() };
        edit_kubeadm(&mut boot, &tweaks()).unwrap();
        assert_eq!(boot.steps, [Step::Run(Command::Shell(edited))]);
    }
    let words =
        |words: &[&str]| Step::Run(Command::Argv(words.iter().map(|word| (*word).to_owned()).collect()));
    let mut boot = Boot { steps: vec![words(&["/usr/bin/kubeadm", "join", "host"])], ..Boot::default() };
    edit_kubeadm(&mut boot, &tweaks()).unwrap();
    assert_eq!(boot.steps, [words(&["/usr/bin/kubeadm", "join", flag, "host"])]);
    let mut boot = Boot { steps: vec![words(&["sh", "-c", "kubeadm init"])], ..Boot::default() };
    edit_kubeadm(&mut boot, &tweaks()).unwrap();
    assert_eq!(boot.steps, [words(&["sh", "-c", &format!("kubeadm init {flag}")])]);
}

#[test]
fn a_configuration_that_is_not_yaml_is_named() {
    let file = File {
        path: "/etc/kubeadm.yml".to_owned(),
        content: b"kind: InitConfiguration\n---\na: [hunter2".to_vec(),
        ..File::default()
    };
    let mut boot = Boot { steps: vec![Step::Write(file)], ..Boot::default() };
    let error = edit_kubeadm(&mut boot, &tweaks()).unwrap_err().to_string();
    assert_eq!(error, "kubeadm's configuration /etc/kubeadm.yml is not YAML (document 2)");
}

#[test]
fn an_edited_file_is_written_once_with_all_of_its_parts() {
    let part = |content: &str, append| {
        let (path, content) = ("/etc/kubeadm.yml".to_owned(), content.as_bytes().to_vec());
        Step::Write(File { path, content, append, ..File::default() })
    };
    let other = Step::Run(Command::Shell("true".to_owned()));
    let steps = vec![
        part("kind: Old\n", false),
        part("kind: JoinConfig", false),
        other.clone(),
        part("uration\n", true),
    ];
    let mut boot = Boot { steps, ..Boot::default() };
    let tweaks = KubeadmTweaks { cri_socket: Some("unix:///c".to_owned()), ..KubeadmTweaks::default() };
    edit_kubeadm(&mut boot, &tweaks).unwrap();
    let edited = "kind: JoinConfiguration\nnodeRegistration:\n  criSocket: unix:///c\n";
    assert_eq!(boot.steps, [part("kind: Old\n", false), part(edited, false), other]);
}

/// Texts that come close to being bootstrap data.
fn nearly() -> impl Strategy<Value = String> {
    const WORDS: &[&str] = &[
        "#cloud-config\n",
        "## template: jinja\n",
        "write_files:\n",
        "- path: /a\n",
        "  content: |\n",
        "    x\n",
        "runcmd:\n",
        "- [a, 1]\n",
        "- kubeadm init --config /a\n",
        "users:\n",
        "- name: a\n",
        "  groups: [b]\n",
        "{{ ",
        " }}",
        "{% raw %}",
        "{% endraw %}",
        "{#",
        "#}",
        "v1.local_hostname",
        "'",
        "\"",
        "&a ",
        "*a ",
        "!!binary ",
        "{\"ignition\": {\"version\": \"3.1.0\"}",
        ", \"storage\": {\"files\": [",
        "{\"path\": \"/a\", \"mode\": 9}",
        "]}",
        "}",
        "  encoding: gzip\n",
        "  permissions: 0644\n",
        "---\n",
        "kind: InitConfiguration\n",
        "nodeRegistration: 1\n",
        "\t",
        "ü",
    ];
    let word = prop_oneof![4 => proptest::sample::select(WORDS).prop_map(str::to_owned), 1 => ".{0,8}"];
    proptest::collection::vec(word, 0..24).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn no_text_panics(data in nearly(), header in any::<bool>()) {
        let data = if header { format!("## template: jinja\n#cloud-config\n{data}") } else { data };
        for format in ["", "cloud-config", "ignition"] {
            if let Ok(mut boot) = parse(format, data.as_bytes(), &metadata()) {
                // Either is fine; neither panics.
                let _ = edit_kubeadm(&mut boot, &tweaks());
                let _ = (boot.files(), boot.kubeadm());
            }
        }
    }

    #[test]
    fn no_configuration_panics_and_editing_twice_is_editing_once(config in nearly()) {
        let path = "/etc/kubeadm.yml".to_owned();
        let file = File { path, content: config.into_bytes(), ..File::default() };
        let mut boot = Boot { steps: vec![Step::Write(file)], ..Boot::default() };
        if edit_kubeadm(&mut boot, &tweaks()).is_ok() {
            let once = boot.clone();
            edit_kubeadm(&mut boot, &tweaks()).unwrap();
            prop_assert_eq!(boot, once);
        }
    }

    #[test]
    fn every_file_comes_out_as_it_went_in(content in proptest::collection::vec(any::<u8>(), 0..200), text in "\\PC{0,60}") {
        use base64::Engine;
        let base = base64::engine::general_purpose::STANDARD.encode(&content);
        let files = json!([{"path": "/a", "encoding": "b64", "content": base}, {"path": "/b", "content": text}]);
        let data = format!("#cloud-config\nwrite_files: {files}\n");
        let boot = read(&data).unwrap();
        prop_assert_eq!(boot.file("/a").unwrap(), content);
        prop_assert_eq!(boot.file("/b").unwrap(), text.into_bytes());
        let files = json!([{"path": "/a", "contents": {"source": format!("data:;base64,{base}")}}]);
        let data = json!({"ignition": {"version": "3.0.0"}, "storage": {"files": files}});
        prop_assert_eq!(read(&data.to_string()).unwrap().file("/a"), boot.file("/a"));
    }
}
