//! A node and a load balancer of two megabytes: busybox, and a first process that runs what is staged.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests stand outside of test functions")]

use bollard::Docker;
use bollard::query_parameters::CreateImageOptionsBuilder;
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::Mutex;

/// The node's image.
pub const NODE: &str = "dk-test/node:2";
/// Repository of the load balancer's image, whose name is given.
pub const REPOSITORY: &str = "dk-test";
/// Its tag.
pub const TAG: &str = "2";

/// What stands for systemd and for haproxy: runs the bootstrap at each start and counts requests to reload.
const INIT: &str = "\
#!/bin/sh
trap 'echo reload >>/reloads' HUP
if [ -e /opt/windlass/bootstrap/run ]; then sh /opt/windlass/bootstrap/run & fi
while :; do sleep 3600 & wait $!; done
";
/// Says what it was asked to load.
const CTR: &str = "#!/bin/sh\ntest -s \"$5\" && echo \"loaded by $*\"\n";
const APPLETS: [&str; 16] = [
    "sh", "cat", "tail", "tee", "dirname", "mkdir", "chmod", "chown", "rm", "sleep", "echo", "env", "kill",
    "ls", "touch", "test",
];

/// Makes both images, unless they are there.
pub async fn make(docker: &Docker) {
    // Tests of one process make them at the same time.
    static ONE: Mutex<()> = Mutex::const_new(());
    let _one = ONE.lock().await;
    let haproxy = format!("{REPOSITORY}/haproxy:{TAG}");
    for image in [NODE, &haproxy] {
        if docker.inspect_image(image).await.is_ok() {
            continue;
        }
        let (repository, tag) = image.rsplit_once(':').unwrap();
        let options = CreateImageOptionsBuilder::new()
            .from_src("-")
            .repo(repository)
            .tag(tag)
            .changes(vec!["ENTRYPOINT [\"/bin/sh\", \"/init\"]".to_owned(), "ENV PATH=/bin".to_owned()])
            .build();
        let body = bollard::body_full(Bytes::from(root()));
        let mut progress = docker.create_image(Some(options), Some(body), None);
        while let Some(step) = progress.next().await {
            step.unwrap();
        }
    }
}

/// The file system, as a tar archive.
fn root() -> Vec<u8> {
    let busybox = std::env::var("BUSYBOX").unwrap_or_else(|_| "/bin/busybox".to_owned());
    let program = std::fs::read(&busybox)
        .unwrap_or_else(|error| panic!("{busybox}: {error}; install busybox-static, or set BUSYBOX"));
    let mut archive = tar::Builder::new(Vec::new());
    let mut file = |path: &str, mode, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, path, content).unwrap();
    };
    file("bin/busybox", 0o755, &program);
    file("init", 0o755, INIT.as_bytes());
    file("bin/ctr", 0o755, CTR.as_bytes());
    file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n");
    file("etc/group", 0o644, b"root:x:0:\n");
    file("usr/local/etc/haproxy/haproxy.cfg", 0o644, b"# empty\n");
    for applet in APPLETS {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        archive.append_link(&mut header, format!("bin/{applet}"), "busybox").unwrap();
    }
    archive.into_inner().unwrap()
}
