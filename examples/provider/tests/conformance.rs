//! The example against the rules for providers, with the line to its disk cut at every exchange.

#![expect(clippy::unwrap_used, reason = "the bench stands outside of test functions")]

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::{fs, io};

use async_trait::async_trait;
use windlass_example_provider::{Ask, Shelf, local};
use windlass_model::{Key, Secret, Uid};
use windlass_provider::conformance::{self, ClusterBench, Harness, MachineBench, Sort, Trouble, Unsupported};
use windlass_provider::{ClusterInfrastructure, ClusterRequest, ErrorKind, MachineRequest, Machines};

/// What is wrong with the line, how many exchanges there were, and whether it struck.
#[derive(Default)]
struct Line {
    trouble: Option<Trouble>,
    exchanges: usize,
    struck: bool,
}

impl Line {
    /// One exchange, with what is wrong at the moment.
    fn carry(&mut self, ask: &Ask<'_>) -> io::Result<Vec<String>> {
        let nth = self.exchanges;
        self.exchanges += 1;
        let Some(trouble) = self.trouble else { return local(ask) };
        let kind = match trouble {
            Trouble::CutBefore(at) | Trouble::CutAfter(at) if at != nth => return local(ask),
            Trouble::CutAfter(_) => local(ask).map(|_| io::ErrorKind::ConnectionReset)?,
            Trouble::CutBefore(_) | Trouble::Unreachable => io::ErrorKind::ConnectionRefused,
            Trouble::Throttling => io::ErrorKind::ResourceBusy,
            Trouble::Denied => io::ErrorKind::PermissionDenied,
        };
        self.struck = true;
        Err(kind.into())
    }
}

struct Bench {
    root: tempfile::TempDir,
    line: Arc<Mutex<Line>>,
}

impl Bench {
    /// An empty shelf, with room for the clusters that machines are made for.
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for directory in ["machines", "clusters/default_c", "clusters/elsewhere_c"] {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        Self { root, line: Arc::default() }
    }

    fn shelf(&self) -> Arc<Shelf> {
        let line = self.line.clone();
        let backend = Arc::new(move |ask: &Ask<'_>| line.lock().unwrap().carry(ask));
        Arc::new(Shelf { root: self.root.path().to_owned(), backend })
    }

    fn board(&self, sort: Sort) -> PathBuf {
        self.root.path().join(match sort {
            Sort::Machine => "machines",
            Sort::Cluster => "clusters",
        })
    }

    fn list(&self, sort: Sort) -> Vec<String> {
        let names = local(&Ask::List(&self.board(sort))).unwrap().into_iter();
        names.filter(|name| !["default_c", "elsewhere_c"].contains(&name.as_str())).collect()
    }

    /// Where the request of this name puts what it makes.
    fn place(&self, sort: Sort, name: &str) -> PathBuf {
        self.board(sort).join(match sort {
            Sort::Machine => format!("default_c_{name}"),
            Sort::Cluster => format!("default_{name}"),
        })
    }
}

#[async_trait]
impl Harness for Bench {
    async fn rest(&self) {}

    async fn afflict(&self, trouble: Trouble) -> Result<(), Unsupported> {
        *self.line.lock().unwrap() = Line { trouble: Some(trouble), ..Line::default() };
        Ok(())
    }

    async fn relieve(&self) -> bool {
        std::mem::take(&mut *self.line.lock().unwrap()).struck
    }

    async fn occupy(&self, sort: Sort, name: &str) -> Result<(), Unsupported> {
        local(&Ask::Write(&self.place(sort, name).join("diary"), "mine")).unwrap();
        Ok(())
    }

    async fn occupied(&self, sort: Sort, name: &str) -> bool {
        local(&Ask::Read(&self.place(sort, name).join("diary"))).unwrap() == ["mine"]
    }

    async fn vacate(&self, sort: Sort, name: &str) {
        local(&Ask::Remove(&self.place(sort, name))).unwrap();
    }

    fn remembers(&self) -> bool {
        false
    }

    async fn leftovers(&self) -> Vec<String> {
        [Sort::Machine, Sort::Cluster].into_iter().flat_map(|sort| self.list(sort)).collect()
    }
}

#[async_trait]
impl MachineBench for Bench {
    async fn machines(&self) -> Arc<dyn Machines> {
        self.shelf()
    }

    fn machine(&self, name: &str) -> MachineRequest {
        MachineRequest {
            cluster: Key::new("default", "c"),
            cluster_uid: Uid::from("c-uid"),
            name: name.to_owned(),
            version: "v1.35.0".to_owned(),
            control_plane: false,
            failure_domain: None,
            bootstrap_data: Secret::new(b"#cloud-config\nruncmd:\n- kubeadm join\n".to_vec()),
            bootstrap_format: "cloud-config".to_owned(),
            annotations: [].into(),
            spec: serde_json::Value::Null,
        }
    }

    async fn machine_elsewhere(&self, name: &str) -> Result<MachineRequest, Unsupported> {
        let (cluster, cluster_uid) = (Key::new("elsewhere", "c"), Uid::from("c2-uid"));
        Ok(MachineRequest { cluster, cluster_uid, ..self.machine(name) })
    }

    async fn living_machines(&self) -> Vec<String> {
        self.list(Sort::Machine)
    }

    fn refusals(&self) -> Vec<(MachineRequest, ErrorKind)> {
        let bootstrap_format = "punched cards".to_owned();
        vec![
            (MachineRequest { bootstrap_format, ..self.machine("cards") }, ErrorKind::Rejected),
            (MachineRequest { cluster: Key::new("a", "b"), ..self.machine("homeless") }, ErrorKind::NotFound),
        ]
    }
}

#[async_trait]
impl ClusterBench for Bench {
    async fn clusters(&self) -> Arc<dyn ClusterInfrastructure> {
        self.shelf()
    }

    fn cluster(&self, name: &str) -> ClusterRequest {
        ClusterRequest {
            name: name.to_owned(),
            cluster: Key::new("default", name),
            cluster_uid: Uid::from(name),
            endpoint: None,
            spec: serde_json::Value::Null,
            config: [].into(),
            annotations: [].into(),
            prefers_ipv6: false,
        }
    }

    async fn cluster_elsewhere(&self, name: &str) -> Result<ClusterRequest, Unsupported> {
        Ok(ClusterRequest { cluster: Key::new("elsewhere", name), ..self.cluster(name) })
    }

    async fn living_clusters(&self) -> Vec<String> {
        self.list(Sort::Cluster)
    }
}

#[tokio::test]
async fn the_example_keeps_every_rule() {
    let report = conformance::clusters(&Bench::new()).await;
    assert_eq!(report.clone().verdict(), Ok(vec![]), "\n{report}");
    let report = conformance::machines(&Bench::new()).await;
    assert_eq!(report.clone().verdict(), Ok(vec![]), "\n{report}");
}
