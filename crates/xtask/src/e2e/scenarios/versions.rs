//! 6: two minor versions of Kubernetes under one plane, at the same time.

use anyhow::{Result, bail};

use crate::e2e::site::{OLDER_VERSION, VERSION};
use crate::e2e::stage::Stage;
use crate::e2e::workload;

pub fn play(stage: &Stage) -> Result<()> {
    let plane = stage.plane()?;
    for version in [OLDER_VERSION, VERSION] {
        stage.site.ensure_images(version)?;
        let cluster = stage.cluster(&plane, &format!("-{}", version.replace('.', "-")));
        let manifest = plane.generate(&cluster.name, version, 1, 1)?;
        stage.create(&cluster, &manifest, 1, 1)?;
        for node in cluster.list(&["nodes"])? {
            let kubelet = &node["status"]["nodeInfo"]["kubeletVersion"];
            if *kubelet != format!("v{version}") {
                bail!("the kubelet of {} is {kubelet}", node["metadata"]["name"]);
            }
        }
        workload::works(stage, &cluster, version)?;
    }
    Ok(())
}
